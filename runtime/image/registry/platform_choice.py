"""Which of an index's images is for a platform (as containerd's `platforms.Only` chooses)."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.image.manifest import Descriptor
from runtime.image.platform import Platform
from runtime.image.registry.errors import NoSuchPlatform
from runtime.image.registry.media_types import INDEXES, MANIFESTS

_UNKNOWN = "unknown"
"""Of attestations, which other tools put beside the images they speak of."""


def choose(manifests: Sequence[Descriptor], wanted: Platform, name: str) -> Descriptor:
    """The descriptor of the image for `wanted`, or of an index that may have it.

    Of several variants that run there the highest. `NoSuchPlatform` tells which there are.
    """
    images = [each for each in manifests if each.media_type in (*INDEXES, *MANIFESTS)]
    ranked = [(rank(each.platform, wanted), each) for each in images]
    fitting = [(each_rank, each) for each_rank, each in ranked if each_rank is not None]
    if not fitting:
        there = (each.platform for each in images)
        known = (p for p in there if p is not None and p.architecture != _UNKNOWN)
        raise NoSuchPlatform(name, str(wanted), dict.fromkeys(map(str, known)))
    return min(fitting, key=lambda pair: pair[0])[1]


def rank(found: Platform | None, wanted: Platform) -> int | None:
    """How far a platform is from the wanted one, 0 for itself; `None` if it is of no use there.

    One that does not say what it is for may be for anything, and is taken last.
    """
    if found is None:
        return 1000
    if found.architecture == _UNKNOWN:
        return None
    found, wanted = Platform.parse(str(found)), Platform.parse(str(wanted))
    if (found.os, found.architecture) != (wanted.os, wanted.architecture):
        return None
    if found.variant == wanted.variant:
        return 0
    step = _level(wanted) - _level(found)
    return step if step >= 0 else None


def _level(platform: Platform) -> int:
    """The number of a variant: `v7` is 7. Without one it is what the architecture began with."""
    digits = platform.variant.removeprefix("v")
    if digits.isascii() and digits.isdigit():
        return int(digits)
    return {"arm64": 8, "arm": 7}.get(platform.architecture, 1)
