"""`--output`: where a build's result goes, as written on the command line.

type=oci,dest=F.tar      an OCI archive that Docker loads, too; dest=- is standard output
type=docker,dest=F.tar   the same, without what Docker cannot load
  tar=false              a layout directory at dest instead of an archive
type=image[,name=N]      the local store, which keeps the result anyway
type=local,dest=DIR      the files of the image, in a directory; `-o DIR` for short
type=tar,dest=F.tar      the files of the image, in a tar; `-o -` is one on standard output
type=cacheonly           nothing but the cache

What buildx has besides (dockerfile.md 3.2) is refused by name, with the reason.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from builder.errors import OptionError
from builder.output.annotations import Annotation, parse_annotation
from builder.plan.units import parse_switch


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveOutput:
    """An archive at `destination` (`-` is standard output), or a layout directory there.

    `names` are further names of the image, in the archive and in the store.
    """

    format: Literal["oci", "docker"]
    destination: str
    compression: str = "gzip"
    layout: bool = False
    names: tuple[str, ...] = ()
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageOutput:
    """The local store, under further names."""

    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LocalOutput:
    """The image's files in the directory `destination`."""

    destination: str


@dataclass(frozen=True, slots=True)
class TarOutput:
    """The image's files in a tar at `destination`; `-` is standard output."""

    destination: str


@dataclass(frozen=True, slots=True)
class CacheOutput:
    """Nothing: what the build did is in the cache."""


Output = ArchiveOutput | ImageOutput | LocalOutput | TarOutput | CacheOutput

_ARCHIVE_KEYS = frozenset({"dest", "compression", "name", "tar", "oci-mediatypes"})
_KEYS = {
    "oci": _ARCHIVE_KEYS,
    "docker": _ARCHIVE_KEYS,
    "image": frozenset({"name", "push", "store", "unpack"}),
    "local": frozenset({"dest", "platform-split", "mode"}),
    "tar": frozenset({"dest", "platform-split"}),
    "cacheonly": frozenset[str](),
}
_COMPRESSIONS = ("gzip", "zstd", "uncompressed")
# Options whose usual value is what is done anyway: any other would change the result.
_FIXED = {
    "oci-mediatypes": (True, "media types are always OCI's"),
    "platform-split": (False, "there is one platform"),
    "store": (True, "the store keeps every image"),
    "push": (False, "pushing is not supported yet"),
}


def parse_output(text: str) -> Output:
    """Read one `--output`; `OptionError` says what is wrong with it."""
    fields = next(csv.reader([text]), [])
    if len(fields) == 1 and "=" not in fields[0] and fields[0]:
        return TarOutput("-") if fields[0] == "-" else LocalOutput(fields[0])
    options, annotations = _read(fields)
    kind = options.pop("type", "")
    if kind == "registry":
        raise OptionError(
            "--output type=registry: pushing is not supported yet",
            hint="write an archive with type=oci,dest=FILE and push it with skopeo or crane",
        )
    if kind not in _KEYS:
        raise OptionError(
            f"unknown output type {kind!r}", hint=", ".join(f"type={k}" for k in _KEYS)
        )
    _check(kind, options, annotations)
    if kind == "image":
        return ImageOutput(_names(options))
    if kind == "cacheonly":
        return CacheOutput()
    destination = options.get("dest", "")
    if not destination:
        raise OptionError(
            f"--output type={kind} needs dest={'DIR' if kind == 'local' else 'FILE'}",
            hint=None if kind == "local" else "dest=- writes to standard output",
        )
    if kind == "local":
        if destination == "-":
            raise OptionError("--output type=local needs a directory", hint="type=tar,dest=-")
        if options.get("mode", "copy") != "copy":
            raise OptionError(
                f"--output type=local,mode={options['mode']} is not supported",
                hint="remove what is in the directory before the build",
            )
        return LocalOutput(destination)
    if kind == "tar":
        return TarOutput(destination)
    return _archive(kind, destination, options, annotations)


def standard_outputs(outputs: Iterable[Output]) -> int:
    """How many of the outputs write to standard output."""
    return sum(getattr(output, "destination", None) == "-" for output in outputs)


def _read(fields: list[str]) -> tuple[dict[str, str], tuple[Annotation, ...]]:
    options: dict[str, str] = {}
    annotations: list[Annotation] = []
    for field in fields:
        key, equals, value = field.partition("=")
        if not equals:
            raise OptionError(
                f"invalid value {field!r} for --output",
                hint="for example --output type=oci,dest=image.tar",
            )
        key = key.strip()
        if key.lower().startswith("annotation"):
            place, _, name = key.partition(".")
            prefix = place[len("annotation") :].removeprefix("-") or "manifest"
            annotations.append(parse_annotation(f"{prefix}:{name}={value}"))
        else:
            options[key.lower()] = value
    return options, tuple(annotations)


def _check(kind: str, options: dict[str, str], annotations: tuple[Annotation, ...]) -> None:
    """Refuse options that this type does not have, and values that cannot be had."""
    for key, value in options.items():
        if key not in _KEYS[kind]:
            raise OptionError(f"--output type={kind} has no option {key!r}")
        if key in _FIXED:
            only, why = _FIXED[key]
            if _switch(key, value) is not only:
                raise OptionError(f"--output type={kind},{key}={value}: {why}")
    if annotations and kind not in ("oci", "docker"):
        raise OptionError(
            f"--output type={kind} cannot hold annotations", hint="type=oci or type=docker can"
        )


def _archive(
    kind: str, destination: str, options: dict[str, str], annotations: tuple[Annotation, ...]
) -> ArchiveOutput:
    compression = options.get("compression", "gzip")
    if compression not in _COMPRESSIONS:
        raise OptionError(f"unknown compression {compression!r}", hint=", ".join(_COMPRESSIONS))
    layout = not _switch("tar", options.get("tar", "true"))
    if layout and destination == "-":
        raise OptionError("--output tar=false needs a directory", hint="dest=DIR")
    return ArchiveOutput(
        format="docker" if kind == "docker" else "oci",
        destination=destination,
        compression=compression,
        layout=layout,
        names=_names(options),
        annotations=annotations,
    )


def _names(options: dict[str, str]) -> tuple[str, ...]:
    return tuple(filter(None, options.get("name", "").split(",")))


def _switch(key: str, value: str) -> bool:
    try:
        return parse_switch(value)
    except ValueError as error:
        raise OptionError(f"--output {key}={value}: true or false") from error
