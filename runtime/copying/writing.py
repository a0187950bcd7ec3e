"""Writing items below a directory, whatever is there and whoever changes it meanwhile.

Docker's rules: directories are merged, other things replaced; a directory is never replaced by
anything else, nor something else by one.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Final

from runtime.copying.items import CopyFailed, Item
from runtime.copying.places import DirectoryOpener
from runtime.owner_record import Record, write_record

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_AGAIN: Final = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK: Final = 1 << 20
_SET_IDS: Final = stat.S_ISUID | stat.S_ISGID


class TreeWriter:
    """Writes items below the directory that `open_directory` opens for `b""`.

    `owner` gives the owner of what is written, from an item; with `recorded` it is recorded
    (`runtime.owner_record`). Items may come in any order.
    `finish` sets what making files disturbs: modes and times of the directories that were made.
    """

    def __init__(
        self,
        open_directory: DirectoryOpener,
        owner: Callable[[Item], tuple[int, int]],
        *,
        recorded: bool = False,
    ) -> None:
        self._recorded = recorded
        self._open = open_directory
        self._owner = owner
        self._made: dict[bytes, Item] = {}
        self.bytes = 0
        self.left_out: list[bytes] = []

    def put(self, item: Item, path: bytes) -> None:
        """Write an item at a path, whose directory must be there. `CopyFailed`, `OSError`."""
        above, _, name = path.rpartition(b"/")
        here = self._open(above)
        try:
            if stat.S_ISDIR(item.mode):
                self._directory(here, name, path, item)
            else:
                self._other(here, name, path, item)
        finally:
            os.close(here)

    def make_parents(self, path: bytes, uid: int, gid: int) -> None:
        """Make the directories above a path that are missing, as a tar may leave them out."""
        parts = path.split(b"/")[:-1]
        for count in range(1, len(parts) + 1):
            above = b"/".join(parts[:count])
            try:
                os.close(self._open(above))
            except FileNotFoundError:
                self.put(Item(path=above, mode=stat.S_IFDIR | 0o755, uid=uid, gid=gid), above)

    def finish(self) -> None:
        """Give the directories that were made their modes and times, the deepest first."""
        for path, item in sorted(self._made.items(), reverse=True):
            above, _, name = path.rpartition(b"/")
            here = self._open(above)
            try:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                fd = os.open(name, flags, dir_fd=here)
            finally:
                os.close(here)
            try:
                os.fchmod(fd, self._mode(item))
                os.utime(fd, ns=(item.mtime_ns, item.mtime_ns))
            finally:
                os.close(fd)

    def _directory(self, here: int, name: bytes, path: bytes, item: Item) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=here)
        except FileExistsError:
            status = os.stat(name, dir_fd=here, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                shown = os.fsdecode(path)
                raise CopyFailed(
                    f"cannot overwrite non-directory {shown!r} with a directory"
                ) from None
            return
        self._give(here, name, item)
        self._made[path] = item

    def _other(self, here: int, name: bytes, path: bytes, item: Item) -> None:
        again = False
        try:
            status = os.stat(name, dir_fd=here, follow_symlinks=False)
        except FileNotFoundError:
            pass
        else:
            if stat.S_ISDIR(status.st_mode):
                shown = os.fsdecode(path)
                raise CopyFailed(f"cannot overwrite directory {shown!r} with a non-directory")
            try:
                os.unlink(name, dir_fd=here)
            except OSError as error:
                # Something is mounted on it, such as /etc/hosts: then it is written itself.
                if error.errno != errno.EBUSY or not stat.S_ISREG(item.mode):
                    raise
                again = True
        if item.link is not None and self._link(here, name, item.link):
            return
        if stat.S_ISREG(item.mode):
            self._regular(os.open(name, _AGAIN if again else _NEW, 0o600, dir_fd=here), item)
        elif stat.S_ISLNK(item.mode):
            os.symlink(item.target, name, dir_fd=here)
            self._dress(here, name, item)
        else:
            try:
                os.mknod(name, stat.S_IFMT(item.mode) | 0o600, item.rdev, dir_fd=here)
            except PermissionError:
                if not self._recorded or not _is_device(item):
                    self.left_out.append(path)
                    return
                os.close(os.open(name, _NEW, 0o600, dir_fd=here))
            self._dress(here, name, item)

    def _link(self, here: int, name: bytes, first: bytes) -> bool:
        """Another name for a file that was written before, if it still is there."""
        above, _, last = first.rpartition(b"/")
        there = self._open(above)
        try:
            os.link(last, name, src_dir_fd=there, dst_dir_fd=here, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.ENOENT, errno.EMLINK):
                raise
            return False
        finally:
            os.close(there)
        return True

    def _regular(self, fd: int, item: Item) -> None:
        try:
            while item.read is not None and (data := item.read(_CHUNK)):
                self.bytes += len(data)
                while data:
                    data = data[os.write(fd, data) :]
            if self._recorded:
                write_record(fd, item.mode, Record(*self._owner(item)))
            else:
                os.fchown(fd, *self._owner(item))
            os.fchmod(fd, self._mode(item))
            os.utime(fd, ns=(item.mtime_ns, item.mtime_ns))
        finally:
            os.close(fd)

    def _give(self, here: int, name: bytes, item: Item) -> None:
        uid, gid = self._owner(item)
        if not self._recorded:
            os.chown(name, uid, gid, dir_fd=here, follow_symlinks=False)
            return
        place = b"/proc/self/fd/%d/%b" % (here, name)
        record = Record(uid, gid)
        if _is_device(item):
            record.kind = "c" if stat.S_ISCHR(item.mode) else "b"
            record.rdev = item.rdev
        write_record(place, stat.S_IFREG if _is_device(item) else item.mode, record)

    def _dress(self, here: int, name: bytes, item: Item) -> None:
        self._give(here, name, item)
        if not stat.S_ISLNK(item.mode):
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            try:
                os.chmod(f"/proc/self/fd/{fd}", self._mode(item))
            finally:
                os.close(fd)
        times = (item.mtime_ns, item.mtime_ns)
        os.utime(name, ns=times, dir_fd=here, follow_symlinks=False)

    def _mode(self, item: Item) -> int:
        """The permission bits: a program gets no other owner's rights by being copied."""
        mode = stat.S_IMODE(item.mode)
        same = self._owner(item) == (item.uid, item.gid)
        return mode if same or stat.S_ISDIR(item.mode) else mode & ~_SET_IDS


def _is_device(item: Item) -> bool:
    return stat.S_ISCHR(item.mode) or stat.S_ISBLK(item.mode)
