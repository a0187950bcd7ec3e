"""Layers to trees, in the form overlayfs wants them: safe whatever the layer holds.

Every entry is made by its last component in a directory that was opened inside the tree
(`in_root`), with calls that follow no link there. So a layer can write through its own links
(`lib -> usr/lib`, then `lib/x`), and nothing it holds can lead out of the tree.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from runtime.image.digest import DiffID
from runtime.image.errors import LayerError
from runtime.image.layer.entry import Entry, Kind
from runtime.image.layer.hashed import Hashed
from runtime.image.layer.in_root import DIRECTORY_FLAGS, open_plain, remove, walk_directory
from runtime.image.layer.overlay_marks import is_whiteout_device, make_whiteout, set_opaque
from runtime.image.layer.owners import (
    KERNEL_OWNERS,
    Owners,
    RecordedOwners,
    give,
    give_special,
    make_stand_in,
)
from runtime.image.layer.tar_reader import Limits, TarReader, read_tar
from runtime.image.layer.tar_source import Body
from runtime.owner_record import escaped

_FILE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORIES: Final = 64
_NEVER_POSSIBLE: Final = frozenset((errno.ERANGE, errno.E2BIG, errno.EINVAL))
"""Attributes that Linux has no room for, on any file system (setxattr(2))."""
_NOT_POSSIBLE: Final = frozenset((errno.EPERM, errno.ENOTSUP, errno.EACCES))
_BY_LAYER: Final = frozenset((errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EMLINK))
_NOT_PLAIN: Final = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))
_SECOND: Final = 10**9
_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """What an extracted layer was. What was skipped is not in the tree, only in the layer."""

    diff_id: DiffID
    size: int
    entries: int
    root: Entry | None
    """The layer's entry for the root, if it has one; the tree's root has its attributes."""
    skipped_devices: tuple[bytes, ...]
    skipped_xattrs: tuple[bytes, ...]
    """Paths whose attributes the file system or the kernel refused."""


def extract_layer(
    chunks: Iterable[bytes],
    tree: str,
    *,
    limits: Limits = _LIMITS,
    skip_devices_if_forbidden: bool,
    owners: Owners = KERNEL_OWNERS,
) -> Extracted:
    """Extract an uncompressed layer into an empty directory.

    The chunks are consumed to their end, hashed in another thread, and closed if they are a
    generator. Whiteouts become character devices 0/0, opaque directories get
    `user.overlay.opaque`. Parents that have no entry are made 0755. `LayerError` if the layer is
    not sound; the tree is worthless then, but nothing outside has been touched. Without
    CAP_MKNOD, other devices are skipped if so asked, and EPERM otherwise; where owners are
    recorded, a file stands for each.
    """
    skip = skip_devices_if_forbidden
    with Hashed(chunks) as hashed, _Extractor(tree, limits, skip, owners) as extractor:
        members = read_tar(hashed, limits=limits)
        extractor.apply_all(members)
        for _ in hashed:
            pass
    return Extracted(
        diff_id=hashed.diff_id,
        size=hashed.size,
        entries=extractor.entries,
        root=members.root,
        skipped_devices=tuple(extractor.skipped_devices),
        skipped_xattrs=tuple(extractor.skipped_xattrs),
    )


class _Extractor:
    """A tree in the making, used in a `with` statement."""

    def __init__(self, tree: str, limits: Limits, skip_devices: bool, owners: Owners) -> None:
        self._tree = tree
        self._limits = limits
        self._skip_devices = skip_devices
        self._owners = owners
        self._recorded = isinstance(owners, RecordedOwners)
        self._root = -1
        self._open: dict[bytes, tuple[int, bytes]] = {}
        self._directories: dict[bytes, Entry] = {}
        self._stale = False
        self._masked = 0o7000 | _umask()
        self._ids = (os.geteuid(), os.getegid())
        self._parents = 0
        self.entries = 0
        self.skipped_devices: list[bytes] = []
        self.skipped_xattrs: list[bytes] = []

    def __enter__(self) -> Self:
        self._root = os.open(self._tree, DIRECTORY_FLAGS)
        try:
            if os.listdir(self._root):
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), self._tree)
            # What is made in a set-group-ID directory inherits its group. There is none until
            # the end, so that everything is made with our own.
            os.fchown(self._root, *self._ids)
            os.fchmod(self._root, 0o755)
        except BaseException:
            os.close(self._root)
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close_directories()
        os.close(self._root)

    def apply_all(self, members: TarReader) -> None:
        """Make every entry, then set what making entries disturbs: the directories' metadata."""
        most = self._limits.entries
        for entry, body in members:
            self.entries += 1
            if self.entries + self._parents > most:
                member = os.fsdecode(entry.path)
                raise LayerError(member, f"more than {most} entries and parents have to be made")
            if self._stale or len(self._open) > _OPEN_DIRECTORIES:
                self._close_directories()
            try:
                self._apply(entry, body)
            except OSError as error:
                if error.errno not in _BY_LAYER:
                    raise
                member = os.fsdecode(entry.path)
                raise LayerError(member, os.strerror(error.errno)) from error
        self._close_directories()
        self._finish_directories(members.root)

    def _apply(self, entry: Entry, body: Body) -> None:
        kind = entry.kind
        above, _, name = entry.path.rpartition(b"/")
        if kind is Kind.OPAQUE:
            if entry.path:  # there is nothing above a root that could hide what is below it
                set_opaque(self._directory(entry.path)[0])
            return
        parent, real = self._open.get(above) or self._directory(above)
        if kind is Kind.REGULAR:
            self._make_file(entry, body, name, parent)
        elif kind is Kind.DIRECTORY:
            self._make_directory(name, parent)
            self._directories[real + b"/" + name if real else name] = entry
        elif kind is Kind.WHITEOUT:
            self._make_whiteout(name, parent)
        elif kind is Kind.HARDLINK:
            self._make_link(entry, name, parent)
        else:
            self._make_special(entry, name, parent)

    def _directory(self, path: bytes, *, create: bool = True) -> tuple[int, bytes]:
        """A directory, made if it is missing, and its path without links.

        It stays open for this entry.
        """
        if not path:
            return self._root, b""
        known = self._open.get(path)
        if known is None:
            try:
                known = open_plain(self._root, path), path
            except OSError as error:
                if error.errno not in _NOT_PLAIN:
                    raise
                known = walk_directory(self._root, path, self._create_parent if create else None)
            self._open[path] = known
            if len(known[1]) > self._limits.path:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
        return known

    def _close_directories(self) -> None:
        self._stale = False
        for fd, _ in self._open.values():
            os.close(fd)
        self._open.clear()

    def _create_parent(self, parent: int, name: bytes, path: bytes) -> bool:
        """Make a directory that no entry has announced, also where a whiteout is."""
        status = _lstat(name, parent)
        if status is not None and not is_whiteout_device(status.st_mode, status.st_rdev):
            return False
        self._parents += 1
        self._make_directory(name, parent)
        self._directories[path] = self._unannounced(path)
        return True

    def _clear(self, name: bytes, parent: int) -> None:
        """Make room for an entry that replaces an earlier one."""
        remove(name, parent)
        # What is open may have been reached through what is gone now.
        self._stale = True

    def _make_file(self, entry: Entry, body: Body, name: bytes, parent: int) -> None:
        mode = entry.mode
        try:
            fd = os.open(name, _FILE_FLAGS, mode & 0o777, dir_fd=parent)
        except FileExistsError:
            self._clear(name, parent)
            fd = os.open(name, _FILE_FLAGS, mode & 0o777, dir_fd=parent)
        try:
            if entry.size:
                body.copy_to(fd)
            if (entry.uid, entry.gid) != self._ids:
                give(self._owners, fd, stat.S_IFREG, entry.uid, entry.gid)
            if mode & self._masked:
                os.fchmod(fd, mode)
            if entry.xattrs:
                self._set_xattrs(entry, fd)
            time = entry.mtime * _SECOND
            os.utime(fd, ns=(time, time))
        finally:
            os.close(fd)

    def _make_directory(self, name: bytes, parent: int) -> None:
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
            return
        except FileExistsError:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            return
        self._clear(name, parent)
        os.mkdir(name, 0o755, dir_fd=parent)
        if is_whiteout_device(status.st_mode, status.st_rdev):
            # A whiteout beside a directory: the one below is gone, this one is new.
            self._hide_below(name, parent)

    def _make_whiteout(self, name: bytes, parent: int) -> None:
        # It speaks of the layers below; what this layer has itself at the path stays.
        try:
            make_whiteout(name, parent)
        except FileExistsError:
            if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                self._hide_below(name, parent)

    def _hide_below(self, name: bytes, parent: int) -> None:
        fd = os.open(name, DIRECTORY_FLAGS, dir_fd=parent)
        try:
            set_opaque(fd)
        finally:
            os.close(fd)

    def _make_link(self, entry: Entry, name: bytes, parent: int) -> None:
        above, _, target = entry.target.rpartition(b"/")
        try:
            source, _ = self._directory(above, create=False)
            status = _lstat(target, source) if target else None
            if status is None and entry.target in self.skipped_devices:
                self.skipped_devices.append(entry.path)
                return
            if status is None or stat.S_ISDIR(status.st_mode) or _is_whiteout(status):
                raise _no_target(entry)
            there = _lstat(name, parent)
            if there is not None:
                if os.path.samestat(status, there):
                    return
                self._clear(name, parent)
            os.link(target, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            raise _no_target(entry) from None

    def _make_special(self, entry: Entry, name: bytes, parent: int) -> None:
        try:
            made = self._make_node(entry, name, parent)
        except FileExistsError:
            self._clear(name, parent)
            made = self._make_node(entry, name, parent)
        if not made:
            self.skipped_devices.append(entry.path)
            return
        if (entry.uid, entry.gid) != self._ids:
            give_special(self._owners, entry, name, parent)
        if entry.kind is not Kind.SYMLINK:
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                os.chmod(f"/proc/self/fd/{fd}", entry.mode)
                self._set_xattrs(entry, f"/proc/self/fd/{fd}")
            finally:
                os.close(fd)
        time = entry.mtime * _SECOND
        os.utime(name, ns=(time, time), dir_fd=parent, follow_symlinks=False)

    def _make_node(self, entry: Entry, name: bytes, parent: int) -> bool:
        """Make a link, fifo or device, or what stands for it; whether there is something now."""
        try:
            _make_node(entry, name, parent)
        except PermissionError:
            if entry.kind not in (Kind.CHARACTER, Kind.BLOCK):
                raise
            if self._recorded:
                make_stand_in(entry, name, parent)
            elif self._skip_devices:
                return False
            else:
                raise
        return True

    def _set_xattrs(self, entry: Entry, file: int | str) -> None:
        for name, value in entry.xattrs:
            try:
                os.setxattr(file, escaped(name) if self._recorded else name, value)
            except OSError as error:
                if error.errno in _NEVER_POSSIBLE:
                    why = f"attribute of {len(name)} and {len(value)} bytes: {error.strerror}"
                    raise LayerError(os.fsdecode(entry.path), why) from error
                if error.errno not in _NOT_POSSIBLE:
                    raise
                self.skipped_xattrs.append(entry.path)

    def _finish_directories(self, root: Entry | None) -> None:
        """Owners, modes, attributes and times, those below first."""
        for path, entry in reversed(self._directories.items()):
            try:
                fd = open_plain(self._root, path)
            except OSError as error:
                if error.errno not in _NOT_PLAIN:
                    raise
                continue  # something else has taken its place
            try:
                self._finish_directory(entry, fd)
            finally:
                os.close(fd)
        self._finish_directory(root or self._unannounced(b""), self._root)

    def _unannounced(self, path: bytes) -> Entry:
        """A directory of which the layer says nothing: ours, which is root's."""
        uid, gid = self._ids
        return Entry(path=path, kind=Kind.DIRECTORY, mode=0o755, uid=uid, gid=gid)

    def _finish_directory(self, entry: Entry, fd: int) -> None:
        if (entry.uid, entry.gid) != self._ids:
            give(self._owners, fd, stat.S_IFDIR, entry.uid, entry.gid)
        os.fchmod(fd, entry.mode)
        if entry.xattrs:
            self._set_xattrs(entry, fd)
        time = entry.mtime * _SECOND
        os.utime(fd, ns=(time, time))


def _make_node(entry: Entry, name: bytes, parent: int) -> None:
    match entry.kind:
        case Kind.SYMLINK:
            os.symlink(entry.target, name, dir_fd=parent)
        case Kind.FIFO:
            os.mkfifo(name, 0o600, dir_fd=parent)
        case Kind.CHARACTER:
            os.mknod(name, stat.S_IFCHR | 0o600, entry.rdev, dir_fd=parent)
        case Kind.BLOCK:
            os.mknod(name, stat.S_IFBLK | 0o600, entry.rdev, dir_fd=parent)
        case _:
            raise AssertionError(entry.kind)


def _lstat(name: bytes, dir_fd: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _is_whiteout(status: os.stat_result) -> bool:
    return is_whiteout_device(status.st_mode, status.st_rdev)


def _no_target(entry: Entry) -> LayerError:
    member, target = os.fsdecode(entry.path), os.fsdecode(entry.target)
    return LayerError(member, f"it is a hard link to {target!r}, which is not a file of the layer")


def _umask() -> int:
    """This process's umask, without setting it, which other threads would notice."""
    with open("/proc/self/status", "rb") as lines:
        for line in lines:
            if line.startswith(b"Umask:"):
                return int(line.split()[1], 8)
    return 0o777
