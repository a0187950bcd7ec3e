"""A user at a terminal, for commands that behave differently there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class User:
    """Somebody who types, and reads what appears."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int) -> None:
        self.process = process
        self.seen = ""
        self._terminal = terminal

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def reads(self, pattern: str, seconds: float = 30) -> str:
        """Wait until that appears after what was read before; gives what matched."""
        deadline = time.monotonic() + seconds
        while (found := re.search(pattern, self.seen)) is None:
            left = deadline - time.monotonic()
            assert left > 0, f"{pattern!r} did not appear: {self.seen!r}"
            if select.select([self._terminal], [], [], left)[0]:
                self.seen += self._more()
        self.seen = self.seen[found.end() :]
        return found[0]

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def mode(self) -> list[object]:
        """The terminal's settings."""
        return termios.tcgetattr(self._terminal)

    def leaves_with(self, seconds: float = 30) -> int:
        """The exit status of the command, when it has ended."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end: {self.seen!r}"
            if select.select([self._terminal], [], [], 0.05)[0]:
                self.seen += self._more()
        return self.process.returncode

    def _more(self) -> str:
        try:
            return os.read(self._terminal, 4096).decode(errors="replace")
        except OSError:
            return ""


@contextmanager
def user_of(
    words: Sequence[str], environment: dict[str, str], *, size: tuple[int, int] = (30, 100)
) -> Iterator[User]:
    """A command at a terminal of its own."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    process = subprocess.Popen(
        words,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    try:
        yield User(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(theirs)
        os.close(ours)
