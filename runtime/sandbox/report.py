"""How a process that becomes a command tells us what became of that."""

from __future__ import annotations

import _socket
import os
import sys


class Report:
    """A channel from such a process. With `terminal` it can hand out a terminal, too.

    Give `write_fd` to the process and `sent` here, then `read`.
    """

    def __init__(self, *, terminal: bool) -> None:
        self._socket: _socket.socket | None = None
        if terminal:
            ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
            self._socket = ours
            self._read_fd = ours.fileno()
            self.write_fd = theirs.detach()
        else:
            self._read_fd, self.write_fd = os.pipe2(os.O_CLOEXEC)

    def sent(self) -> None:
        """The process has its end now; nobody else may keep it."""
        if self.write_fd >= 0:
            os.close(self.write_fd)
            self.write_fd = -1

    def read(self) -> tuple[bytes, int | None]:
        """Wait until the command is executed: what failed (nothing if it is), the terminal."""
        failure = b""
        if self._socket is None:
            while data := os.read(self._read_fd, 4096):
                failure += data
            return failure, None
        terminal = None
        while True:
            data, ancillary, _, _ = self._socket.recvmsg(4096, _socket.CMSG_SPACE(4))
            if not data:
                return failure, terminal
            if ancillary:
                terminal = int.from_bytes(ancillary[0][2][:4], sys.byteorder)
                os.set_inheritable(terminal, False)
            else:
                failure += data

    def close(self) -> None:
        """Let go of both ends."""
        self.sent()
        if self._socket is not None:
            self._socket.close()
        else:
            os.close(self._read_fd)
