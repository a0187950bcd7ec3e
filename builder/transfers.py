"""Showing how images travel: readers of the registry client's events.

TransferLines    a line for what begins and what ends
TransferBars     a bar for each blob, with its rate and the time left, redrawn in place
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, assert_never

from builder.commands.tables import size_text
from runtime.image.digest import Digest
from runtime.image.registry.transfer_events import (
    BlobArrived,
    BlobFinished,
    BlobProgressed,
    BlobSkipped,
    BlobStarted,
    Report,
    Retrying,
    TransferEvent,
    TransferNoticed,
    short_name,
)

if TYPE_CHECKING:  # Pushing needs nothing else of it.
    from builder.fetching import Direction

_REDRAW_SECONDS = 0.1
_SETTLED_SECONDS = 2.0
"""How far back the rate that is shown looks."""
_BAR = 30
_WORDS = {
    "pull": ("Pulling", "Extracting", "Pull complete"),
    "push": ("Pushing", "Waiting", "Pushed"),
}
_SKIPPED = {
    "exists": "Already exists",
    "mounted": "Mounted from another repository",
    "foreign": "Skipped foreign layer",
}


def no_transfers(_event: TransferEvent) -> None:
    """Shows nothing."""


def transfers_to(stream: IO[str], direction: Direction) -> Report:
    """Bars on a terminal, lines elsewhere."""
    if stream.isatty():
        return TransferBars(stream, direction)
    return TransferLines(lambda line: _write_line(stream, line), direction)


def _write_line(stream: IO[str], line: str) -> None:
    stream.write(line + "\n")
    stream.flush()


class TransferLines:
    """Gives a line for each blob that begins, and one when it is there."""

    def __init__(self, write: Callable[[str], None], direction: Direction) -> None:
        self._write = write
        self._words = _WORDS[direction]
        self._guard = threading.Lock()
        self._began: dict[Digest, tuple[float, int, int]] = {}

    def __call__(self, event: TransferEvent) -> None:
        """Show an event; from several threads."""
        with self._guard:
            line = self._line(event)
            if line is not None:
                self._write(line)

    def _line(self, event: TransferEvent) -> str | None:
        match event:
            case BlobSkipped():
                return f"{short_name(event.digest)}: {_SKIPPED[event.why]}"
            case BlobStarted():
                if event.digest in self._began:
                    return None
                self._began[event.digest] = (time.monotonic(), event.size, event.done)
                done = f", {size_text(event.done)} of it there" if event.done else ""
                return f"{short_name(event.digest)}: {self._words[0]} {size_text(event.size)}{done}"
            case BlobFinished():
                return f"{short_name(event.digest)}: {self._words[2]}{self._told(event.digest)}"
            case Retrying():
                return f"Retrying in {event.seconds:.1f}s: {event.why}"
            case TransferNoticed():
                return f"WARNING: {event.message}"
            case BlobProgressed() | BlobArrived():
                return None
            case _:
                assert_never(event)

    def _told(self, digest: Digest) -> str:
        if digest not in self._began:
            return ""
        began, size, done = self._began.pop(digest)
        seconds = max(time.monotonic() - began, 1e-3)
        return f" in {seconds:.1f}s, {size_text(int((size - done) / seconds))}/s"


@dataclass(slots=True)
class _Bar:
    """A blob on the screen."""

    word: str
    size: int = 0
    done: int = 0
    moving: bool = False
    rate: float = 0.0
    seen: float = 0.0
    seen_done: int = 0


class TransferBars:
    """Draws a line for each blob and goes up again to redraw them."""

    def __init__(self, stream: IO[str], direction: Direction) -> None:
        self._stream = stream
        self._words = _WORDS[direction]
        self._guard = threading.Lock()
        self._bars: dict[Digest, _Bar] = {}
        self._drawn = 0
        self._last = 0.0

    def __call__(self, event: TransferEvent) -> None:
        """Show an event; from several threads."""
        with self._guard:
            now = time.monotonic()
            said = self._take(event, now)
            if said or not isinstance(event, BlobProgressed) or self._is_due(now):
                self._last = now
                self._draw(said)

    def _is_due(self, now: float) -> bool:
        return now - self._last >= _REDRAW_SECONDS

    def _take(self, event: TransferEvent, now: float) -> str:
        match event:
            case BlobSkipped():
                self._bars[event.digest] = _Bar(_SKIPPED[event.why])
            case BlobStarted():
                self._bars[event.digest] = _Bar(
                    self._words[0],
                    size=event.size,
                    done=event.done,
                    moving=True,
                    seen=now,
                    seen_done=event.done,
                )
            case BlobProgressed():
                self._progress(self._bars[event.digest], event.done, now)
            case BlobArrived():
                self._stop(event.digest, self._words[1])
            case BlobFinished():
                self._stop(event.digest, self._words[2])
            case Retrying():
                return f"Retrying in {event.seconds:.1f}s: {event.why}\n"
            case TransferNoticed():
                return f"WARNING: {event.message}\n"
            case _:
                assert_never(event)
        return ""

    def _progress(self, bar: _Bar, done: int, now: float) -> None:
        bar.done = done
        passed = now - bar.seen
        if passed >= _REDRAW_SECONDS:
            rate = max(0, done - bar.seen_done) / passed
            weight = min(1.0, passed / _SETTLED_SECONDS) if bar.rate else 1.0
            bar.rate += (rate - bar.rate) * weight
            bar.seen, bar.seen_done = now, done

    def _stop(self, digest: Digest, word: str) -> None:
        bar = self._bars.setdefault(digest, _Bar(word))
        bar.word, bar.moving = word, False

    def _draw(self, said: str) -> None:
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        columns, rows = _terminal_size(self._stream)
        # What has scrolled away cannot be drawn again.
        bars = list(self._bars.items())[-(rows - 1) :]
        lines = [f"\x1b[2K{self._shown(digest, bar)[: columns - 1]}\n" for digest, bar in bars]
        self._stream.write(f"{up}{_clear(said)}{''.join(lines)}")
        self._stream.flush()
        self._drawn = len(lines)

    def _shown(self, digest: Digest, bar: _Bar) -> str:
        name = short_name(digest)
        if not bar.moving:
            return f"{name}: {bar.word}"
        part = bar.done / bar.size if bar.size else 1.0
        filled = int(part * _BAR)
        drawn = ("=" * filled + ">" * (filled < _BAR)).ljust(_BAR)
        sizes = f"{size_text(bar.done)}/{size_text(bar.size)}"
        left = f"{(bar.size - bar.done) / bar.rate:.0f}s" if bar.rate else ""
        rate = f"{size_text(int(bar.rate))}/s" if bar.rate else ""
        return f"{name}: [{drawn}] {sizes:>15} {rate:>9} {left:>5}".rstrip()


def _terminal_size(stream: IO[str]) -> tuple[int, int]:
    try:
        size = os.get_terminal_size(stream.fileno())
    except OSError:
        return 80, 25
    # One that does not know its size says that it has none.
    return max(size.columns or 80, 20), max(size.lines or 25, 2)


def _clear(said: str) -> str:
    return f"\x1b[2K{said}" if said else ""
