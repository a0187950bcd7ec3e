"""What could be removed to make room, and which of it is worth least.

Something is worth the time it takes to have it again, for what it takes on the disk, and less the
longer it has not been used: seconds / (size x age). Blobs that can be made again from a tree, and
trees that can be made again from a blob, therefore come before almost all that has to be run again.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from runtime.image.digest import DiffID, Digest
from runtime.image.store.caches import CacheUsage
from runtime.image.store.measure import Amount
from runtime.image.store.usage import LayerUsage, TreeUsage

_YOUNGEST: Final = 60.0
"""Seconds; uses that are closer than this to one another are one."""
_STEP_SECONDS: Final = 1.0
_STEP_RATE: Final = 20e6
"""Of a step whose time is not known: so long, and so many bytes a second."""
_COPY_RATE: Final = 500e6
_COMPRESS_RATE: Final = 150e6
_EXTRACT_RATE: Final = 200e6
_ENTRY_SECONDS: Final = 30e-6
_DOWNLOAD_RATE: Final = 5e6
"""Bytes a second of what fills cache mounts: package managers and compilers."""


class Reason(Enum):
    """Why something stays."""

    NAMED = "named"
    CONTAINER = "a container has it"
    IN_USE = "in use by another process"
    RECENT = "used since"
    NEEDED = "nothing else gives it again"
    NOT_ASKED = "not asked for"
    ENOUGH = "there is room enough"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How much there may be; `None` is no limit."""

    bytes: int | None = None
    inodes: int | None = None

    def excess(self, amount: Amount) -> Amount:
        """By how much it is too much."""
        return Amount(
            bytes=max(0, amount.bytes - self.bytes) if self.bytes is not None else 0,
            inodes=max(0, amount.inodes - self.inodes) if self.inodes is not None else 0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedLayer:
    """A layer that only steps refer to."""

    diff_id: DiffID
    kinds: tuple[str, ...]
    amount: Amount
    last_used: int
    seconds: float

    @property
    def key(self) -> object:
        """Who it is, whatever it takes by now."""
        return self.diff_id


@dataclass(frozen=True, slots=True, kw_only=True)
class SpareForm:
    """A blob of a layer, or its tree (no `digest`), that can be made again from another form."""

    diff_id: DiffID
    digest: Digest | None
    amount: Amount
    last_used: int
    seconds: float

    @property
    def key(self) -> object:
        """Who it is, whatever it takes by now."""
        return "form", self.diff_id, self.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMount:
    """The directory of a cache mount."""

    name: str
    id: str
    amount: Amount
    last_used: int
    seconds: float

    @property
    def key(self) -> object:
        """Who it is, whatever it takes by now."""
        return "cache", self.name


Victim = CachedLayer | SpareForm | CacheMount


def cached_layers(layers: Collection[LayerUsage]) -> list[CachedLayer]:
    """The layers that only the build cache needs."""
    return [
        CachedLayer(
            diff_id=layer.diff_id,
            kinds=tuple(sorted({record.kind for record in layer.records})),
            amount=layer.amount,
            last_used=max(record.last_used for record in layer.records),
            seconds=max(record.seconds for record in layer.records)
            or _STEP_SECONDS + layer.size / _STEP_RATE,
        )
        for layer in layers
        if layer.records and not layer.images and not layer.leases
    ]


def spare_forms(
    layers: Collection[LayerUsage], used: Mapping[Digest, int], compressors: Collection[str]
) -> list[SpareForm]:
    """Forms of layers that another form of the same layer gives again.

    `used` is when images were used last, `compressors` those whose bytes we can make again. A
    layer that a container has keeps its tree.
    """
    found = []
    for layer in layers:
        last_used = max(
            [
                *(record.last_used for record in layer.records),
                *(used.get(image, 0) for image in layer.images),
            ],
            default=0,
        )
        if len(layer.blobs) > 1 or (layer.tree is not None and _may_give(layer.tree)):
            for blob in layer.blobs:
                if blob.compressor in compressors:
                    rate = _COPY_RATE if _is_raw(layer, blob.digest) else _COMPRESS_RATE
                    found.append(
                        SpareForm(
                            diff_id=layer.diff_id,
                            digest=blob.digest,
                            amount=Amount(bytes=blob.bytes, inodes=1),
                            last_used=last_used,
                            seconds=layer.size / rate + _ENTRY_SECONDS,
                        )
                    )
        if layer.tree is not None and layer.blobs and not layer.leases:
            inodes = layer.tree.amount.inodes
            found.append(
                SpareForm(
                    diff_id=layer.diff_id,
                    digest=None,
                    amount=layer.tree.amount,
                    last_used=last_used,
                    seconds=layer.size / _EXTRACT_RATE + inodes * _ENTRY_SECONDS,
                )
            )
    return found


def cache_mounts(caches: Collection[CacheUsage]) -> list[CacheMount]:
    """The cache mounts; whether somebody uses one is seen when it is to be removed."""
    return [
        CacheMount(
            name=cache.name,
            id=cache.id,
            amount=cache.amount,
            last_used=cache.last_used,
            seconds=_STEP_SECONDS + cache.amount.bytes / _DOWNLOAD_RATE,
        )
        for cache in caches
    ]


def by_worth(
    victims: Collection[Victim], *, now: float, limit: Limit, excess: Amount
) -> list[Victim]:
    """The victims, least valuable first; what does nothing about the excess comes last."""
    return sorted(victims, key=lambda victim: (_worth(victim, now, limit, excess), repr(victim)))


def choose(ordered: Iterable[Victim], total: Amount, limit: Limit) -> list[Victim]:
    """As many of the victims, from the first on, as it takes to keep the limit.

    Then those that it does not take after all, because a later one was so large, are let go.
    """
    chosen: list[tuple[Victim, Amount]] = []
    forms: dict[DiffID, Amount] = {}
    left = total
    for victim in ordered:
        if limit.excess(left) == Amount():
            break
        amount = victim.amount
        if isinstance(victim, SpareForm):
            forms[victim.diff_id] = forms.get(victim.diff_id, Amount()) + amount
        elif isinstance(victim, CachedLayer):
            amount -= forms.get(victim.diff_id, Amount())
        left -= amount
        chosen.append((victim, amount))
    whole = {victim.diff_id for victim, _ in chosen if isinstance(victim, CachedLayer)}
    needed: list[Victim] = []
    for victim, amount in reversed(chosen):
        if isinstance(victim, SpareForm) and victim.diff_id in whole:
            continue  # It goes with its layer.
        if limit.excess(left + amount) == Amount():
            left += amount
        else:
            needed.append(victim)
    return needed[::-1]


def _worth(victim: Victim, now: float, limit: Limit, excess: Amount) -> float:
    # A clock that was ahead is no reason to keep something for ever.
    age = max(_YOUNGEST, now - min(victim.last_used, now))
    burden = 0.0
    if excess.bytes and limit.bytes is not None:
        burden += victim.amount.bytes / max(1, limit.bytes)
    if excess.inodes and limit.inodes is not None:
        burden += victim.amount.inodes / max(1, limit.inodes)
    return victim.seconds / (burden * age) if burden else math.inf


def _may_give(tree: TreeUsage) -> bool:
    """Whether a tree may give its layer's own bytes; if that is not known, it is tried."""
    return tree.exact is not False and not tree.lossy


def _is_raw(layer: LayerUsage, digest: Digest) -> bool:
    return digest == Digest(layer.diff_id)
