"""Between a user's terminal and a container: input, output, sizes, signals, and letting go.

A terminal is in raw mode only inside `raw_mode`, which puts it back however it is left.
"""

from __future__ import annotations

import os
import select
import signal
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Final, Protocol

from builder.commands.keys import KeyWatch
from runtime.containers.attach import Ended, Output
from runtime.monitor import frames

_FORWARDED: Final = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2,
    signal.SIGCONT, signal.SIGALRM,
)  # fmt: skip


class Side(Protocol):
    """The container's side: a connection to its monitor, or a terminal of its own."""

    def fileno(self) -> int: ...
    @property
    def wants_write(self) -> bool: ...
    def give(self, data: bytes) -> None: ...
    def end_input(self) -> None: ...
    def resize(self, rows: int, columns: int) -> None: ...
    def flush(self) -> None: ...
    def receive(self) -> Output | Ended | None: ...


class Detached(Exception):
    """The user has typed the keys that let go."""


def relay(
    side: Side,
    *,
    stdin: int | None,
    stdout: bool = True,
    stderr: bool = True,
    terminal: bool,
    keys: bytes | None = None,
    on_signal: Callable[[int], None] | None = None,
) -> int | None:
    """Pass everything on in both directions until the container's side ends; its status.

    `terminal`: the container has one, whose size follows that of ours. With `keys` the input is
    looked through for them: `Detached`. `on_signal` gets the signals that we get. To be called
    by the main thread.
    """
    watch = KeyWatch(keys) if keys else None
    with _Signals(on_signal, sizes=terminal) as signals:
        if terminal:
            side.resize(*terminal_size())
        while True:
            readable = _wait(side, signals, stdin if not side.wants_write else None)
            if signals.fd in readable and signals.take_resized():
                side.resize(*terminal_size())
            if side.wants_write:
                side.flush()
            if stdin is not None and stdin in readable:
                data = os.read(stdin, frames.LARGEST)
                if not data:
                    side.end_input()
                    stdin = None
                    continue
                data, found = watch.feed(data) if watch is not None else (data, False)
                if data:
                    side.give(data)
                if found:
                    raise Detached
            if side.fileno() in readable:
                ended = _take(side, stdout=stdout, stderr=stderr)
                if ended is not None:
                    return ended.status


@contextmanager
def raw_mode(fd: int) -> Iterator[None]:
    """The terminal gives every key as it is typed, until the end of the block."""
    before = termios.tcgetattr(fd)
    wanted = termios.tcgetattr(fd)
    wanted[0] &= ~(
        termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
        | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
    )  # fmt: skip
    wanted[1] &= ~termios.OPOST
    wanted[2] = wanted[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    wanted[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    wanted[6][termios.VMIN], wanted[6][termios.VTIME] = 1, 0
    try:
        termios.tcsetattr(fd, termios.TCSANOW, wanted)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSANOW, before)


def terminal_size() -> tuple[int, int]:
    """Rows and columns of our terminal; zeros if we have none."""
    for fd in (0, 1, 2):
        try:
            size = os.get_terminal_size(fd)
        except OSError:
            continue
        return size.lines, size.columns
    return 0, 0


def _wait(side: Side, signals: _Signals, stdin: int | None) -> set[int]:
    poll = select.poll()
    wanted = select.POLLIN | (select.POLLOUT if side.wants_write else 0)
    poll.register(side.fileno(), wanted)
    poll.register(signals.fd, select.POLLIN)
    if stdin is not None:
        poll.register(stdin, select.POLLIN)
    return {fd for fd, events in poll.poll() if events & ~select.POLLOUT}


def _take(side: Side, *, stdout: bool, stderr: bool) -> Ended | None:
    """Write out what has come and is wanted; the end, if it has come."""
    while True:
        received = side.receive()
        if received is None or isinstance(received, Ended):
            return received
        fd = 2 if received.is_error else 1
        data = received.data if (stderr if received.is_error else stdout) else b""
        while data:
            data = data[os.write(fd, data) :]


class _Signals:
    """Has our signals passed on, and tells when our terminal has another size.

    `fd` is readable when something has come.
    """

    def __init__(self, on_signal: Callable[[int], None] | None, *, sizes: bool) -> None:
        self._on_signal = on_signal
        self._numbers = _FORWARDED if on_signal is not None else ()
        if sizes:
            self._numbers = (*self._numbers, signal.SIGWINCH)
        self._before: list[tuple[int, Any]] = []
        self._resized = False
        self._wakeup_before = self._write_fd = -1
        self.fd = -1

    def __enter__(self) -> _Signals:
        self.fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup_before = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        self._before = [(number, signal.signal(number, self._come)) for number in self._numbers]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self.fd)
        os.close(self._write_fd)

    def take_resized(self) -> bool:
        """Whether the size has changed since the last time."""
        os.read(self.fd, 4096)
        resized, self._resized = self._resized, False
        return resized

    def _come(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGWINCH:
            self._resized = True
        elif self._on_signal is not None:
            self._on_signal(number)
