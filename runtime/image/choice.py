"""Which of several images is meant, when there is one for each platform.

Variants are chosen as containerd does: what is asked for, or else the next older one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from runtime.image.attestations import REFERENCE_TYPE
from runtime.image.errors import PlatformMissing
from runtime.image.manifest import Descriptor
from runtime.image.platform import Platform

# The newest first. The first of each is also what an image without a variant is for.
_ARM: Final = ("v7", "v6", "v5")
_USUAL: Final = {"amd64": "v1", "arm64": "v8", "arm": "v7"}


def is_attestation(descriptor: Descriptor) -> bool:
    """Whether this stands in an index for something said of an image, not for one."""
    if any(name == REFERENCE_TYPE for name, _ in descriptor.annotations):
        return True
    platform = descriptor.platform
    return platform is not None and (platform.os, platform.architecture) == ("unknown", "unknown")


def choose(descriptors: Sequence[Descriptor], wanted: Platform, what: str) -> Descriptor:
    """The first of an index's descriptors that serves a platform best.

    One that says no platform serves any, if nothing else does. `PlatformMissing`, which tells
    what `what` has.
    """
    images = [each for each in descriptors if not is_attestation(each)]
    for platform in _served(wanted):
        for each in images:
            if each.platform is not None and _plain(each.platform) == platform:
                return each
    for each in images:
        if each.platform is None:
            return each
    raise PlatformMissing(
        what, str(wanted), [str(each.platform) for each in images if each.platform is not None]
    )


def serves(platform: Platform, wanted: Platform) -> bool:
    """Whether an image for `platform` is one for what is wanted."""
    return _plain(platform) in _served(wanted)


def _plain(platform: Platform) -> Platform:
    """The platform without the variant that its architecture usually has."""
    if platform.variant == _USUAL.get(platform.architecture):
        return Platform(platform.os, platform.architecture)
    return platform


def _served(wanted: Platform) -> list[Platform]:
    """The platforms whose images run on this one, best first."""
    system, architecture = wanted.os, wanted.architecture
    usual = _USUAL.get(architecture, "")
    variant = wanted.variant or usual
    variants = [variant]
    if architecture == "arm" and variant in _ARM:
        variants = list(_ARM[_ARM.index(variant) :])
    elif architecture in ("amd64", "arm64") and variant[1:].isdigit() and variant[0] == "v":
        newest, oldest = int(variant[1:]), int(usual[1:])
        variants = [f"v{number}" for number in range(min(newest, 99), oldest - 1, -1)]
    return [_plain(Platform(system, architecture, each)) for each in variants]
