"""Showing a build: readers of its events.

PlainProgress    a line for each thing that happens, as `buildx --progress plain` prints them
JsonProgress     each event as one line of JSON
QuietProgress    nothing
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict
from typing import IO, Protocol, assert_never

from builder.events import (
    BaseUsed,
    BuildFinished,
    ContextUsed,
    Event,
    Exported,
    Noticed,
    Recorded,
    StepCached,
    StepEnded,
    StepFinished,
    StepKeyed,
    StepOutput,
    StepStarted,
    Transferred,
    Warned,
)
from grammar.errors import printable

WholeEvent = (
    BaseUsed | StepStarted | StepCached | Noticed | Warned | Exported | Transferred | BuildFinished
)


class Progress(Protocol):
    """A reader of events; called from several threads."""

    def __call__(self, event: Event) -> None: ...


class QuietProgress:
    """Shows nothing."""

    def __call__(self, event: Event) -> None:
        """Take note of nothing."""


class PlainProgress:
    """Lines like `#3 [build 2/5] RUN make`, `#3 0.512 cc -o app`, `#3 DONE 1.2s`."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._guard = threading.Lock()
        self._partial: dict[int, tuple[float, bytes]] = {}

    def __call__(self, event: Event) -> None:
        """Show an event; lines of steps that run at the same time stay whole."""
        with self._guard:
            for line in self._lines(event):
                # What a Dockerfile or a command says must not reach the terminal as commands to it.
                self._stream.write(printable(line) + "\n")
            self._stream.flush()

    def _lines(self, event: Event) -> list[str]:
        match event:
            case ContextUsed() | StepKeyed() | Recorded():
                return []
            case StepOutput():
                return self._output(event)
            case StepFinished():
                rest = self._rest(event.number)
                word = (
                    f"TAKEN from {event.source}" if event.source else f"DONE {event.seconds:.1f}s"
                )
                return [*rest, f"#{event.number} {word}"]
            case StepEnded():
                word = "CANCELED" if event.cancelled else f"ERROR: {event.message}"
                return [*self._rest(event.number), f"#{event.number} {word}"]
            case _:
                return plain_lines(event)

    def _output(self, event: StepOutput) -> list[str]:
        """The whole lines in what a command wrote; the rest waits for its end of line."""
        began, rest = self._partial.pop(event.number, (event.seconds, b""))
        *whole, rest = (rest + event.data).split(b"\n")
        if rest:
            self._partial[event.number] = (event.seconds if whole else began, rest)
        return [
            _output_line(event.number, began if n == 0 else event.seconds, line)
            for n, line in enumerate(whole)
        ]

    def _rest(self, number: int) -> list[str]:
        if number not in self._partial:
            return []
        seconds, line = self._partial.pop(number)
        return [_output_line(number, seconds, line)]


def _output_line(number: int, seconds: float, line: bytes) -> str:
    """A line that a command wrote."""
    text = line.decode("utf-8", "replace").rstrip("\r")
    return f"#{number} {seconds:.3f} {text}"


def plain_lines(event: WholeEvent) -> list[str]:
    """The lines of an event that needs no other to be shown."""
    match event:
        case BaseUsed() | StepStarted():
            return [f"#{event.number} [{event.label}] {event.text}"]
        case StepCached():
            return cached_lines(event.number, event.label, event.text)
        case Noticed():
            where = f" ({event.span})" if event.span else ""
            return [f"WARNING: {event.message}{where}"]
        case Warned():
            return [f"WARN: {event.rule}: {event.message} (line {event.span.first})"]
        case Exported():
            return [f"{event.what} {event.seconds:.1f}s"]
        case Transferred():
            return [f"{event.name}: {event.what}"]
        case BuildFinished():
            return [f"built {event.image_id} in {event.seconds:.1f}s"]
        case _:
            assert_never(event)


def cached_lines(number: int, label: str, text: str) -> list[str]:
    """The lines of a step that did not have to run."""
    return [f"#{number} [{label}] {text}", f"#{number} CACHED"]


class JsonProgress:
    """Each event as a line of JSON: `{"event": "StepStarted", "number": 3, …}`."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._guard = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Write an event; bytes are text with replacement characters for what is none.

        But not what steps are known by: that is for the record.
        """
        if isinstance(event, StepKeyed | ContextUsed):
            return
        members = {
            name: value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            for name, value in asdict(event).items()
        }
        line = json.dumps({"event": type(event).__name__, **members}, ensure_ascii=True)
        with self._guard:
            self._stream.write(line + "\n")
            self._stream.flush()
