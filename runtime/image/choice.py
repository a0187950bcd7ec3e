"""Which of several images is meant, when there is one for each platform.

Variants are chosen as containerd's `platforms.Only` does: what is asked for, or else the next
older one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from runtime.image.attestations import REFERENCE_TYPE
from runtime.image.errors import InvalidPlatform, PlatformMissing
from runtime.image.manifest import Descriptor
from runtime.image.platform import Platform

UNKNOWN: Final = "unknown"
"""Of attestations, which other tools put beside the images they speak of."""
_ANY: Final = 1000


def is_attestation(descriptor: Descriptor) -> bool:
    """Whether this stands in an index for something said of an image, not for one."""
    if any(name == REFERENCE_TYPE for name, _ in descriptor.annotations):
        return True
    return descriptor.platform is not None and descriptor.platform.architecture == UNKNOWN


def choose(descriptors: Sequence[Descriptor], wanted: Platform, what: str) -> Descriptor:
    """The first of an index's descriptors that serves a platform best.

    One that says no platform serves any, if nothing else does. `PlatformMissing`, which tells
    what `what` has.
    """
    images = [each for each in descriptors if not is_attestation(each)]
    ranked = [(rank(each.platform, wanted), each) for each in images]
    fitting = [(each_rank, each) for each_rank, each in ranked if each_rank is not None]
    if not fitting:
        there = [str(each.platform) for each in images if each.platform is not None]
        raise PlatformMissing(what, str(wanted), there)
    return min(fitting, key=lambda pair: pair[0])[1]


def serves(platform: Platform, wanted: Platform) -> bool:
    """Whether an image for `platform` is one for what is wanted."""
    return rank(platform, wanted) is not None


def rank(found: Platform | None, wanted: Platform) -> int | None:
    """How far a platform is from the wanted one, 0 for itself; `None` if it is of no use there.

    One that does not say what it is for may be for anything, and is taken last.
    """
    if found is None:
        return _ANY
    if found.architecture == UNKNOWN:
        return None
    try:
        found, wanted = Platform.parse(str(found)), Platform.parse(str(wanted))
    except InvalidPlatform:
        return None
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
