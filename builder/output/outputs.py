"""`--output`: where a build's result goes, as written on the command line.

type=oci,dest=F.tar      an OCI archive that Docker loads, too; dest=- is standard output
type=docker,dest=F.tar   the same, without what Docker cannot load
  tar=false              a layout directory at dest instead of an archive
type=image[,name=N]      the local store, which keeps the result anyway
  push=true              and the registries of its names; type=registry for short
type=local,dest=DIR      the files of the image, in a directory; `-o DIR` for short
type=tar,dest=F.tar      the files of the image, in a tar; `-o -` is one on standard output
type=cacheonly           nothing but the cache

What buildx has besides (dockerfile.md 3.2) is refused by name, with the reason.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from builder.errors import OptionError
from builder.output.annotations import Annotation, parse_annotation
from builder.output.recipes import CompressionWords
from builder.plan.units import parse_switch
from runtime.image.layer.recipe import GZIP, Compression, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveOutput:
    """An archive at `destination` (`-` is standard output), or a layout directory there.

    `names` are further names of the image, in the archive and in the store.
    """

    format: Literal["oci", "docker"]
    destination: str
    recipe: Recipe = GZIP
    layout: bool = False
    names: tuple[str, ...] = ()
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageOutput:
    """The local store, under further names; with `push` the registries of all names, too.

    `by_digest`: it gets no tag there. Without a recipe the layers are as they are, or gzip.
    """

    names: tuple[str, ...] = ()
    push: bool = False
    by_digest: bool = False
    format: Literal["oci", "docker"] = "oci"
    recipe: Recipe | None = None
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True)
class LocalOutput:
    """The image's files in the directory `destination`.

    With `split` in a folder named after the platform; as buildx has it, without a word on it
    where there are several platforms.
    """

    destination: str
    split: bool | None = None


@dataclass(frozen=True, slots=True)
class TarOutput:
    """The image's files in a tar at `destination`; `-` is standard output. `split` as above."""

    destination: str
    split: bool | None = None


@dataclass(frozen=True, slots=True)
class CacheOutput:
    """Nothing: what the build did is in the cache."""


Output = ArchiveOutput | ImageOutput | LocalOutput | TarOutput | CacheOutput

_COMPRESSION_KEYS = frozenset(
    ("compression", "compression-level", "force-compression", "reproducible-blobs")
)
_ARCHIVE_KEYS = _COMPRESSION_KEYS | {"dest", "name", "tar", "oci-mediatypes"}
_PUSH_KEYS = _COMPRESSION_KEYS | {
    "name", "push", "store", "unpack", "push-by-digest", "name-canonical", "oci-mediatypes"
}  # fmt: skip
_KEYS = {
    "oci": _ARCHIVE_KEYS,
    "docker": _ARCHIVE_KEYS,
    "image": _PUSH_KEYS,
    "registry": _PUSH_KEYS,
    "local": frozenset({"dest", "platform-split", "mode"}),
    "tar": frozenset({"dest", "platform-split"}),
    "cacheonly": frozenset[str](),
}
_OF_MANIFESTS = _COMPRESSION_KEYS | {"push-by-digest", "name-canonical"}
_NOTHING_SAID = CompressionWords()
# Options whose usual value is what is done anyway: any other would change the result.
_FIXED = {
    "oci-mediatypes": (True, "media types are always OCI's"),
    "store": (True, "the store keeps every image"),
}


def parse_output(text: str, words: CompressionWords = _NOTHING_SAID) -> Output:
    """Read one `--output`; `OptionError` says what is wrong with it.

    What it does not say of compression is taken from `words`.
    """
    fields = next(csv.reader([text]), [])
    if len(fields) == 1 and "=" not in fields[0] and fields[0]:
        return TarOutput("-") if fields[0] == "-" else LocalOutput(fields[0])
    options, annotations = _read(fields)
    kind = options.pop("type", "")
    if kind not in _KEYS:
        raise OptionError(
            f"unknown output type {kind!r}", hint=", ".join(f"type={k}" for k in _KEYS)
        )
    _check(kind, options, annotations)
    if kind in ("image", "registry"):
        return _image(kind, options, annotations, words)
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
        return LocalOutput(destination, _split(options))
    if kind == "tar":
        return TarOutput(destination, _split(options))
    return _archive(kind, destination, options, annotations, words)


def standard_outputs(outputs: Iterable[Output]) -> int:
    """How many of the outputs write to standard output."""
    return sum(getattr(output, "destination", None) == "-" for output in outputs)


def with_push(
    outputs: tuple[Output, ...], words: CompressionWords = _NOTHING_SAID
) -> tuple[Output, ...]:
    """The outputs as `--push` has them: images go to registries, and there is one."""
    recipe = words.recipe("--push")
    if not any(isinstance(output, ImageOutput) for output in outputs):
        return (*outputs, ImageOutput(push=True, recipe=recipe))
    return tuple(
        replace(output, push=True, recipe=output.recipe or recipe)
        if isinstance(output, ImageOutput)
        else output
        for output in outputs
    )


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
    pushed = kind == "registry" or (
        kind == "image" and _switch("push", options.get("push", "false"))
    )
    for key, value in options.items():
        if key not in _KEYS[kind]:
            raise OptionError(f"--output type={kind} has no option {key!r}")
        if key in _FIXED:
            only, why = _FIXED[key]
            if _switch(key, value) is not only and not (pushed and key == "oci-mediatypes"):
                raise OptionError(f"--output type={kind},{key}={value}: {why}")
    if annotations and kind not in ("oci", "docker") and not pushed:
        raise OptionError(
            f"--output type={kind} cannot hold annotations", hint="type=oci or type=docker can"
        )
    if kind == "image" and not pushed and options.keys() & _OF_MANIFESTS:
        key = min(options.keys() & _OF_MANIFESTS)
        raise OptionError(
            f"--output type=image,{key}=…: the store keeps no manifests", hint="push=true sends one"
        )


def _image(
    kind: str,
    options: dict[str, str],
    annotations: tuple[Annotation, ...],
    words: CompressionWords,
) -> ImageOutput:
    oci = _switch("oci-mediatypes", options.get("oci-mediatypes", "true"))
    push = _switch("push", options.get("push", "true" if kind == "registry" else "false"))
    recipe = _said(options).over(words).recipe(f"--output type={kind}") if push else None
    if not oci and recipe is not None and recipe.compression is Compression.ZSTD:
        raise OptionError("Docker's media types know no layers compressed with zstd")
    for key in ("unpack", "name-canonical"):
        _switch(key, options.get(key, "true"))
    return ImageOutput(
        names=_names(options),
        push=push,
        by_digest=_switch("push-by-digest", options.get("push-by-digest", "false")),
        format="oci" if oci else "docker",
        recipe=recipe,
        annotations=annotations,
    )


def _said(options: dict[str, str]) -> CompressionWords:
    """What an output says of compression itself."""

    def switch(key: str) -> bool | None:
        return _switch(key, options[key]) if key in options else None

    return CompressionWords(
        compression=options.get("compression"),
        level=options.get("compression-level"),
        force=switch("force-compression"),
        reproducible=switch("reproducible-blobs"),
    )


def _archive(
    kind: str,
    destination: str,
    options: dict[str, str],
    annotations: tuple[Annotation, ...],
    words: CompressionWords,
) -> ArchiveOutput:
    recipe = _said(options).over(words).recipe(f"--output type={kind}") or GZIP
    layout = not _switch("tar", options.get("tar", "true"))
    if layout and destination == "-":
        raise OptionError("--output tar=false needs a directory", hint="dest=DIR")
    return ArchiveOutput(
        format="docker" if kind == "docker" else "oci",
        destination=destination,
        recipe=recipe,
        layout=layout,
        names=_names(options),
        annotations=annotations,
    )


def _split(options: dict[str, str]) -> bool | None:
    text = options.get("platform-split")
    return None if text is None else _switch("platform-split", text)


def _names(options: dict[str, str]) -> tuple[str, ...]:
    return tuple(filter(None, options.get("name", "").split(",")))


def _switch(key: str, value: str) -> bool:
    try:
        return parse_switch(value)
    except ValueError as error:
        raise OptionError(f"--output {key}={value}: true or false") from error
