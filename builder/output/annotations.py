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

Place = Literal["manifest", "index", "manifest-descriptor"]
PLACES: tuple[str, ...] = get_args(Place)

_FORM = re.compile(
    r"(?:(?P<places>[a-z-]+(?:\[[^\]]*\])?(?:,[a-z-]+(?:\[[^\]]*\])?)*):)?"
    r"(?P<key>[^=:\s][^=\s]*)=(?P<value>.*)",
    re.DOTALL,
)
_TYPES = (*PLACES, "index-descriptor")


@dataclass(frozen=True, slots=True)
class Annotation:
    """A key and its value, and the documents it goes to."""

    places: tuple[str, ...]
    key: str
    value: str


def parse_annotation(text: str) -> Annotation:
    """Read one `--annotation`; `OptionError` says what is wrong with it."""
    match = _FORM.fullmatch(text)
    places: tuple[str, ...] = ("manifest",)
    if match is not None and match["places"] is not None:
        places = tuple(match["places"].split(","))
        if any(place.partition("[")[0] not in _TYPES for place in places):
            raise OptionError(
                f"unknown annotation type in {text!r}", hint=f"one of {', '.join(_TYPES)}"
            )
    if match is None:
        raise OptionError(f"invalid annotation {text!r}", hint="[TYPE:]KEY=VALUE")
    for place in places:
        if "[" in place:
            raise OptionError(
                f"--annotation {text}: annotations for one of several platforms",
                hint="images of several platforms are not supported yet",
            )
        if place == "index-descriptor":
            raise OptionError(
                f"--annotation {text}: an archive has one index, which no descriptor points to"
            )
    return Annotation(places, match["key"], match["value"])


def annotated(annotations: Iterable[Annotation]) -> Annotated:
    """The annotations, sorted into the documents they go to; of equal keys the last wins."""
    found: dict[str, dict[str, str]] = {place: {} for place in PLACES}
    for annotation in annotations:
        for place in annotation.places:
            found[place][annotation.key] = annotation.value
    return Annotated(
        manifest=tuple(sorted(found["manifest"].items())),
        index=tuple(sorted(found["index"].items())),
        descriptor=tuple(sorted(found["manifest-descriptor"].items())),
    )
