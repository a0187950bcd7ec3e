"""What a check of a store finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "database",
    "blob",
    "tree",
    "layer",
    "image",
    "name",
    "record",
    "lease",
    "workspace",
    "file",
    "volume",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something wrong: with what, what it is, and what was done about it.

    `done` is empty where nothing was; `mended` is whether the store is sound again in this.
    """

    kind: Kind
    subject: str
    problem: str
    done: str = ""
    mended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was looked at, what was wrong, and what could not be judged (`notes`)."""

    layers: int = 0
    trees: int = 0
    blobs: int = 0
    images: int = 0
    records: int = 0
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong any more."""
        return all(fault.mended for fault in self.faults)


class NotMended(Exception):
    """It could not be mended; the text says why."""


def fault(kind: Kind, subject: str, problem: str, mend: Callable[[], str] | None) -> Fault:
    """A fault, mended if there is a way: `mend` says what it did, or raises `NotMended`."""
    if mend is None:
        return Fault(kind=kind, subject=subject, problem=problem)
    try:
        done = mend()
    except NotMended as error:
        return Fault(kind=kind, subject=subject, problem=problem, done=str(error))
    except OSError as error:
        return Fault(kind=kind, subject=subject, problem=problem, done=str(error))
    return Fault(kind=kind, subject=subject, problem=problem, done=done, mended=True)
