"""Options that say how layers are compressed, of every command that writes or sends them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from builder.output.recipes import CompressionWords

_NAMES = ("compression", "compression_level", "force_compression", "reproducible_blobs")
_KINDS = ("gzip", "zstd", "uncompressed")


def compression_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--compression` and what belongs to it."""
    for option in reversed((
        click.option("--compression", type=click.Choice((*_KINDS, "estargz")),
                     metavar="|".join(_KINDS), help="Of layers; Docker cannot load zstd."),
        click.option("--compression-level", metavar="N|best",
                     help="0 to 9 for gzip, 0 to 22 for zstd."),
        click.option("--force-compression", is_flag=True, default=None,
                     help="Compress again what came compressed."),
        click.option("--reproducible-blobs", is_flag=True, default=None,
                     help="The same bytes in every version: zlib's, which takes longer."),
    )):  # fmt: skip
        command = option(command)
    return command


def said_of_compression(options: dict[str, Any]) -> bool:
    """Whether any of these options was given."""
    return any(options[name] is not None for name in _NAMES)


def compression_words(options: dict[str, Any]) -> CompressionWords:
    """What was said with these options."""
    from builder.output.recipes import CompressionWords

    return CompressionWords(
        compression=options["compression"],
        level=options["compression_level"],
        force=options["force_compression"],
        reproducible=options["reproducible_blobs"],
    )
