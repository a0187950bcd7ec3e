"""A build's record as values: what `builder.records.recorder` took down, read back."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Literal

from builder.cache.layering import EMPTY_LAYER
from builder.records.recorder import VERSION
from runtime.image.errors import InvalidReference
from runtime.image.reference import Reference
from runtime.image.store.builds import StoredBuild

Status = Literal["base", "cached", "ran", "failed", "cancelled", "running", "keyed"]
"""`keyed`: looked up, and then neither found nor begun; `running`: the build ended meanwhile."""

KNOWN: Final = frozenset[Status](("cached", "ran"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """An ignore file: its path, and its lines that are patterns, by number."""

    file: str = ""
    lines: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """What became of a step, or of a stage's FROM (`builder.events` has the fields' meaning).

    `seconds` is `None` for what did not run; `pinned` the digest by which a registry has a base.
    """

    number: int
    label: str
    text: str
    status: Status
    key: str = ""
    kind: str = ""
    components: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    looked_up: bool = True
    seconds: float | None = None
    diff_id: str = ""
    source: str = ""
    base: str = ""
    image_id: str = ""
    pinned: str = ""
    on: int | None = None

    @property
    def changes_nothing(self) -> bool:
        """Whether the step's layer is empty."""
        return self.diff_id == EMPTY_LAYER


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRecord:
    """A build: what was asked for, what came of it, its steps by number.

    `created` is in seconds since 1970. `answered` is when the same was asked for again and nothing
    had changed, 0 if never.
    """

    id: str
    number: int
    answered: int
    created: float
    seconds: float
    outcome: Literal["done", "failed", "interrupted"]
    message: str
    dockerfile: str
    name: str
    context: str
    target: str
    names: tuple[str, ...]
    no_cache: bool
    image_id: str
    ignored: Ignored
    steps: tuple[StepRecord, ...]

    def step(self, number: int) -> StepRecord | None:
        """The step of that number."""
        return next((step for step in self.steps if step.number == number), None)

    def below(self, step: StepRecord) -> tuple[StepRecord | None, tuple[StepRecord, ...]]:
        """What a step stands on: the FROM at the bottom, and the steps that gave layers."""
        froms = [each for each in self.steps if each.status == "base" and each.number < step.number]
        return self._stack(froms[-1], step.number) if froms else (None, ())

    def _stack(self, base: StepRecord, end: int) -> tuple[StepRecord, tuple[StepRecord, ...]]:
        """The steps of the stage that begins with `base`, before `end`, and all below."""
        later = (each.number for each in self.steps if each.status == "base")
        end = min((end, *(number for number in later if number > base.number)))
        own = tuple(
            each
            for each in self.steps
            if base.number < each.number < end and not each.changes_nothing
        )
        under = None if base.on is None or base.on >= base.number else self.step(base.on)
        if under is None:
            return base, own
        root, layers = self._stack(under, base.number)
        return root, (*layers, *own)


def read_build(stored: StoredBuild) -> BuildRecord | None:
    """A build's record; `None` for a document that is of another version, or none."""
    try:
        document = json.loads(zlib.decompress(stored.document))
        if document["version"] != VERSION:
            return None
        return _build(stored, document)
    except (ValueError, KeyError, TypeError, zlib.error):
        return None


def _build(stored: StoredBuild, document: Mapping[str, Any]) -> BuildRecord:
    ignore = document.get("ignore") or {"file": "", "lines": []}
    return BuildRecord(
        id=stored.id,
        number=stored.number,
        answered=stored.answered,
        created=document["created"],
        seconds=document["seconds"],
        outcome=document["outcome"],
        message=document.get("message", ""),
        dockerfile=document["dockerfile"],
        name=document["name"],
        context=document["context"],
        target=document["target"] or "",
        names=tuple(document["names"]),
        no_cache=document["no_cache"],
        image_id=document.get("image_id", ""),
        ignored=Ignored(
            file=ignore["file"], lines=tuple((line, text) for line, text in ignore["lines"])
        ),
        steps=tuple(_step(step, document.get("bases", {})) for step in document["steps"]),
    )


def _step(members: Mapping[str, Any], bases: Mapping[str, str]) -> StepRecord:
    known = {each.name for each in fields(StepRecord)}
    given = {name: value for name, value in members.items() if name in known}
    step = StepRecord(**{name: value for name, value in given.items() if value is not None})
    return replace(step, pinned=_pinned(step.base, bases)) if step.base and bases else step


def _pinned(base: str, bases: Mapping[str, str]) -> str:
    try:
        return bases.get(str(Reference.parse(base)), "")
    except InvalidReference:
        return ""
