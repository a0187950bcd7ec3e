"""`--output`: where a build's result goes, as written on the command line.

type=oci,dest=F.tar      an OCI archive that Docker loads, too; dest=- is standard output
type=docker,dest=F.tar   the same, with Docker's names first
type=image[,name=N]      the local store, which keeps the result anyway
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import Literal

from builder.errors import OptionError


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveOutput:
    """An archive at `destination` (`-` is standard output); `format` is oci or docker."""

    format: Literal["oci", "docker"]
    destination: str
    compression: str = "gzip"


@dataclass(frozen=True, slots=True)
class ImageOutput:
    """The local store, under further names."""

    names: tuple[str, ...] = ()


Output = ArchiveOutput | ImageOutput

_KEYS = {
    "oci": {"dest", "compression", "name"},
    "docker": {"dest", "compression", "name"},
    "image": {"name"},
}
_LATER = ("local", "tar", "registry", "cacheonly")
_COMPRESSIONS = ("gzip", "zstd", "uncompressed")


def parse_output(text: str) -> Output:
    """Read one `--output`; `OptionError` says what is wrong with it."""
    fields = next(csv.reader([text]), [])
    options: dict[str, str] = {}
    for field in fields:
        key, equals, value = field.partition("=")
        if not equals:
            raise OptionError(
                f"invalid value {field!r} for --output",
                hint="for example --output type=oci,dest=image.tar",
            )
        options[key.strip().lower()] = value
    kind = options.pop("type", "")
    if kind in _LATER:
        raise OptionError(f"--output type={kind} is not supported yet", hint="type=oci or docker")
    if kind not in _KEYS:
        raise OptionError(f"unknown output type {kind!r}", hint="type=oci, type=docker, type=image")
    for key in options:
        if key not in _KEYS[kind]:
            raise OptionError(f"--output type={kind} has no option {key!r}")
    if kind == "image":
        return ImageOutput(tuple(filter(None, options.get("name", "").split(","))))
    if not options.get("dest"):
        raise OptionError(
            f"--output type={kind} needs dest=FILE", hint="dest=- writes to standard output"
        )
    compression = options.get("compression", "gzip")
    if compression not in _COMPRESSIONS:
        raise OptionError(f"unknown compression {compression!r}", hint=", ".join(_COMPRESSIONS))
    form: Literal["oci", "docker"] = "docker" if kind == "docker" else "oci"
    return ArchiveOutput(format=form, destination=options["dest"], compression=compression)
