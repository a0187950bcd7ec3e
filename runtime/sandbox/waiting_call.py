"""One system call that waits for an answer: what it is about, and what is done instead.

What a process passes is looked up in its memory, its descriptors and its root, never in ours.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys

from runtime.owner_record import UNCHANGED, Record, read_record, write_record
from runtime.sandbox import syscalls
from runtime.sandbox.emulation import OWNER_AT
from runtime.sandbox.mounts import open_in_root
from runtime.sandbox.syscalls import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

REQUEST_SIZE: Final = 80
_IS_VALID: Final = 0x4008_2102
_LONGEST: Final = 4096
_PAGE: Final = 4096
_STREAMS: Final = {b"/dev/stdin": 0, b"/dev/stdout": 1, b"/dev/stderr": 2}
_DESCRIPTORS: Final = (b"/dev/fd/", b"/proc/self/fd/")
_NO_RECORDS: Final = (errno.ENOTSUP, errno.EPERM, errno.EACCES)
_PATH: Final = os.O_PATH | os.O_CLOEXEC
_LOOKS: Final = {
    # Of each call that asks for a file's status: where its path (or -1), its flags (or -1) and
    # the address of the answer are among its arguments.
    "fstat": (-1, -1, 1),
    "lstat": (0, -1, 1),
    "newfstatat": (1, 3, 2),
    "statx": (1, 2, 4),
}


class LeaveIt(Exception):
    """The kernel is to answer the call itself."""


class Gone(Exception):
    """Whoever made the call no longer waits."""


class Call:
    """One call that waits: `struct seccomp_notif`."""

    def __init__(
        self, request: bytearray, listener: int, calls: dict[tuple[int, int], str]
    ) -> None:
        self._id = bytes(request[:8])
        self._listener = listener
        self._pid = _word(request, 8)
        self._name = calls[_word(request, 20), _word(request, 16)]
        # Only addresses are wider than 32 bits.
        places = range(32, REQUEST_SIZE, 8)
        self._wide = [int.from_bytes(request[at : at + 8], sys.byteorder) for at in places]
        self._arguments = [value & 0xFFFF_FFFF for value in self._wide]

    def act(self) -> None:
        """Do what was asked for. `OSError` is the call's; `LeaveIt`, `Gone`."""
        name, arguments = self._name, self._arguments
        if name in _LOOKS:
            self._look(*_LOOKS[name])
        elif name == "mknod":
            self._make(AT_FDCWD, self._wide[0], *arguments[1:3])
        elif name == "mknodat":
            self._make(_signed(arguments[0]), self._wide[1], *arguments[2:4])
        else:
            fd, uid, gid = self._target(name)
            try:
                self._still_waits()
                _give(fd, uid, gid)
            finally:
                os.close(fd)

    def _target(self, name: str) -> tuple[int, int, int]:
        """What a chown is about: a descriptor of the file, and uid and gid."""
        arguments = self._arguments
        if name == "fchown":
            return self._descriptor(arguments[0]), arguments[1], arguments[2]
        if name != "fchownat":
            path = self._text(self._wide[0])
            fd = self._open(AT_FDCWD, path, follow=name == "chown")
            return fd, arguments[1], arguments[2]
        directory, uid, gid, flags = _signed(arguments[0]), *arguments[2:5]
        path = self._text(self._wide[1])
        if not path and flags & AT_EMPTY_PATH:
            path = b"." if directory == AT_FDCWD else b""
        if path:
            fd = self._open(directory, path, follow=not flags & AT_SYMLINK_NOFOLLOW)
        else:
            fd = self._descriptor(directory)
        return fd, uid, gid

    def _make(self, directory: int, address: int, mode: int, device: int) -> None:
        """Have a file stand for a device."""
        if stat.S_ISCHR(mode) and device == 0:
            raise LeaveIt  # Overlayfs's mark of something removed; everybody may make it.
        above, slash, name = self._text(address).rpartition(b"/")
        if name in (b"", b".", b".."):
            raise LeaveIt
        above = above or slash or b"."
        parent = self._open(directory, above, follow=True, more=os.O_DIRECTORY)
        try:
            mode = mode & ~self._umask()
            self._still_waits()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(name, flags, stat.S_IMODE(mode), dir_fd=parent)
            try:
                record = Record(UNCHANGED, UNCHANGED, "c" if stat.S_ISCHR(mode) else "b", device)
                write_record(fd, stat.S_IFREG, record)
            except OSError:
                os.unlink(name, dir_fd=parent)
                raise
            finally:
                os.close(fd)
        finally:
            os.close(parent)

    def _look(self, path_at: int, flags_at: int, address_at: int) -> None:
        """Give a file's status with its recorded owner; without one it is as the kernel has it."""
        flags = self._arguments[flags_at] if flags_at >= 0 else AT_SYMLINK_NOFOLLOW
        path = self._text(self._wide[path_at]) if path_at >= 0 else b""
        directory = AT_FDCWD if path_at == 0 else _signed(self._arguments[0])
        if path:
            fd = self._open(directory, path, follow=not flags & AT_SYMLINK_NOFOLLOW)
        elif directory == AT_FDCWD:
            raise LeaveIt
        else:
            fd = self._descriptor(directory)
        try:
            record = read_record(f"/proc/self/fd/{fd}", os.fstat(fd).st_mode, follow=True)
            if record is None:
                raise LeaveIt
            if self._name == "statx":
                status = syscalls.statx(fd, flags | AT_EMPTY_PATH, self._arguments[3])
                at = syscalls.STATX_UID_AT
            else:
                status, at = syscalls.fstat(fd), OWNER_AT
        finally:
            os.close(fd)
        for number in (record.uid, record.gid):
            if number != UNCHANGED:
                status[at : at + 4] = number.to_bytes(4, sys.byteorder)
            at += 4
        self._still_waits()
        self._put(self._wide[address_at], status)

    # ---- looking at who asks

    def _still_waits(self) -> None:
        """Be sure that what was opened so far was its: its process ID could be another's now."""
        try:
            fcntl.ioctl(self._listener, _IS_VALID, self._id)
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise Gone from None
            raise

    def _text(self, address: int) -> bytes:
        """A string in its memory."""
        try:
            fd = os.open(f"/proc/{self._pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Gone from None
        data = b""
        try:
            while b"\0" not in data:
                if len(data) > _LONGEST:
                    raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
                start = address + len(data)
                piece = os.pread(fd, _PAGE - start % _PAGE, start)
                if not piece:
                    raise LeaveIt
                data += piece
        except (OSError, OverflowError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
                raise
            raise LeaveIt from None
        finally:
            os.close(fd)
        return data[: data.index(b"\0")]

    def _put(self, address: int, data: bytearray) -> None:
        """Write to its memory."""
        try:
            fd = os.open(f"/proc/{self._pid}/mem", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Gone from None
        try:
            if os.pwrite(fd, data, address) != len(data):
                raise LeaveIt
        except (OSError, OverflowError):
            raise LeaveIt from None
        finally:
            os.close(fd)

    def _umask(self) -> int:
        with open(f"/proc/{self._pid}/status", "rb") as lines:
            for line in lines:
                if line.startswith(b"Umask:"):
                    return int(line.split()[1], 8)
        raise LeaveIt

    def _descriptor(self, number: int) -> int:
        """The file that one of its descriptors is of."""
        try:
            return os.open(f"/proc/{self._pid}/fd/{number}", _PATH)
        except OSError:
            raise LeaveIt from None

    def _open(self, directory: int, path: bytes, *, follow: bool, more: int = 0) -> int:
        """What is at a path, as it sees it; what cannot be found is the kernel's to answer."""
        number = _descriptor_number(path) if follow else None
        if number is not None:
            return self._descriptor(number)
        flags = os.O_PATH | more | (0 if follow else os.O_NOFOLLOW)
        try:
            if path.startswith(b"/"):
                return self._open_in_root(path, flags)
            base = "cwd" if directory == AT_FDCWD else f"fd/{directory}"
            try:
                return self._open_beneath(base, path, flags)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
            # Through `..` or an absolute link: only its root says where that leads.
            return self._open_in_root(self._inside(base) + b"/" + path, flags)
        except OSError:
            raise LeaveIt from None

    def _open_beneath(self, base: str, path: bytes, flags: int) -> int:
        fd = os.open(f"/proc/{self._pid}/{base}", _PATH)
        try:
            resolve = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_MAGICLINKS
            return syscalls.openat2(fd, path, flags, resolve=resolve)
        finally:
            os.close(fd)

    def _open_in_root(self, path: bytes, flags: int) -> int:
        root = os.open(f"/proc/{self._pid}/root", _PATH)
        try:
            return open_in_root(root, path, flags)
        finally:
            os.close(root)

    def _inside(self, base: str) -> bytes:
        """The path of one of its directories, from its root."""
        root, path = (os.readlink(f"/proc/{self._pid}/{name}".encode()) for name in ("root", base))
        return path[len(root) :] if root != b"/" and path.startswith(root + b"/") else path


def _give(fd: int, uid: int, gid: int) -> None:
    """Record an owner. The call itself is made, too: it has other effects, and knows errors."""
    place = f"/proc/self/fd/{fd}"
    mode = os.fstat(fd).st_mode
    old = read_record(place, mode, follow=True) or Record(UNCHANGED, UNCHANGED)
    os.chown(place, -1 if uid == UNCHANGED else 0, -1 if gid == UNCHANGED else 0)
    record = Record(
        old.uid if uid == UNCHANGED else uid,
        old.gid if gid == UNCHANGED else gid,
        old.kind,
        old.rdev,
    )
    try:
        write_record(place, mode, record, follow=True)
    except OSError as error:
        # A file system that has no attributes holds nothing that becomes part of an image.
        if error.errno not in _NO_RECORDS:
            raise


def _descriptor_number(path: bytes) -> int | None:
    """The descriptor that a path stands for: /proc/self is another for us."""
    if path in _STREAMS:
        return _STREAMS[path]
    for prefix in _DESCRIPTORS:
        if path.startswith(prefix) and path[len(prefix) :].isdigit():
            return int(path[len(prefix) :])
    return None


def _word(data: bytearray, at: int) -> int:
    return int.from_bytes(data[at : at + 4], sys.byteorder)


def _signed(number: int) -> int:
    return number - (1 << 32) if number >> 31 else number
