"""Annotations: what is said of an image outside its config, in manifests and indexes.

As buildx writes them: `[TYPE[,TYPE…]][[PLATFORM]]:KEY=VALUE`, without a type for the manifest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from builder.errors import OptionError
from runtime.image.archives.outgoing import Annotated
from runtime.image.errors import InvalidPlatform
from runtime.image.platform import Platform

Place = Literal["manifest", "index", "manifest-descriptor"]
PLACES: tuple[str, ...] = get_args(Place)

_FORM = re.compile(
    r"(?:(?P<places>[a-z-]+(?:\[[^\]]*\])?(?:,[a-z-]+(?:\[[^\]]*\])?)*):)?"
    r"(?P<key>[^=:\s][^=\s]*)=(?P<value>.*)",
    re.DOTALL,
)
_TYPES = (*PLACES, "index-descriptor")


@dataclass(frozen=True, slots=True)
class Target:
    """A document that annotations go to; of one platform's only, where it says so."""

    place: Place
    platform: Platform | None = None

    def is_of(self, platform: Platform) -> bool:
        """Whether the document of an image for that platform is meant."""
        return self.platform is None or self.platform == platform


@dataclass(frozen=True, slots=True)
class Annotation:
    """A key and its value, and the documents it goes to."""

    targets: tuple[Target, ...]
    key: str
    value: str


MANIFEST: tuple[Target, ...] = (Target("manifest"),)


def parse_annotation(text: str) -> Annotation:
    """Read one `--annotation`; `OptionError` says what is wrong with it."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise OptionError(f"invalid annotation {text!r}", hint="[TYPE:]KEY=VALUE")
    targets = MANIFEST
    if match["places"] is not None:
        targets = tuple(_target(place, text) for place in match["places"].split(","))
    return Annotation(targets, match["key"], match["value"])


def _target(written: str, text: str) -> Target:
    place, bracket, rest = written.partition("[")
    if place == "index-descriptor":
        raise OptionError(
            f"--annotation {text}: an archive has one index, which no descriptor points to"
        )
    if place not in PLACES:
        raise OptionError(
            f"unknown annotation type in {text!r}", hint=f"one of {', '.join(_TYPES)}"
        )
    if not bracket:
        return Target(place)  # type: ignore[arg-type]  # one of PLACES
    if place == "index":
        raise OptionError(f"--annotation {text}: an index is not of one platform")
    try:
        platform = Platform.parse(rest.removesuffix("]"))
    except InvalidPlatform as error:
        raise OptionError(f"--annotation {text}: {error.message}") from error
    return Target(place, platform)  # type: ignore[arg-type]  # one of PLACES


def annotated(annotations: Iterable[Annotation], platform: Platform) -> Annotated:
    """What goes to the documents of an image for that platform; of equal keys the last wins."""
    found: dict[str, dict[str, str]] = {place: {} for place in PLACES}
    for annotation in annotations:
        for target in annotation.targets:
            if target.is_of(platform):
                found[target.place][annotation.key] = annotation.value
    return Annotated(
        manifest=tuple(sorted(found["manifest"].items())),
        index=tuple(sorted(found["index"].items())),
        descriptor=tuple(sorted(found["manifest-descriptor"].items())),
    )
