"""`--cache-to` and `--cache-from`, as written on the command line.

type=local,dest=DIR[,tag=T][,mode=min|max][,compression=gzip|zstd|uncompressed][,ignore-error=true]
type=registry,ref=NAME[,mode=min|max][,compression=…][,ignore-error=true]
type=inline
type=local,src=DIR[,tag=T|,digest=SHA256]
type=registry,ref=NAME, or NAME alone

`min`, the default, has the layers of the image; `max` those of every step. `inline` goes with the
image's manifest when that is written or pushed. The other types that buildx knows are refused by
name.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from builder.errors import OptionError
from builder.plan.units import parse_switch
from runtime.image.errors import InvalidReference
from runtime.image.reference import Reference

_TAG = "latest"
_ELSEWHERE = ("gha", "s3", "azblob")
_COMPRESSIONS = ("gzip", "zstd", "uncompressed")
_WRITTEN = frozenset(
    ("mode", "compression", "force-compression", "ignore-error", "oci-mediatypes", "image-manifest")
)
_TO: Mapping[str, frozenset[str]] = {
    "local": _WRITTEN | {"dest", "tag"},
    "registry": _WRITTEN | {"ref"},
    "inline": frozenset(("mode", "compression", "oci-mediatypes")),
}
_FROM: Mapping[str, frozenset[str]] = {
    "local": frozenset(("src", "tag", "digest")),
    "registry": frozenset(("ref",)),
}
# Options whose usual value is what is done anyway: any other would change the result.
_FIXED = {"oci-mediatypes": "media types are always OCI's", "image-manifest": "it always is one"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderTo:
    """A cache to be written to a directory, under a tag."""

    directory: str
    tag: str = _TAG
    mode: Literal["min", "max"] = "min"
    compression: str = "gzip"
    ignore_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderFrom:
    """A cache to be read from a directory, by its tag or its manifest's digest."""

    directory: str
    tag: str = _TAG
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryTo:
    """A cache to be sent to a registry, under a name."""

    reference: Reference
    mode: Literal["min", "max"] = "min"
    compression: str = "gzip"
    ignore_error: bool = False


@dataclass(frozen=True, slots=True)
class InlineTo:
    """What is known of the image's layers, in its manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryFrom:
    """A cache, or an image that has one in its manifest, in a registry."""

    reference: Reference


CacheTo = FolderTo | RegistryTo | InlineTo
CacheFrom = FolderFrom | RegistryFrom


def parse_cache_to(text: str) -> CacheTo:
    """Read one `--cache-to`; `OptionError` says what is wrong with it."""
    flag = "--cache-to"
    kind, options = _read(flag, text, _TO)
    mode = options.get("mode", "min")
    if mode not in ("min", "max"):
        raise OptionError(f"{flag} mode={mode}: min or max")
    compression = options.get("compression", "gzip")
    if compression not in _COMPRESSIONS:
        raise OptionError(
            f"{flag} compression={compression} is not supported", hint=", ".join(_COMPRESSIONS)
        )
    for name, why in _FIXED.items():
        if not _switch(flag, name, options.get(name, "true")):
            raise OptionError(f"{flag} {name}={options[name]}: {why}")
    # Layers are written in the compression that is asked for, forced or not.
    _switch(flag, "force-compression", options.get("force-compression", "false"))
    wanted: Literal["min", "max"] = "max" if mode == "max" else "min"
    ignore_error = _switch(flag, "ignore-error", options.get("ignore-error", "false"))
    if kind == "inline":
        if wanted == "max" or "compression" in options:
            raise OptionError(
                f"{flag} type=inline has the layers of the image, as they are",
                hint="type=registry,ref=NAME,mode=max has all",
            )
        return InlineTo()
    if kind == "registry":
        return RegistryTo(
            reference=_reference(flag, options),
            mode=wanted,
            compression=compression,
            ignore_error=ignore_error,
        )
    return FolderTo(
        directory=_needed(flag, options, "dest"),
        tag=options.get("tag", _TAG),
        mode=wanted,
        compression=compression,
        ignore_error=ignore_error,
    )


def parse_cache_from(text: str) -> CacheFrom:
    """Read one `--cache-from`; `OptionError` says what is wrong with it."""
    flag = "--cache-from"
    kind, options = _read(flag, text, _FROM)
    if kind == "registry":
        return RegistryFrom(reference=_reference(flag, options))
    return FolderFrom(
        directory=_needed(flag, options, "src"),
        tag=options.get("tag", _TAG),
        digest=options.get("digest", ""),
    )


def _read(flag: str, text: str, known: Mapping[str, frozenset[str]]) -> tuple[str, dict[str, str]]:
    """The type of a cache and its options; any other is refused."""
    fields = next(csv.reader([text]), [])
    options: dict[str, str] = {}
    for field in fields:
        key, equals, value = field.partition("=")
        if not equals and len(fields) == 1 and field:
            # As docker build had it: the name of an image.
            options = {"type": "registry", "ref": field}
            break
        if not equals:
            raise OptionError(f"invalid value {field!r} for {flag}", hint=_example(flag))
        options[key.strip().lower()] = value
    kind = options.pop("type", "")
    if kind in _ELSEWHERE:
        raise OptionError(f"{flag} type={kind} is not supported", hint=_example(flag))
    if kind not in known:
        raise OptionError(f"unknown type {kind!r} of {flag}", hint=_example(flag))
    for key in options:
        if key not in known[kind]:
            raise OptionError(f"{flag} type={kind} has no option {key!r}")
    return kind, options


def _example(flag: str) -> str:
    return f"for example {flag} type=local,{'dest' if flag == '--cache-to' else 'src'}=DIRECTORY"


def _needed(flag: str, options: dict[str, str], name: str) -> str:
    value = options.get(name, "")
    if not value:
        raise OptionError(f"{flag} type=local needs {name}=DIRECTORY")
    return value


def _reference(flag: str, options: dict[str, str]) -> Reference:
    text = options.get("ref", "")
    if not text:
        raise OptionError(f"{flag} type=registry needs ref=NAME")
    try:
        return Reference.parse(text)
    except InvalidReference as error:
        raise OptionError(f"{flag} ref={text}: {error.message}") from error


def _switch(flag: str, name: str, value: str) -> bool:
    try:
        return parse_switch(value)
    except ValueError as error:
        raise OptionError(f"{flag} {name}={value}: true or false") from error
