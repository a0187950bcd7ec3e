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
import sys

from runtime.sandbox import syscalls
from runtime.sandbox.emulation import asked_calls
from runtime.sandbox.waiting_call import REQUEST_SIZE, Call, Gone, LeaveIt

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Final, NoReturn
else:
    import _signal

_SOCKET_FD: Final = 3
_WCLONE: Final = -0x8000_0000
_RECEIVE, _SEND = 0xC050_2100, 0xC018_2101
_CONTINUE: Final = 1


def start_supervisor() -> int:
    """Fork one; a descriptor to send the listener of a filter to.

    To be called by a process without threads that waits for no children but those it knows.
    """
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
        request = bytearray(REQUEST_SIZE)
        try:
            fcntl.ioctl(self._listener, _RECEIVE, request)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):
                return  # It was killed before we could look.
            raise
        flags = number = 0
        try:
            Call(request, self._listener, self._calls).act()
        except LeaveIt:
            flags = _CONTINUE
        except Gone:
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
