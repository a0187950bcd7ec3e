"""How layers are compressed on their way out, as options say it."""

from __future__ import annotations

from dataclasses import dataclass

from builder.errors import OptionError
from runtime.image.layer.recipe import Compression, Level, Recipe, compressor_id

COMPRESSIONS = ("gzip", "zstd", "uncompressed")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressionWords:
    """What was said of compression; `None` where nothing was."""

    compression: str | None = None
    level: str | None = None
    force: bool | None = None
    reproducible: bool | None = None

    def over(self, usual: CompressionWords) -> CompressionWords:
        """These words, and where nothing was said those others."""
        # Another compression has other levels.
        same = self.compression in (None, usual.compression or "gzip")
        return CompressionWords(
            compression=self.compression or usual.compression,
            level=usual.level if self.level is None and same else self.level,
            force=usual.force if self.force is None else self.force,
            reproducible=usual.reproducible
            if self.reproducible is None and same
            else self.reproducible,
        )

    def recipe(self, where: str) -> Recipe | None:
        """What they come to, `None` if nothing was said; `OptionError` names `where`."""
        if self == CompressionWords():
            return None
        name = self.compression or "gzip"
        if name == "estargz":
            raise OptionError(
                f"{where}: eStargz layers are read, but not written",
                hint="gzip, zstd or uncompressed",
            )
        if name not in COMPRESSIONS:
            raise OptionError(
                f"{where}: unknown compression {name!r}", hint=", ".join(COMPRESSIONS)
            )
        try:
            recipe = Recipe(
                Compression[name.upper()],
                level=_level(self.level),
                reproducible=bool(self.reproducible),
                force=bool(self.force),
            )
        except ValueError as error:
            raise OptionError(f"{where}: {name}: {error}") from error
        compressor_id(recipe)  # before anything is built
        return recipe


def _level(text: str | None) -> Level:
    if text is None:
        return None
    if text == "best":
        return "best"
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"{text!r} is no level: a number, or best")
    return int(text)
