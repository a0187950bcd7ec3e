"""The fork server's own side: a small process without threads that clones containers.

It is started by `runtime.sandbox.server`, which sees to it that this code's interpreter cannot
be written to. Each request has the order's file and four descriptors: standard input, output
and error, and where failures are reported; and a fifth, the pidfd of the container to enter, if
one is to be entered. The answer is the new process's pid, an errno, the pid of a helper to wait
for, and a pidfd.
"""

from __future__ import annotations

import _socket
import gc
import marshal
import os
import select
import sys

from runtime.sandbox import syscalls
from runtime.sandbox.cloning import clone_container, last_capability
from runtime.sandbox.wire import decode_order

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

_FDS = 6


def main() -> None:
    """Serve until whoever started this process is gone or closes the connection."""
    socket_fd, parent = int(sys.argv[1]), int(sys.argv[2])
    syscalls.close_range(socket_fd + 1, 0xFFFF_FFFF, 0)
    try:
        parent_fd = os.pidfd_open(parent)
    except ProcessLookupError:
        return
    if os.getppid() != parent:
        return
    # Collecting garbage would only copy pages that are shared with the containers.
    gc.disable()
    _Server(_socket.socket(fileno=socket_fd), parent_fd).serve()
    # Taking an interpreter down takes a fifth of the time it took to bring it up.
    os._exit(0)


class _Server:
    def __init__(self, socket: _socket.socket, parent_fd: int) -> None:
        self._socket = socket
        self._parent_fd = parent_fd
        self._containers: set[int] = set()
        self._poll = select.poll()
        self._poll.register(socket.fileno(), select.POLLIN)
        self._poll.register(parent_fd, select.POLLIN)
        self._last_capability = last_capability()

    def serve(self) -> None:
        """Answer requests; at the end no container is left that must not outlive its parent."""
        try:
            while True:
                for fd, _ in self._poll.poll():
                    if fd in self._containers:
                        self._forget(fd)
                    elif fd == self._parent_fd or not self._answer():
                        return
        finally:
            for fd in self._containers:
                # Being killed with the parent (prctl) is undone by a change of credentials:
                # a command run by `su` or `gosu` would live on.
                try:
                    _signal.pidfd_send_signal(fd, _signal.SIGKILL)
                except ProcessLookupError:
                    continue

    def _forget(self, pidfd: int) -> None:
        self._poll.unregister(pidfd)
        self._containers.discard(pidfd)
        os.close(pidfd)

    def _answer(self) -> bool:
        """Do one request; `False` when there will be no more."""
        try:
            data, ancillary, _, _ = self._socket.recvmsg(1, _socket.CMSG_SPACE(4 * _FDS))
        except ConnectionResetError:
            return False
        if not data:
            return False
        fds = [
            int.from_bytes(content[i : i + 4], sys.byteorder)
            for _, _, content in ancillary
            for i in range(0, len(content), 4)
        ]
        order_fd, *standard, error_fd = fds[:5]
        size = os.fstat(order_fd).st_size
        order = decode_order(os.pread(order_fd, size, 0))
        try:
            # With CLONE_PARENT our parent is the container's, and waits for it; the exit signal
            # is then ours, so none may be given.
            flags = syscalls.CLONE_PARENT
            if order.enter:
                from runtime.sandbox.entry import clone_into

                pid, pidfd, helper = clone_into(
                    order, fds[5], standard, error_fd, self._last_capability, flags=flags
                )
            else:
                pid, pidfd, helper = clone_container(
                    order, standard, error_fd, self._last_capability, flags=flags
                )
        except OSError as error:
            self._socket.sendmsg([marshal.dumps((0, error.errno, 0))])
        else:
            told = marshal.dumps((pid, 0, helper))
            if not pid:
                self._socket.sendmsg([told])
                return True
            answer = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pidfd.to_bytes(4, sys.byteorder))
            self._socket.sendmsg([told], [answer])
            if order.die_with_parent:
                self._containers.add(pidfd)
                self._poll.register(pidfd, select.POLLIN)
            else:
                os.close(pidfd)
        finally:
            for fd in fds:
                os.close(fd)
        return True
