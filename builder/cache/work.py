"""What a step comes to before it is done: the keys its result may be known by, and the doing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from builder.cache.keys import Key
from builder.cache.listing import Listing
from runtime.image.digest import DiffID


@dataclass(frozen=True, slots=True)
class Work:
    """A step, ready to be looked up or done.

    `key` names its result; `content_key`, where there is one, names it by content that has to
    be read first, and is asked only if `key` is not known. `do` gives the step's layer, the empty
    one if it changed nothing. `facts` and `listings` explain the key (`builder.events.StepKeyed`).
    """

    key: Key
    do: Callable[[], DiffID]
    content_key: Callable[[], Key] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    listings: Mapping[str, Listing] = field(default_factory=dict)


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
