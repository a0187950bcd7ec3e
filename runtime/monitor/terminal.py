"""A container's terminal, as its monitor holds the other side. Used like `Streams`."""

from __future__ import annotations

import os

from runtime.monitor import frames
from runtime.monitor.loop import READ, WRITE
from runtime.sandbox.terminal import set_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.monitor.loop import Loop

_ENOUGH = 4 << 10


class Terminal:
    """Our side of a terminal, which the container makes when it starts."""

    def __init__(
        self, loop: Loop, *, on_output: Callable[[int, bytes], None], on_room: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._on_output = on_output
        self._on_room = on_room
        self._pending = b""
        self._paused = False
        self._fd = -1
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self.theirs = (null, null, null)

    def started(self, fd: int | None) -> None:
        """The container runs, and has handed this out."""
        self._close_theirs()
        assert fd is not None
        self._fd = fd
        os.set_blocking(fd, False)
        self._watch()

    def pause(self, paused: bool) -> None:
        """Whether its output is to wait."""
        self._paused = paused
        self._watch()

    @property
    def has_room(self) -> bool:
        """Whether more input may be given."""
        return len(self._pending) < _ENOUGH

    def give(self, data: bytes) -> None:
        """Give it input."""
        if self._fd >= 0:
            self._pending += data
            self._write()

    def end_input(self) -> None:
        """A terminal's input has no end but the character for that."""

    def resize(self, rows: int, columns: int) -> None:
        """Say how large it is."""
        if self._fd >= 0:
            set_size(self._fd, rows, columns)

    def drain(self) -> None:
        """Read what is left when all that could write has ended."""
        while self._read():
            pass

    def close(self) -> None:
        """Let go of everything."""
        self._close_theirs()
        self._end()

    def _close_theirs(self) -> None:
        if self.theirs[0] >= 0:
            os.close(self.theirs[0])
            self.theirs = (-1, -1, -1)

    def _watch(self) -> None:
        if self._fd >= 0:
            events = (0 if self._paused else READ) | (WRITE if self._pending else 0)
            if events:
                self._loop.watch(self._fd, events, self._ready)
            else:
                self._loop.forget(self._fd)

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._write()
        if events & ~WRITE:
            self._read()

    def _read(self) -> bool:
        """Read once; whether there was something."""
        if self._fd < 0:
            return False
        try:
            data = os.read(self._fd, frames.LARGEST)
        except BlockingIOError:
            return False
        except OSError:
            data = b""  # EIO: nobody has the other side any more
        if not data:
            self._end()
            return False
        self._on_output(frames.STDOUT, data)
        return True

    def _write(self) -> None:
        full = not self.has_room
        try:
            while self._pending:
                self._pending = self._pending[os.write(self._fd, self._pending) :]
        except BlockingIOError:
            pass
        except OSError:
            self._pending = b""
        self._watch()
        if full and self.has_room:
            self._on_room()

    def _end(self) -> None:
        if self._fd >= 0:
            self._loop.forget(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._pending = b""
