"""Which of an index's images is for a platform (as containerd's `platforms.Only` chooses)."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.image.choice import UNKNOWN, rank
from runtime.image.manifest import Descriptor
from runtime.image.platform import Platform
from runtime.image.registry.errors import NoSuchPlatform
from runtime.image.registry.media_types import INDEXES, MANIFESTS


def choose(manifests: Sequence[Descriptor], wanted: Platform, name: str) -> Descriptor:
    """The descriptor of the image for `wanted`, or of an index that may have it.

    Of several variants that run there the highest. `NoSuchPlatform` tells which there are.
    """
    images = [each for each in manifests if each.media_type in (*INDEXES, *MANIFESTS)]
    ranked = [(rank(each.platform, wanted), each) for each in images]
    fitting = [(each_rank, each) for each_rank, each in ranked if each_rank is not None]
    if not fitting:
        there = (each.platform for each in images)
        known = (p for p in there if p is not None and p.architecture != UNKNOWN)
        raise NoSuchPlatform(name, str(wanted), dict.fromkeys(map(str, known)))
    return min(fitting, key=lambda pair: pair[0])[1]
