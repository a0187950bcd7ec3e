"""Having a bundle's container cloned, seen from the command that wants it."""

from __future__ import annotations

import _socket
import marshal
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from runtime.errors import SetupFailed
from runtime.oci.child import READY
from runtime.sandbox.server import start_error
from runtime.sandbox.spawn import spawn
from runtime.sandbox.wire import decode_failure


class Launched:
    """A container's first process, a child of ours that waits to be told to go on."""

    def __init__(self, pid: int, pidfd: int, channel: _socket.socket, command: str) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.terminal: int | None = None
        """Our side of its terminal, if it has one, after `finish`."""
        self._channel = channel
        self._command = command

    def go_on(self, state: bytes) -> None:
        """Have it make the container; `state` is what its hooks see."""
        self._channel.send(state)

    def finish(self, *, ready: bool) -> None:
        """Wait until it waits for its start (`ready`), or until its command is executed.

        `SetupFailed`, `CommandNotFound` or `CommandNotRunnable` if that does not come.
        """
        failure = b""
        while True:
            data, ancillary, _, _ = self._channel.recvmsg(1 << 16, _socket.CMSG_SPACE(4))
            if ancillary:
                self.terminal = int.from_bytes(ancillary[0][2][:4], sys.byteorder)
                os.set_inheritable(self.terminal, False)
            elif not data or data == READY:
                break
            else:
                failure += data
        if failure:
            raise start_error(self._command, *decode_failure(failure))
        if ready and data != READY:
            raise SetupFailed("make the container", 0, "its first process ended unexpectedly")


@contextmanager
def launched(
    fields: Mapping[str, Any],
    namespaces: list[tuple[int, int]],
    *,
    listening_fd: int | None = None,
) -> Iterator[Launched]:
    """Clone the first process of an order; killed if the block ends with an error.

    `namespaces` are descriptors and CLONE_NEW* of those to be entered. The process has our
    standard streams. `SetupFailed` if it cannot be cloned.
    """
    with ExitStack() as stack:
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        stack.callback(ours.close)
        stack.callback(theirs.close)
        channel, their_channel = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        stack.callback(channel.close)
        stack.callback(their_channel.close)
        order = marshal.dumps({**fields, "joined": tuple(kind for _, kind in namespaces)})
        order_fd = os.memfd_create("order", os.MFD_CLOEXEC)
        stack.callback(os.close, order_fd)
        os.write(order_fd, order)
        helper = spawn("runtime.oci.program", theirs.fileno())
        theirs.close()
        listening = order_fd if listening_fd is None else listening_fd
        fds = (order_fd, their_channel.fileno(), listening, *(fd for fd, _ in namespaces))
        rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
        try:
            ours.sendmsg([b"!"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
            answer = ours.recv(4096)
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
        ours.close()
        os.waitpid(helper, 0)
        their_channel.close()
        if not answer:
            raise SetupFailed("make namespaces", 0, "the process that does it ended unexpectedly")
        pid, number, text = marshal.loads(answer)
        if not pid:
            raise SetupFailed("make namespaces", number, text)
        pidfd = os.pidfd_open(pid)
        stack.callback(os.close, pidfd)
        command = os.fsdecode(fields["argv"][0])
        process = Launched(pid, pidfd, channel, command)
        try:
            yield process
        except BaseException:
            import signal

            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        finally:
            if process.terminal is not None:
                os.close(process.terminal)


def tell_start(path: str, command: str) -> None:
    """Have a container that waits at a socket execute its command; errors as of `finish`."""
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        # A path of any length, where an address has room for 107 bytes.
        socket.connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
        os.unlink(path)
        socket.send(b"start")
        failure = b""
        while data := socket.recv(1 << 16):
            failure += data
    except (ConnectionRefusedError, ConnectionResetError) as error:
        raise SetupFailed("start", error.errno or 0, "the container has ended") from error
    finally:
        socket.close()
        os.close(folder)
    if failure:
        raise start_error(command, *decode_failure(failure))
