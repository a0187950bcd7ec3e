"""Trees to layers: a walk over an overlay's upper directory, or any other tree.

The walk meets entries in canonical order and streams them; nothing is collected but one
directory's names at a time.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import Final

from runtime.image.layer.entry import Entry, Kind
from runtime.image.layer.in_root import remove
from runtime.image.layer.inode_entry import directory_entry, file_entry, is_whiteout
from runtime.image.layer.overlay_marks import is_opaque, xattr_names
from runtime.image.layer.writer import LayerSum, link_to, write_layer

Drop = Callable[[bytes], bool]
"""Of a path, whether it stays out of the layer, with all below it."""

_REMOVED: Final = 1
_PRESENT: Final = 2
_LONG: Final = 3500  # of PATH_MAX's 4096; a name has up to 255
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
) -> LayerSum:
    """Write a tree as a layer (or, without `out_fd`, only name it).

    With `settle` the tree is brought in line on the way: its times become `mtime`, what `drop`
    names is removed, so that the tree is what extracting the layer would give.
    """
    return write_layer(scan_tree(tree, mtime=mtime, drop=drop, settle=settle), out_fd)


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
) -> Iterator[Entry]:
    """What is in a tree, in canonical order; the root itself is not an entry.

    Whiteouts and opaque directories are recognised in every form overlayfs has. Times are
    `mtime` if that is given. Sockets are left out. The content of an entry whose path is longer
    than about 3,500 bytes can only be read before the next entry is asked for.
    """
    first: dict[tuple[int, int], bytes] = {}
    root = _Directory(os.fsencode(tree), b"", None)
    stack = [root]
    try:
        root.list(drop, settle)
        while stack:
            directory = stack[-1]
            found = next(directory.found, None)
            if found is None:
                if settle:
                    directory.set_time(mtime)
                stack.pop().close()
                continue
            state, name, status = found
            path = directory.prefix + name
            real = directory.real + b"/" + name
            if state is _REMOVED:
                yield Entry(path=path, kind=Kind.WHITEOUT, mode=0)
                continue
            if not stat.S_ISDIR(status.st_mode):
                entry = file_entry(path, real, status, mtime)
                if entry is not None:
                    if settle:
                        _set_time(real, mtime)
                    if entry.inode is not None:
                        place = first.setdefault(entry.inode, path)
                        if place != path:
                            entry = link_to(entry, path, place)
                    yield entry
                continue
            names = xattr_names(real)
            yield directory_entry(path, real, status, mtime, names)
            if names and is_opaque(real, names):
                yield Entry(path=path, kind=Kind.OPAQUE, mode=0)
            below = _Directory(real, path + b"/", directory)
            stack.append(below)
            below.list(drop, settle)
    finally:
        for directory in stack:
            directory.close()


class _Directory:
    """A directory in the middle of the walk."""

    __slots__ = ("_fd", "found", "prefix", "real")

    def __init__(self, real: bytes, prefix: bytes, above: _Directory | None) -> None:
        self._fd: int | None = None
        self.found: Iterator[_Found] = iter(())
        self.prefix = prefix
        self.real = real
        if len(real) > _LONG and above is not None:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(real, flags)
            self.real = b"/proc/self/fd/%d" % self._fd

    def list(self, drop: Drop, settle: bool) -> None:
        """Fill `found`: whiteouts first, then the rest by name."""
        found: list[_Found] = []
        prefix = self.prefix
        with os.scandir(self.real) as items:
            for item in items:
                name = item.name
                if drop is not keep_everything and drop(prefix + name):
                    if settle:
                        self._remove(name)
                    continue
                status = item.stat(follow_symlinks=False)
                state = _REMOVED if is_whiteout(item.path, status) else _PRESENT
                found.append((state, name, status))
        found.sort()
        self.found = iter(found)

    def _remove(self, name: bytes) -> None:
        fd = os.open(self.real, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            remove(name, fd)
        finally:
            os.close(fd)

    def set_time(self, mtime: int | None) -> None:
        if self._fd is None:
            _set_time(self.real, mtime)
        elif mtime is not None:
            os.utime(self._fd, ns=(mtime * 10**9, mtime * 10**9))

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _set_time(real: bytes, mtime: int | None) -> None:
    if mtime is not None:
        time = mtime * 10**9
        os.utime(real, ns=(time, time), follow_symlinks=False)
