"""Trees to layers: a walk over an overlay's upper directory, or any other tree.

The walk meets entries in canonical order and streams them; nothing is collected but one
directory's names at a time.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import Final

from runtime.image.errors import LayerError
from runtime.image.layer.entry import FILE_FLAGS, Entry, FileSource, Kind
from runtime.image.layer.in_root import DIRECTORY_FLAGS, remove
from runtime.image.layer.inode_entry import (
    directory_entry,
    is_whiteout,
    regular_entry,
    special_entry,
)
from runtime.image.layer.overlay_marks import is_opaque, xattr_names
from runtime.image.layer.owners import KERNEL_OWNERS, Owners, RecordedOwners, recorded_entry
from runtime.image.layer.writer import LayerSum, link_to, write_layer

Drop = Callable[[bytes], bool]
"""Of a path, whether it stays out of the layer, with all below it."""

_REMOVED: Final = 1
_PRESENT: Final = 2
_KEPT_OPEN: Final = 48
_Found = tuple[int, bytes, os.stat_result]


def keep_everything(path: bytes) -> bool:
    """The `drop` that drops nothing."""
    return False


def pack_tree(
    tree: str,
    out_fd: int | None,
    *,
    mtime: int | None = None,
    drop: Drop = keep_everything,
    settle: bool = False,
    owners: Owners = KERNEL_OWNERS,
) -> LayerSum:
    """Write a tree as a layer (or, without `out_fd`, only name it).

    With `settle` the tree is brought in line on the way: its times become `mtime`, what `drop`
    names is removed, so that the tree is what extracting the layer would give.
    """
    entries = scan_tree(tree, mtime=mtime, drop=drop, settle=settle, owners=owners)
    return write_layer(entries, out_fd)


def settle_tree(tree: str, mtime: int, drop: Drop = keep_everything) -> None:
    """Give everything in a tree, and its root, the same time; remove what `drop` names."""
    for _ in scan_tree(tree, mtime=mtime, drop=drop, settle=True):
        pass


def scan_tree(
    tree: str,
    *,
    mtime: int | None = None,
    drop: Drop = keep_everything,
    settle: bool = False,
    owners: Owners = KERNEL_OWNERS,
) -> Iterator[Entry]:
    """What is in a tree, in canonical order; the root itself is not an entry.

    Whiteouts and opaque directories are recognised in every form overlayfs has. Times are
    `mtime` if that is given. Sockets are left out. A file is open until the next entry is asked
    for: entries that were kept for later must not be written. Any depth takes a few dozen
    descriptors.
    """
    recorded = owners if isinstance(owners, RecordedOwners) else None
    first: dict[tuple[int, int], bytes] = {}
    top = os.fsencode(tree) + b"/"
    stack = [_Directory(os.open(tree, DIRECTORY_FLAGS), b"")]
    try:
        stack[0].list(drop, settle)
        while stack:
            directory = stack[-1]
            found = next(directory.found, None)
            if found is None:
                _leave(stack, mtime if settle else None)
                continue
            state, name, status = found
            path = directory.prefix + name
            kind = stat.S_IFMT(status.st_mode)
            if state is _REMOVED:
                yield Entry(path=path, kind=Kind.WHITEOUT, mode=0)
            elif kind == stat.S_IFREG:
                fd = os.open(name, FILE_FLAGS, dir_fd=directory.fd)
                try:
                    content = FileSource(top + path, fd=fd) if status.st_size else b""
                    entry = regular_entry(path, fd, status, mtime, content)
                    if recorded is not None:
                        entry = recorded_entry(recorded, entry, fd, directory.group)
                    if settle:
                        _set_time(fd, mtime)
                    if entry.inode is not None:
                        place = first.setdefault(entry.inode, path)
                        if place != path:
                            entry = link_to(entry, path, place)
                    yield entry
                finally:
                    os.close(fd)
            elif kind == stat.S_IFDIR:
                below = _enter(stack, name, path)
                names = xattr_names(below.fd)
                entry = directory_entry(path, below.fd, status, mtime, names)
                if recorded is not None:
                    entry = recorded_entry(recorded, entry, below.fd, directory.group)
                    below.group = entry.gid if entry.mode & stat.S_ISGID else None
                yield entry
                if names and is_opaque(below.fd, names):
                    yield Entry(path=path, kind=Kind.OPAQUE, mode=0)
                below.list(drop, settle)
            else:
                target = directory.link(name) if kind == stat.S_IFLNK else b""
                other = special_entry(path, status, mtime, target)
                if recorded is not None and other is not None:
                    place_of = directory.place(name)
                    other = recorded_entry(recorded, other, place_of, directory.group)
                if settle:
                    directory.set_time(name, mtime)
                if other is not None:
                    yield other
    finally:
        for directory in stack:
            directory.close()


class _Directory:
    """A directory in the middle of the walk; `fd` is -1 while it is far above. `group` is what
    is made in it gets, if that is not its maker's."""

    __slots__ = ("_identity", "fd", "found", "group", "prefix")

    def __init__(self, fd: int, prefix: bytes) -> None:
        self.fd = fd
        self.found: Iterator[_Found] = iter(())
        self.prefix = prefix
        self.group: int | None = None
        self._identity = (0, 0)

    def list(self, drop: Drop, settle: bool) -> None:
        """Fill `found`: whiteouts first, then the rest by name."""
        found: list[_Found] = []
        prefix = self.prefix
        with os.scandir(self.fd) as items:
            for item in items:
                name = os.fsencode(item.name)
                if drop is not keep_everything and drop(prefix + name):
                    if settle:
                        remove(name, self.fd)
                    continue
                status = item.stat(follow_symlinks=False)
                state = _REMOVED if self._is_whiteout(name, status) else _PRESENT
                found.append((state, name, status))
        found.sort()
        self.found = iter(found)

    def _is_whiteout(self, name: bytes, status: os.stat_result) -> bool:
        if status.st_size or status.st_rdev:
            return False
        return is_whiteout(self.place(name), status)

    def place(self, name: bytes) -> bytes:
        """A path of something in it."""
        return b"/proc/self/fd/%d/%b" % (self.fd, name)

    def link(self, name: bytes) -> bytes:
        """The target of a link."""
        return os.readlink(name, dir_fd=self.fd)

    def set_time(self, name: bytes, mtime: int | None) -> None:
        """Set the time of something that is not opened."""
        if mtime is not None:
            time = mtime * 10**9
            os.utime(name, ns=(time, time), dir_fd=self.fd, follow_symlinks=False)

    def rest(self) -> None:
        """Close it for now."""
        status = os.fstat(self.fd)
        self._identity = (status.st_dev, status.st_ino)
        self.close()

    def resume(self, below: int) -> None:
        """Open it again, from a directory in it."""
        self.fd = os.open("..", DIRECTORY_FLAGS, dir_fd=below)
        status = os.fstat(self.fd)
        if self._identity != (status.st_dev, status.st_ino):
            raise LayerError(os.fsdecode(self.prefix), "the tree was changed while it was read")

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _enter(stack: list[_Directory], name: bytes, path: bytes) -> _Directory:
    below = _Directory(os.open(name, DIRECTORY_FLAGS, dir_fd=stack[-1].fd), path + b"/")
    stack.append(below)
    if len(stack) > _KEPT_OPEN:
        stack[-_KEPT_OPEN].rest()
    return below


def _leave(stack: list[_Directory], mtime: int | None) -> None:
    done = stack[-1]
    _set_time(done.fd, mtime)
    if len(stack) > 1 and stack[-2].fd < 0:
        stack[-2].resume(done.fd)
    stack.pop().close()


def _set_time(fd: int, mtime: int | None) -> None:
    if mtime is not None:
        os.utime(fd, ns=(mtime * 10**9, mtime * 10**9))
