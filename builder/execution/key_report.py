"""Telling what a step is known by, for the record."""

from __future__ import annotations

from collections.abc import Mapping

from builder.cache.keys import Key, identity
from builder.cache.work import Elsewhere, Work
from builder.events import Emit, StepKeyed


class KeyReport:
    """Tells of one step's keys, as they become known."""

    def __init__(
        self,
        emit: Emit,
        elsewhere: Elsewhere | None,
        number: int,
        label: str,
        text: str,
        work: Work,
    ) -> None:
        self._emit = emit
        self._elsewhere = elsewhere
        self._number = number
        self._label = label
        self._text = text
        self._work = work

    def known_by(self, key: Key, looked_up: bool) -> None:
        """A key is about to be looked up, or would be."""
        self._tell(key, looked_up, self._work.facts)

    def unknown(self, key: Key) -> None:
        """Nobody knows a key: tell what other stores know that is most like it."""
        like = None if self._elsewhere is None else self._elsewhere.like(self._text, key)
        if like is not None:
            self._tell(key, True, {**self._work.facts, "elsewhere": identity(like)})

    def _tell(self, key: Key, looked_up: bool, facts: Mapping[str, str]) -> None:
        own = {} if key.listing is None else {key.digest: key.listing}
        self._emit(
            StepKeyed(
                number=self._number,
                label=self._label,
                text=self._text,
                key=key.digest,
                kind=key.kind,
                components=key.components,
                facts=facts,
                looked_up=looked_up,
                listings={**self._work.listings, **own},
            )
        )
