"""A terminal of `exec`, used like a connection to a monitor."""

from __future__ import annotations

import os
import select

from runtime.containers.attach import Ended, Output
from runtime.monitor import frames
from runtime.sandbox.server import Process
from runtime.sandbox.terminal import set_size


class TerminalSide:
    """Our side of a process's terminal. What it wrote before it ended is received first."""

    def __init__(self, process: Process, terminal: int) -> None:
        self._process = process
        self._fd = terminal
        self._pending = b""
        os.set_blocking(terminal, False)
        # Readable when either is: what the terminal has, or that the process has ended.
        self._poll = select.epoll()
        self._poll.register(terminal, select.EPOLLIN)
        self._poll.register(process.pidfd, select.EPOLLIN)
        self._is_over = False

    def fileno(self) -> int:
        return self._poll.fileno()

    def close(self) -> None:
        self._poll.close()
        os.close(self._fd)

    @property
    def wants_write(self) -> bool:
        return bool(self._pending)

    def give(self, data: bytes) -> None:
        self._pending += data
        self.flush()

    def end_input(self) -> None:
        """A terminal's input has no end but the character for that."""

    def resize(self, rows: int, columns: int) -> None:
        set_size(self._fd, rows, columns)

    def flush(self) -> None:
        try:
            while self._pending:
                self._pending = self._pending[os.write(self._fd, self._pending) :]
        except BlockingIOError:
            pass
        except OSError:
            self._pending = b""
        if not self._is_over:
            waits = select.EPOLLOUT if self._pending else 0
            self._poll.modify(self._fd, select.EPOLLIN | waits)

    def receive(self) -> Output | Ended | None:
        poll = select.poll()
        poll.register(self._process.pidfd, select.POLLIN)
        # Asked first: what was written until then is found by the read.
        has_ended = bool(poll.poll(0))
        try:
            data = os.read(self._fd, frames.LARGEST)
        except BlockingIOError:
            data = b""
        except OSError:
            # Nobody has the other side; but the process may go on without it.
            data = b""
            if not self._is_over:
                self._poll.unregister(self._fd)
                self._is_over = True
        if data:
            return Output(data)
        return Ended(self._process.wait()) if has_ended else None
