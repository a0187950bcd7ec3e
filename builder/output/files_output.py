"""The files of an image outside a store: in a directory, or in a tar.

    ExportError     the directory holds something that must not be replaced

The directory is somebody's: files in it that have the names of the image's are replaced, others
stay. Nothing is followed in it, and no folder with something in it is removed. Every time is the
epoch, so that equal images give equal files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from builder.errors import BuildError
from runtime.image.layer.entry import Entry, FileSource, Kind
from runtime.image.layer.view import View
from runtime.image.layer.writer import write_layer
from runtime.image.new_file import new_file, write_all

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FORMATS = {
    Kind.CHARACTER: stat.S_IFCHR,
    Kind.BLOCK: stat.S_IFBLK,
    Kind.FIFO: stat.S_IFIFO,
}


class ExportError(BuildError):
    """The directory holds something that must not be replaced."""


def write_files_tar(view: View, out: str | int, *, mtime: int | None) -> None:
    """Write what `view` shows as a tar in canonical form, to a path or a descriptor.

    Every time is `mtime`, or what it is there.
    """
    write_tar(entries(view, mtime), out)


def write_tar(written: Iterator[Entry], out: str | int) -> None:
    """Write entries as a tar in canonical form, to a path or a descriptor."""
    if isinstance(out, int):
        write_layer(written, out)
    else:
        with new_file(out) as fd:
            write_layer(written, fd)


def write_files(
    view: View, directory: str, *, mtime: int | None, owners: bool
) -> tuple[bytes, ...]:
    """Write what `view` shows below `directory`, which is made if it is missing.

    Every time is `mtime`, or what it is there.
    With `owners` files get the image's owners, else all belong to who writes them. What cannot
    be made here (a device, without the right to) is left out: the answer has its paths.
    """
    os.makedirs(directory, exist_ok=True)
    with _Writer(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), owners) as writer:
        for entry in entries(view, mtime):
            writer.put(entry)
        return tuple(writer.left_out)


def has_own_owners() -> bool:
    """Whether we may give files away as the system's root can, not only inside a namespace."""
    if os.geteuid() != 0:
        return False
    with open("/proc/self/uid_map", encoding="ascii") as file:
        ranges = [tuple(map(int, line.split())) for line in file]
    return bool(ranges) and ranges[0][:2] == (0, 0) and ranges[0][2] >= 1 << 31


def entries(view: View, mtime: int | None) -> Iterator[Entry]:
    """All that `view` shows but the root itself, with that time, or as it is there."""
    for entry in view.walk(b""):
        if entry.path:
            yield entry if mtime is None else replace(entry, mtime=mtime)


class _Writer:
    """Makes entries below an open directory, which come in canonical order.

    The folders on the way to the entry are open; a folder gets its times and its mode when it
    is left, since a file made in it changes the one and may be forbidden by the other.
    """

    def __init__(self, top: int, owners: bool) -> None:
        self.left_out: list[bytes] = []
        self._owners = owners
        self._top = top
        self._open: list[tuple[Entry, int]] = []
        self._first: dict[tuple[int, int], bytes] = {}

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            self._leave()
        os.close(self._top)

    def put(self, entry: Entry) -> None:
        """Make an entry in the place of what has its name."""
        above, _, name = entry.path.rpartition(b"/")
        while self._open and self._open[-1][0].path != above:
            self._leave()
        here = self._open[-1][1] if self._open else self._top
        if entry.kind is Kind.DIRECTORY:
            self._open.append((entry, self._folder(here, name)))
            return
        self._make_room(here, name, entry.path)
        temporary = b".lamina-" + os.urandom(8).hex().encode()
        try:
            if self._make(here, temporary, entry):
                os.rename(temporary, name, src_dir_fd=here, dst_dir_fd=here)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=here)

    def _leave(self) -> None:
        entry, fd = self._open.pop()
        try:
            if self._owners:
                os.chown(fd, entry.uid, entry.gid)
            self._xattrs(fd, entry)
            os.chmod(fd, entry.mode)
            os.utime(fd, (entry.mtime, entry.mtime))
        finally:
            os.close(fd)

    def _folder(self, here: int, name: bytes) -> int:
        """The folder of that name, opened; whatever else has the name makes room for it."""
        try:
            return os.open(name, _DIRECTORY, dir_fd=here)
        except FileNotFoundError:
            pass
        except (NotADirectoryError, OSError) as error:
            if not _is_other(here, name):
                raise error
            os.unlink(name, dir_fd=here)
        os.mkdir(name, 0o700, dir_fd=here)
        return os.open(name, _DIRECTORY, dir_fd=here)

    def _make_room(self, here: int, name: bytes, path: bytes) -> None:
        """An empty folder goes; one with something in it is not ours to remove."""
        try:
            os.rmdir(name, dir_fd=here)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise ExportError(
                f"{os.fsdecode(path)}: a file of the image has the name of a folder that is"
                " not empty",
                hint="write to an empty directory, or remove that folder",
            ) from error

    def _make(self, here: int, name: bytes, entry: Entry) -> bool:
        """Make a new file, link or device; false if that is not possible here."""
        match entry.kind:
            case Kind.REGULAR:
                self._regular(here, name, entry)
                return True
            case Kind.SYMLINK:
                os.symlink(entry.target, name, dir_fd=here)
            case Kind.CHARACTER | Kind.BLOCK | Kind.FIFO:
                try:
                    os.mknod(name, _FORMATS[entry.kind] | 0o600, entry.rdev, dir_fd=here)
                except PermissionError:
                    self.left_out.append(entry.path)
                    return False
                os.chmod(name, entry.mode, dir_fd=here)
            case _:
                raise AssertionError(f"a view has no {entry.kind.name}")
        if self._owners:
            os.chown(name, entry.uid, entry.gid, dir_fd=here, follow_symlinks=False)
            if entry.kind is not Kind.SYMLINK:
                os.chmod(name, entry.mode, dir_fd=here)
        os.utime(name, (entry.mtime, entry.mtime), dir_fd=here, follow_symlinks=False)
        return True

    def _regular(self, here: int, name: bytes, entry: Entry) -> None:
        if entry.inode is not None:
            first = self._first.setdefault(entry.inode, entry.path)
            if first != entry.path:
                self._link(first, here, name)
                return
        fd = os.open(name, _NEW_FILE, 0o600, dir_fd=here)
        try:
            _copy(entry, fd)
            if self._owners:
                os.chown(fd, entry.uid, entry.gid)
            self._xattrs(fd, entry)
            os.chmod(fd, entry.mode)
            os.utime(fd, (entry.mtime, entry.mtime))
        finally:
            os.close(fd)

    def _link(self, first: bytes, here: int, name: bytes) -> None:
        """A further name of a file that was made before; every folder on its way was, too."""
        *folders, last = first.split(b"/")
        fd = os.dup(self._top)
        try:
            for folder in folders:
                below = os.open(folder, _DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = below
            os.link(last, name, src_dir_fd=fd, dst_dir_fd=here, follow_symlinks=False)
        finally:
            os.close(fd)

    def _xattrs(self, fd: int, entry: Entry) -> None:
        """Attributes where they can be had: file capabilities are for the system's root only."""
        for name, value in entry.xattrs:
            if name == "security.capability" and not self._owners:
                continue
            with suppress(OSError):
                os.setxattr(fd, name, value)


def _is_other(here: int, name: bytes) -> bool:
    """Whether something that is no folder has the name."""
    with suppress(FileNotFoundError):
        return not stat.S_ISDIR(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode)
    return False


def _copy(entry: Entry, out: int) -> None:
    if not isinstance(entry.content, FileSource):
        write_all(out, entry.content)
        return
    source = entry.content.open()
    try:
        left = entry.size
        while left:
            data = os.read(source, min(left, 1 << 20))
            if not data:
                raise ExportError(f"{os.fsdecode(entry.path)}: its layer ends too early")
            write_all(out, data)
            left -= len(data)
    finally:
        os.close(source)
