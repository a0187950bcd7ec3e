"""What happens while images travel, as values.

The registry client emits these and never prints. `name` is what is shown of a blob: the first
digits of its digest. They come from several threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from runtime.image.digest import Digest, encoded

_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobSkipped:
    """A blob need not travel: it is there already, or the registry could take it from elsewhere."""

    digest: Digest
    why: Literal["exists", "mounted", "foreign"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobStarted:
    """A blob begins to travel; of its `size` bytes `done` were there before."""

    digest: Digest
    size: int
    done: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobProgressed:
    """So many bytes of it are there now."""

    digest: Digest
    done: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobArrived:
    """All bytes of a blob are there, and are the right ones."""

    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobFinished:
    """Nothing is left to do for a blob: a layer is in the store, or in the registry."""

    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrying:
    """Something failed and is done again after a pause."""

    why: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferNoticed:
    """Something the user should know of, though the transfer goes on."""

    message: str


TransferEvent = (
    BlobSkipped
    | BlobStarted
    | BlobProgressed
    | BlobArrived
    | BlobFinished
    | Retrying
    | TransferNoticed
)

Report = Callable[[TransferEvent], None]


def short_name(digest: Digest) -> str:
    """What is shown of a blob."""
    return encoded(digest)[:_SHOWN]
