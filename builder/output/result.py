"""What comes of a build: an image, its names, and what is told of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from builder.events import Emit, Exported
from runtime.image.digest import Digest
from runtime.image.manifest import Descriptor
from runtime.image.new_file import new_file, write_all
from runtime.image.reference import Reference
from runtime.image.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A build's result: the image, its names, and the manifest it was last written with.

    `bases` are the images it stands on that came from registries, with their digests there. Of a
    build for several platforms `image_id` is that of their index, if one was written.
    """

    image_id: Digest
    names: tuple[Reference, ...]
    manifest: Descriptor | None = None
    bases: tuple[tuple[str, Digest], ...] = ()
    has_platforms: bool = False


def name_image(store: Store, image_id: Digest, names: Sequence[Reference], emit: Emit) -> None:
    """Let names stand for an image."""
    for name in names:
        store.tag(name, image_id)
        emit(Exported(what=f"naming to {name}", seconds=0.0))


def metadata(result: Result) -> dict[str, Any]:
    """What `--metadata-file` tells, under buildx's keys (dockerfile.md 3.5).

    The image's digest is its manifest's where one was written, else its config's, as Docker's
    own store has it.
    """
    told: dict[str, Any] = {"containerimage.digest": result.image_id}
    if not result.has_platforms:
        told["containerimage.config.digest"] = result.image_id
    if result.manifest is not None:
        told["containerimage.digest"] = result.manifest.digest
        told["containerimage.descriptor"] = result.manifest.to_json()
    if result.names:
        told["image.name"] = ",".join(str(name) for name in result.names)
    if result.bases:
        sources = [
            {"type": "docker-image", "ref": name, "pin": digest} for name, digest in result.bases
        ]
        told["containerimage.buildinfo"] = {"sources": sources}
    return told


def write_metadata(path: str, told: Mapping[str, Any]) -> None:
    """Write the metadata as buildx does: indented, its keys sorted."""
    with new_file(path) as fd:
        write_all(fd, json.dumps(told, indent=2, sort_keys=True).encode())
