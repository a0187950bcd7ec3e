"""A container's standard streams, as its monitor holds their other ends."""

from __future__ import annotations

import os

from runtime.monitor import frames
from runtime.monitor.loop import READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.monitor.loop import Loop

_ENOUGH = 64 << 10


class Streams:
    """Pipes to a container. `theirs` are its ends, until `started` has closed them here.

    `on_output` gets the kind of a frame and data; `on_room` is called when more input can be
    taken than before.
    """

    def __init__(
        self,
        loop: Loop,
        *,
        open_stdin: bool,
        on_output: Callable[[int, bytes], None],
        on_room: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._on_output = on_output
        self._on_room = on_room
        self._pending = b""
        self._input_ends = False
        self._paused = False
        self._stdin = -1
        if open_stdin:
            their_input, self._stdin = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self._stdin, False)
        else:
            their_input = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        stdout, their_output = os.pipe2(os.O_CLOEXEC)
        stderr, their_errors = os.pipe2(os.O_CLOEXEC)
        self.theirs = (their_input, their_output, their_errors)
        self._outputs = {stdout: frames.STDOUT, stderr: frames.STDERR}
        for fd in self._outputs:
            os.set_blocking(fd, False)

    def started(self, _terminal: int | None) -> None:
        """The container has its ends now: begin to read what it writes."""
        self._close_theirs()
        self._watch_outputs()

    def pause(self, paused: bool) -> None:
        """Whether its output is to wait."""
        if paused != self._paused:
            self._paused = paused
            self._watch_outputs()

    @property
    def has_room(self) -> bool:
        """Whether more input may be given."""
        return len(self._pending) < _ENOUGH

    def give(self, data: bytes) -> None:
        """Give it input."""
        if self._stdin >= 0 and not self._input_ends:
            self._pending += data
            self._write()

    def end_input(self) -> None:
        """Let its input end, after what was given."""
        self._input_ends = True
        if self._stdin >= 0:
            self._write()

    def resize(self, rows: int, columns: int) -> None:
        """Pipes have no size."""

    def drain(self) -> None:
        """Read what is left when all that could write has ended."""
        for fd in list(self._outputs):
            while fd in self._outputs and self._read(fd):
                pass

    def close(self) -> None:
        """Let go of everything."""
        self._close_theirs()
        self._close_input()
        for fd in list(self._outputs):
            self._close_output(fd)

    def _close_theirs(self) -> None:
        for fd in self.theirs:
            os.close(fd)
        self.theirs = ()  # type: ignore[assignment]

    def _watch_outputs(self) -> None:
        for fd in self._outputs:
            if self._paused:
                self._loop.forget(fd)
            else:
                self._loop.watch(fd, READ, self._reader(fd))

    def _reader(self, fd: int) -> Callable[[int], object]:
        return lambda _: self._read(fd)

    def _read(self, fd: int) -> bool:
        """Read once; whether there was something."""
        try:
            data = os.read(fd, frames.LARGEST)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if data:
            self._on_output(self._outputs[fd], data)
            return True
        self._close_output(fd)
        return False

    def _close_output(self, fd: int) -> None:
        self._loop.forget(fd)
        del self._outputs[fd]
        os.close(fd)

    def _write(self) -> None:
        full = not self.has_room
        try:
            while self._pending:
                self._pending = self._pending[os.write(self._stdin, self._pending) :]
        except BlockingIOError:
            self._loop.watch(self._stdin, WRITE, lambda _: self._write())
        except OSError:
            # It reads no more: what it is given goes nowhere, as in a pipe.
            self._pending = b""
            self._input_ends = True
        else:
            self._loop.forget(self._stdin)
        if self._input_ends and not self._pending:
            self._close_input()
        if full and self.has_room:
            self._on_room()

    def _close_input(self) -> None:
        if self._stdin >= 0:
            self._loop.forget(self._stdin)
            os.close(self._stdin)
            self._stdin = -1
