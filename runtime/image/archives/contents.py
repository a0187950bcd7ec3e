"""What there is in an archive: images, and the files of their layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from runtime.image.attestations import Attestation
from runtime.image.digest import DiffID, Digest
from runtime.image.errors import ArchiveError
from runtime.image.model import ImageConfig
from runtime.image.platform import Platform
from runtime.image.reference import Reference

MOST_DOCUMENT: Final = 8 << 20
"""Bytes of an index, a manifest or a config."""
MOST_IMAGES: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFile:
    """A layer's place in an archive. `digest` is what its file has to have, where it is said."""

    path: str
    diff_id: DiffID
    digest: Digest | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedImage:
    """An image in an archive: its config as it came, and where its layers are, bottom first.

    `manifest` is that one's digest, where there is one; `attestations` are beside it.
    """

    names: tuple[Reference, ...]
    document: bytes
    config: ImageConfig
    layers: tuple[LayerFile, ...]
    manifest: Digest | None = None
    attestations: tuple[Attestation, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """The platform to take of several, and whether somebody insists on it."""

    platform: Platform
    insisted: bool = False


def check_platform(config: ImageConfig, wanted: Wanted, what: str) -> None:
    """`PlatformMissing` if the only image there is is not the one that is insisted on."""
    from runtime.image.choice import serves
    from runtime.image.errors import PlatformMissing

    if wanted.insisted and not serves(config.platform, wanted.platform):
        raise PlatformMissing(what, str(wanted.platform), [str(config.platform)])


def layer_files(
    name: str, config: ImageConfig, files: list[tuple[str, Digest | None, int | None]]
) -> tuple[LayerFile, ...]:
    """The files of a config's layers; `ArchiveError` if there are more or fewer."""
    if len(config.diff_ids) != len(files):
        raise ArchiveError(
            f"{name}: the config has {len(config.diff_ids)} layers, the manifest {len(files)}"
        )
    return tuple(
        LayerFile(path=path, diff_id=diff_id, digest=digest, size=size)
        for diff_id, (path, digest, size) in zip(config.diff_ids, files, strict=True)
    )
