"""Answering for the kernel what a user with one id cannot do: who owns what is recorded.

A supervisor is a small process beside one container's (or one `exec`'s) processes, forked by who
clones those. Their filter (`runtime.sandbox.emulation`) has them wait while it looks up the file,
inside their root, and writes down whose it should be (`runtime.owner_record`). It ends when the
last of them has; without it the calls fail with ENOSYS.

Memory and paths are the container's to change while they are looked at. That gains it nothing:
what is opened is in its own root, and what is done there, it could do itself.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import select
import stat
import sys

from runtime.owner_record import UNCHANGED, Record, has_one_id, read_record, write_record
from runtime.sandbox import syscalls
from runtime.sandbox.emulation import asked_calls
from runtime.sandbox.mounts import open_in_root
from runtime.sandbox.syscalls import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Final, NoReturn
else:
    import _signal

_SOCKET_FD: Final = 3
_WCLONE: Final = -0x8000_0000
_RECEIVE, _SEND, _IS_VALID = 0xC050_2100, 0xC018_2101, 0x4008_2102
_REQUEST_SIZE: Final = 80
_CONTINUE: Final = 1
_LONGEST: Final = 4096
_PAGE: Final = 4096
_STREAMS: Final = {b"/dev/stdin": 0, b"/dev/stdout": 1, b"/dev/stderr": 2}
_DESCRIPTORS: Final = (b"/dev/fd/", b"/proc/self/fd/")
_NO_RECORDS: Final = (errno.ENOTSUP, errno.EPERM, errno.EACCES)
_PATH: Final = os.O_PATH | os.O_CLOEXEC


def start_supervisor() -> int:
    """A descriptor to send the listener of a filter to, where there is only one id; else -1.

    To be called by a process without threads that waits for no children but those it knows.
    """
    if not has_one_id():
        return -1
    _reap()
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    # Without an exit signal it is none of the children that others wait for.
    pid, pidfd = syscalls.clone3(0, 0)
    if pid == 0:
        _supervise(ours)
    os.close(pidfd)
    ours.close()
    return theirs.detach()


def send_listener(listener: int, supervisor: int) -> None:
    """Have a filter's calls answered; closes both descriptors."""
    socket = _socket.socket(fileno=supervisor)
    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, listener.to_bytes(4, sys.byteorder))
    socket.sendmsg([b"!"], [rights])
    socket.close()
    os.close(listener)


def _reap() -> None:
    """Wait for supervisors that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG | _WCLONE)[0]:
            pass
    except ChildProcessError:
        return


def _supervise(socket: _socket.socket) -> NoReturn:
    try:
        for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP):
            _signal.signal(number, _signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
        os.dup2(socket.fileno(), _SOCKET_FD)
        # Nobody may wait for the end of a stream because of us.
        syscalls.close_range(_SOCKET_FD + 1, 0xFFFF_FFFF, 0)
        os.chdir("/")
        os.umask(0)
        listener = _receive_listener()
        if listener is not None:
            _Supervisor(listener).serve()
    finally:
        os._exit(0)


def _receive_listener() -> int | None:
    """The listener; `None` if the process ended before it had one."""
    socket = _socket.socket(fileno=_SOCKET_FD)
    _, ancillary, _, _ = socket.recvmsg(1, _socket.CMSG_SPACE(4))
    socket.close()
    return int.from_bytes(ancillary[0][2][:4], sys.byteorder) if ancillary else None


class _LeaveIt(Exception):
    """The kernel is to answer the call itself."""


class _Gone(Exception):
    """Whoever made the call no longer waits."""


class _Supervisor:
    def __init__(self, listener: int) -> None:
        self._listener = listener
        self._calls = asked_calls()

    def serve(self) -> None:
        """Answer until nobody is left who could ask."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        while True:
            events = poll.poll()[0][1]
            if events & select.POLLIN:
                self._answer()
            elif events & (select.POLLHUP | select.POLLERR):
                return

    def _answer(self) -> None:
        request = bytearray(_REQUEST_SIZE)
        try:
            fcntl.ioctl(self._listener, _RECEIVE, request)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):
                return  # It was killed before we could look.
            raise
        flags = number = 0
        try:
            _Call(request, self._listener, self._calls).act()
        except _LeaveIt:
            flags = _CONTINUE
        except _Gone:
            return
        except OSError as error:
            number = error.errno or errno.EIO
        response = bytearray(request[:8] + bytes(8))
        response += (-number).to_bytes(4, sys.byteorder, signed=True)
        response += flags.to_bytes(4, sys.byteorder)
        try:
            fcntl.ioctl(self._listener, _SEND, response)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise


class _Call:
    """One call that waits: `struct seccomp_notif`."""

    def __init__(
        self, request: bytearray, listener: int, calls: dict[tuple[int, int], str]
    ) -> None:
        self._id = bytes(request[:8])
        self._listener = listener
        self._pid = _word(request, 8)
        self._name = calls[_word(request, 20), _word(request, 16)]
        # Only addresses are wider than 32 bits.
        places = range(32, _REQUEST_SIZE, 8)
        self._wide = [int.from_bytes(request[at : at + 8], sys.byteorder) for at in places]
        self._arguments = [value & 0xFFFF_FFFF for value in self._wide]

    def act(self) -> None:
        """Do what was asked for. `OSError` is the call's; `_LeaveIt`, `_Gone`."""
        name, arguments = self._name, self._arguments
        if name == "mknod":
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
            raise _LeaveIt  # Overlayfs's mark of something removed; everybody may make it.
        above, slash, name = self._text(address).rpartition(b"/")
        if name in (b"", b".", b".."):
            raise _LeaveIt
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

    # ---- looking at who asks

    def _still_waits(self) -> None:
        """Be sure that what was opened so far was its: its process ID could be another's now."""
        try:
            fcntl.ioctl(self._listener, _IS_VALID, self._id)
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise _Gone from None
            raise

    def _text(self, address: int) -> bytes:
        """A string in its memory."""
        try:
            fd = os.open(f"/proc/{self._pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise _Gone from None
        data = b""
        try:
            while b"\0" not in data:
                if len(data) > _LONGEST:
                    raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
                start = address + len(data)
                piece = os.pread(fd, _PAGE - start % _PAGE, start)
                if not piece:
                    raise _LeaveIt
                data += piece
        except (OSError, OverflowError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
                raise
            raise _LeaveIt from None
        finally:
            os.close(fd)
        return data[: data.index(b"\0")]

    def _umask(self) -> int:
        with open(f"/proc/{self._pid}/status", "rb") as lines:
            for line in lines:
                if line.startswith(b"Umask:"):
                    return int(line.split()[1], 8)
        raise _LeaveIt

    def _descriptor(self, number: int) -> int:
        """The file that one of its descriptors is of."""
        try:
            return os.open(f"/proc/{self._pid}/fd/{number}", _PATH)
        except OSError:
            raise _LeaveIt from None

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
            raise _LeaveIt from None

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
