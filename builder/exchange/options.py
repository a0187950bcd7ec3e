"""`--cache-to` and `--cache-from`, as written on the command line.

type=local,dest=DIR[,tag=T][,mode=min|max][,compression=gzip|zstd|uncompressed][,ignore-error=true]
type=local,src=DIR[,tag=T|,digest=SHA256]

`min`, the default, has the layers of the image; `max` those of every step. The other types that
buildx knows are refused by name.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import Literal

from builder.errors import OptionError
from builder.plan.units import parse_switch

_TAG = "latest"
_TYPES = ("local", "registry", "inline", "gha", "s3", "azblob")
_COMPRESSIONS = ("gzip", "zstd", "uncompressed")
_TO = frozenset(
    ("dest", "tag", "mode", "compression", "force-compression", "ignore-error", "oci-mediatypes")
) | {"image-manifest"}
_FROM = frozenset(("src", "tag", "digest"))
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


CacheTo = FolderTo
CacheFrom = FolderFrom


def parse_cache_to(text: str) -> CacheTo:
    """Read one `--cache-to`; `OptionError` says what is wrong with it."""
    options = _read("--cache-to", text, _TO)
    mode = options.get("mode", "min")
    if mode not in ("min", "max"):
        raise OptionError(f"--cache-to mode={mode}: min or max")
    compression = options.get("compression", "gzip")
    if compression not in _COMPRESSIONS:
        raise OptionError(
            f"--cache-to compression={compression} is not supported",
            hint=", ".join(_COMPRESSIONS),
        )
    for name, why in _FIXED.items():
        if not _switch("--cache-to", name, options.get(name, "true")):
            raise OptionError(f"--cache-to {name}={options[name]}: {why}")
    # Layers are written in the compression that is asked for, forced or not.
    _switch("--cache-to", "force-compression", options.get("force-compression", "false"))
    return FolderTo(
        directory=_needed("--cache-to", options, "dest"),
        tag=options.get("tag", _TAG),
        mode="max" if mode == "max" else "min",
        compression=compression,
        ignore_error=_switch("--cache-to", "ignore-error", options.get("ignore-error", "false")),
    )


def parse_cache_from(text: str) -> CacheFrom:
    """Read one `--cache-from`; `OptionError` says what is wrong with it."""
    options = _read("--cache-from", text, _FROM)
    return FolderFrom(
        directory=_needed("--cache-from", options, "src"),
        tag=options.get("tag", _TAG),
        digest=options.get("digest", ""),
    )


def _read(flag: str, text: str, known: frozenset[str]) -> dict[str, str]:
    """The options of a local cache; any other is refused."""
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
    if kind not in _TYPES:
        raise OptionError(f"unknown type {kind!r} of {flag}", hint=_example(flag))
    if kind != "local":
        raise OptionError(f"{flag} type={kind} is not supported yet", hint=_example(flag))
    for key in options:
        if key not in known:
            raise OptionError(f"{flag} type=local has no option {key!r}")
    return options


def _example(flag: str) -> str:
    return f"for example {flag} type=local,{'dest' if flag == '--cache-to' else 'src'}=DIRECTORY"


def _needed(flag: str, options: dict[str, str], name: str) -> str:
    value = options.get(name, "")
    if not value:
        raise OptionError(f"{flag} type=local needs {name}=DIRECTORY")
    return value


def _switch(flag: str, name: str, value: str) -> bool:
    try:
        return parse_switch(value)
    except ValueError as error:
        raise OptionError(f"{flag} {name}={value}: true or false") from error
