"""Taking down what happens in a build, for `lamina explain`: a reader of the engine's events.

Every build pays for this, so it is little: a document of what the events say, and of copies that
the store knows no listing of, what they consist of. Understanding it is `builder.records.model`'s.
"""

from __future__ import annotations

import json
import os
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from builder.cache.keys import COPIED
from builder.cache.listing import Listing
from builder.errors import Cancelled
from builder.events import (
    BaseUsed,
    BuildFinished,
    ContextUsed,
    Emit,
    Event,
    Noticed,
    Recorded,
    StepCached,
    StepEnded,
    StepFinished,
    StepKeyed,
    StepStarted,
)
from runtime.image.errors import ImageError
from runtime.image.store.store import Store

VERSION = 1
"""Of the document; records of another version are as if they were not there."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_ID_LENGTH = 12
_MOST_IGNORED = 2000
_MOST_LISTING = 32 << 20


def new_build_id() -> str:
    """Twelve letters and digits, the first a letter: never to be mistaken for a number."""
    letters = [_LETTERS[byte % 32] for byte in os.urandom(_ID_LENGTH)]
    return "".join([_LETTERS[_LETTERS.index(letters[0]) % 26], *letters[1:]])


@contextmanager
def recorded(store: Store, about: Mapping[str, Any], emit: Emit) -> Iterator[Recorder]:
    """A reader to give events to, which passes them on; what it took down is kept at the end.

    However the build ends. If the record cannot be kept, that is said and is no failure.
    """
    recorder = Recorder(store, about, emit)
    try:
        yield recorder
    except BaseException as error:
        recorder.failed(error)
        raise
    finally:
        try:
            recorder.keep()
        except (ImageError, OSError) as error:
            emit(Noticed(message=f"no record of this build is kept: {error}"))
        else:
            emit(Recorded(id=recorder.id))


class Recorder:
    """Takes down one build; called from several threads."""

    def __init__(self, store: Store, about: Mapping[str, Any], emit: Emit) -> None:
        self.id = new_build_id()
        self._store = store
        self._emit = emit
        self._guard = threading.Lock()
        self._began = time.monotonic()
        self._build: dict[str, Any] = {
            "version": VERSION, "created": time.time(), "outcome": "interrupted", **about,
        }  # fmt: skip
        self._steps: dict[int, dict[str, Any]] = {}
        self._waiting: dict[int, list[tuple[list[str], Listing | None]]] = {}
        self._keys: dict[str, str] = {}
        self._listings: dict[str, bytes] = {}

    def __call__(self, event: Event) -> None:
        """Take an event down and pass it on, but for keys: nobody else has a use for them."""
        with self._guard:
            self._take(event)
        if not isinstance(event, StepKeyed):
            self._emit(event)

    def _take(self, event: Event) -> None:
        match event:
            case ContextUsed():
                ignored = event.ignored[:_MOST_IGNORED]
                self._build["ignore"] = {"file": event.ignore_file, "lines": ignored}
            case BaseUsed():
                self._step(event, status="base", base=event.base, on=event.on)
                self._steps[event.number]["image_id"] = event.image_id
            case StepKeyed():
                self._keyed(event)
            case StepStarted():
                self._step(event, status="running")
            case StepCached():
                self._step(event, status="cached", diff_id=event.diff_id, source=event.source)
                self._list(event.number)
            case StepFinished():
                self._steps[event.number] |= {
                    "status": "ran", "seconds": event.seconds, "diff_id": event.diff_id,
                    **({"source": event.source} if event.source else {}),
                }  # fmt: skip
                self._list(event.number)
            case StepEnded():
                status = "cancelled" if event.cancelled else "failed"
                self._steps[event.number] |= {"status": status, "seconds": event.seconds}
            case BuildFinished():
                self._build |= {"outcome": "done", "image_id": event.image_id}
            case _:
                pass

    def _step(self, event: BaseUsed | StepKeyed | StepStarted | StepCached, **more: object) -> None:
        step = self._steps.setdefault(event.number, {"number": event.number})
        step |= {"label": event.label, "text": event.text, **more}

    def _keyed(self, event: StepKeyed) -> None:
        self._step(
            event,
            status="keyed",
            key=event.key,
            kind=event.kind,
            components=dict(event.components),
            facts=dict(event.facts),
            looked_up=event.looked_up,
        )
        if event.kind == COPIED:
            waiting = self._waiting.get(event.number, [])
            keys = [key for keys, _ in waiting for key in keys]
            self._waiting[event.number] = [([*keys, event.key], event.listings.get(event.key))]
        else:
            self._waiting[event.number] = [([key], one) for key, one in event.listings.items()]

    def _list(self, number: int) -> None:
        """Find what the copies of a step consist of, or keep it, for all keys of theirs."""
        for keys, listing in self._waiting.pop(number, ()):
            name = next(filter(None, map(self._store.builds.listing_of, keys)), None)
            if name is None and listing is not None:
                name = listing.name
                if name not in self._listings:
                    self._listings[name] = listing.to_bytes()
            if name is not None:
                self._keys |= dict.fromkeys(keys, name)

    def failed(self, error: BaseException) -> None:
        """The build has come to this."""
        if isinstance(error, Exception) and not isinstance(error, Cancelled):
            self._build |= {"outcome": "failed", "message": str(error)}

    def keep(self) -> None:
        """Write it all into the store. `ImageError` or `OSError` if that cannot be."""
        with self._guard:
            for number in list(self._waiting):
                self._list(number)
            self._build["seconds"] = time.monotonic() - self._began
            self._build["steps"] = [self._steps[number] for number in sorted(self._steps)]
            text = json.dumps(self._build, separators=(",", ":"))
            self._store.builds.put(
                self.id,
                zlib.compress(text.encode(), 1),
                keys=self._keys,
                listings={
                    name: data
                    for name, data in self._listings.items()
                    if len(data) <= _MOST_LISTING
                },
            )
