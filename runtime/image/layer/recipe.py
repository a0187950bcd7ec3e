"""How layers are to be compressed, and what decides the bytes that come out.

What a compressor makes of a layer depends on its library, version and level and on how it is
fed, so all of these are part of `compressor_id`; within one identifier the bytes depend on the
layer alone.

The usual gzip is isal's level 1: about the size of zlib's level 3, seven times as fast. Its level
3 is left alone, whose bytes depend on the processor, and its level 0, which makes some data
larger. All other levels are zlib's, in blocks that threads compress side by side.
"""

from __future__ import annotations

import zlib
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from runtime.image.errors import CompressorUnfit

ISAL_LEVELS: Final = (1, 2)
ZLIB_LEVELS: Final = range(10)
ZSTD_LEVELS: Final = range(23)
_ISAL_LEVEL: Final = 1
_ZLIB_LEVEL: Final = 6
_ZLIB_BEST: Final = 9
_ZSTD_LEVEL: Final = 3
_ZSTD_BEST: Final = 19  # those above need more memory to decompress than readers grant


class Compression(Enum):
    """How a layer's blob is compressed; the values are the suffixes of OCI media types."""

    GZIP = "gzip"
    ZSTD = "zstd"
    UNCOMPRESSED = ""


Level = int | Literal["best"] | None
"""As the libraries number them; `None` is the usual one."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a layer's blob is to be.

    `reproducible`: made by what gives the same bytes in every version. `force`: also where there
    is a blob that somebody else compressed. `ValueError` for a level that there is not.
    """

    compression: Compression
    level: Level = None
    reproducible: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        if self.level is not None and self.level != "best":
            levels = {Compression.GZIP: ZLIB_LEVELS, Compression.ZSTD: ZSTD_LEVELS}.get(
                self.compression, range(0)
            )
            if self.level not in levels:
                raise ValueError(
                    f"levels are {levels[0]} to {levels[-1]}, or best"
                    if levels
                    else "what is not compressed has no level"
                )
        if self.reproducible and self.compression is Compression.ZSTD:
            raise ValueError("zstd's bytes change from version to version")

    @property
    def is_particular(self) -> bool:
        """Whether one compressor is asked for, not just any of its kind."""
        return self.level is not None or self.reproducible or self.force


GZIP: Final = Recipe(Compression.GZIP)
ZSTD: Final = Recipe(Compression.ZSTD)
UNCOMPRESSED: Final = Recipe(Compression.UNCOMPRESSED)


def compressor_id(recipe: Recipe) -> str:
    """A name for what decides the compressed bytes, the layer apart.

    `CompressorUnfit` where what is asked for cannot be had in this Python.
    """
    match recipe.compression:
        case Compression.GZIP:
            level = isal_level(recipe)
            if level is not None:
                import isal

                return f"isal-{isal.ISAL_VERSION}/l{level}/feed1MiB"
            if not recipe.reproducible:
                return f"zlib-{zlib.ZLIB_RUNTIME_VERSION}/l{zlib_level(recipe)}/blocks1MiB"
            if "ng" in zlib.ZLIB_RUNTIME_VERSION:
                raise CompressorUnfit(
                    f"this Python's zlib is zlib-ng ({zlib.ZLIB_RUNTIME_VERSION}): it does not"
                    " give the bytes that zlib gives"
                )
            return f"zlib/l{zlib_level(recipe)}/blocks1MiB"
        case Compression.ZSTD:
            import zstandard

            version = ".".join(str(number) for number in zstandard.ZSTD_VERSION)
            return f"zstd-{version}/l{zstd_level(recipe)}/mt/feed1MiB"
        case Compression.UNCOMPRESSED:
            return "none"


def own_recipes() -> dict[str, Recipe]:
    """By the name of its compressor, each recipe by which this program makes the same bytes."""
    recipes = [UNCOMPRESSED, GZIP, ZSTD]
    recipes += [Recipe(Compression.ZSTD, level) for level in ZSTD_LEVELS]
    recipes += [Recipe(Compression.GZIP, level) for level in ZLIB_LEVELS]
    found: dict[str, Recipe] = {}
    for recipe in recipes:
        found.setdefault(compressor_id(recipe), recipe)
    with suppress(CompressorUnfit):
        for level in ZLIB_LEVELS:
            recipe = Recipe(Compression.GZIP, level, reproducible=True)
            found[compressor_id(recipe)] = recipe
    return found


def isal_level(recipe: Recipe) -> int | None:
    """The level of isal that a recipe for gzip asks for; `None` if it is zlib's work."""
    level = _ISAL_LEVEL if recipe.level is None else recipe.level
    if recipe.reproducible or level not in ISAL_LEVELS:
        return None
    try:
        import isal  # noqa: F401 (is it there?)
    except ImportError:
        return None
    return level


def zlib_level(recipe: Recipe) -> int:
    """The level of zlib that a recipe for gzip asks for."""
    if recipe.level == "best":
        return _ZLIB_BEST
    return _ZLIB_LEVEL if recipe.level is None else recipe.level


def zstd_level(recipe: Recipe) -> int:
    """The level of zstd that a recipe asks for; 0 is the library's way to say 3."""
    if recipe.level == "best":
        return _ZSTD_BEST
    return recipe.level or _ZSTD_LEVEL
