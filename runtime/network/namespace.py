"""Network namespaces that are made before their container, and work that is done inside one.

Only a process that enters a namespace can make sockets there: so that is done by a short-lived
child, which hands them over. For processes without threads only.
"""

from __future__ import annotations

import _socket
import fcntl
import marshal
import os
import sys

from runtime.errors import SetupFailed
from runtime.sandbox import syscalls
from runtime.sandbox.child import bring_up_loopback

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable, Sequence
    from typing import NoReturn
else:
    import _signal

_MOST_FDS = 64
_NS_GET_USERNS = 0xB701


def make_namespace() -> int:
    """A descriptor of a new network namespace, in which nothing but loopback is up."""

    def work() -> list[int]:
        bring_up_loopback()
        return [os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)]

    return _apart(work, "make a network namespace", syscalls.CLONE_NEWNET)[0]


def owns_network() -> bool:
    """Whether this process is root, and its network is its user namespace's own.

    A plain user's is the machine's, in which root of a user namespace has no rights.
    """
    if os.geteuid() != 0:
        return False
    fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        owner = fcntl.ioctl(fd, _NS_GET_USERNS)
    except PermissionError:
        return False  # The owner is further out than we may know.
    finally:
        os.close(fd)
    try:
        return os.fstat(owner).st_ino == os.stat("/proc/self/ns/user").st_ino
    finally:
        os.close(owner)


def inside(namespace_fd: int, work: Callable[[], Sequence[int]], stage: str) -> list[int]:
    """Have `work` done in a network namespace by a child; the descriptors that it gives.

    `SetupFailed` with that stage if it raises `OSError`.
    """

    def entered() -> Sequence[int]:
        syscalls.setns(namespace_fd, syscalls.CLONE_NEWNET)
        return work()

    return _apart(entered, stage, 0)


def _apart(work: Callable[[], Sequence[int]], stage: str, flags: int) -> list[int]:
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        pid, pidfd = _clone(flags, stage)
        if pid == 0:
            _work(work, theirs)
        theirs.close()
        try:
            data, ancillary, _, _ = ours.recvmsg(64, _socket.CMSG_SPACE(4 * _MOST_FDS))
        finally:
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
            os.close(pidfd)
    finally:
        ours.close()
        theirs.close()
    number = marshal.loads(data) if data else 0
    if not data or number:
        raise _failed(stage, number)
    fds = [
        int.from_bytes(content[place : place + 4], sys.byteorder)
        for _, _, content in ancillary
        for place in range(0, len(content), 4)
    ]
    for fd in fds:
        os.set_inheritable(fd, False)
    return fds


def _clone(flags: int, stage: str) -> tuple[int, int]:
    try:
        return syscalls.clone3(flags, _signal.SIGCHLD)
    except OSError as error:
        raise _failed(stage, error.errno or 0) from error


def _work(work: Callable[[], Sequence[int]], socket: _socket.socket) -> NoReturn:
    """The child's side: what comes of it is a number, 0 or that of the error."""
    try:
        fds = work()
        rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
        more = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if fds else []
        socket.sendmsg([marshal.dumps(0)], more)
    except OSError as error:
        socket.send(marshal.dumps(error.errno or -1))
    finally:
        os._exit(0)


def _failed(stage: str, number: int) -> SetupFailed:
    text = os.strerror(number).lower() if number > 0 else "it ended without a word"
    return SetupFailed(stage, max(number, 0), text)
