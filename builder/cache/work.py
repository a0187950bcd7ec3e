"""What a step comes to before it is done: the keys its result may be known by, and the doing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from builder.cache.keys import Key
from builder.cache.listing import Listing
from runtime.image.digest import DiffID


@dataclass(frozen=True, slots=True)
class Work:
    """A step, ready to be looked up or done.

    `key` names its result; `content_key`, where there is one, names it by content that has to
    be read first, and is asked only if `key` is not known. `early_key`, the last to be asked, names
    it by what it stands on. `do` gives the step's layer, the empty
    one if it changed nothing. `facts` and `listings` explain the key (`builder.events.StepKeyed`).
    """

    key: Key
    do: Callable[[], DiffID]
    content_key: Callable[[], Key] | None = None
    early_key: Key | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    listings: Mapping[str, Listing] = field(default_factory=dict)


class Elsewhere(Protocol):
    """What other stores know of steps' results."""

    def find(self, key: Key) -> tuple[DiffID, str] | None:
        """The result of a key, whose layer may yet have to be fetched; and who knows it."""

    def like(self, text: str, key: Key) -> tuple[str, dict[str, str]] | None:
        """Of a key that nobody knows: the digests of the components of the one most like it that
        an instruction of this text has; and who knows that.
        """

    def are_here(self, diff_ids: Iterable[DiffID]) -> bool:
        """Whether none of these layers has to be fetched."""

    def made(self, text: str, keys: tuple[Key, ...], diff_id: DiffID) -> None:
        """Be told of a step's result, known before or not."""


class Turns:
    """One lock for each key: of two equal steps at the same time, the second finds a result."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    @contextmanager
    def of(self, key: str) -> Iterator[None]:
        """Hold the lock of a key."""
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            yield
