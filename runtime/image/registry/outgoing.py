"""Images as registries have them: their manifests, and the blobs that these name.

An image that came from a registry, or was sent to one, keeps the manifests it had there, byte for
byte. Others are made: of blobs that are in the store, and of new ones for layers that have none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from runtime.image import json_bytes
from runtime.image.digest import DiffID, sha256
from runtime.image.json_bytes import Json
from runtime.image.layer.recipe import GZIP, Recipe
from runtime.image.manifest import (
    MEDIA_TYPE_CONFIG,
    MEDIA_TYPE_LAYER,
    MEDIA_TYPE_MANIFEST,
    Annotations,
    Descriptor,
    Manifest,
)
from runtime.image.registry.client import Document
from runtime.image.registry.documents import read_manifest
from runtime.image.registry.media_types import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    is_foreign,
)
from runtime.image.store.images import Image
from runtime.image.store.store import Store

Format = Literal["oci", "docker"]


class OutgoingImage:
    """An image of the store, on its way out."""

    def __init__(self, store: Store, image: Image) -> None:
        self._store = store
        self.image = image

    def known(self) -> Iterator[Document]:
        """The manifests it has or had in registries; not all of their blobs need be here."""
        for manifest in self._store.remotes.manifests(self.image.id):
            yield Document(
                media_type=manifest.media_type, data=manifest.document, digest=manifest.digest
            )

    def layers(self, manifest: Document) -> tuple[tuple[DiffID, Descriptor], ...]:
        """The layers of one of its manifests, bottom first."""
        described = read_manifest(manifest, self.image.id).layers
        return tuple(zip(self.image.config.diff_ids, described, strict=True))

    def is_local(self, diff_id: DiffID, blob: Descriptor) -> bool:
        """Whether a layer's blob need not be had from elsewhere: foreign ones never are."""
        return is_foreign(blob.media_type) or any(
            each.digest == blob.digest for each in self._store.layer_blobs(diff_id)
        )

    def layer(
        self, diff_id: DiffID, recipe: Recipe | None = None, format: Format = "oci"
    ) -> Descriptor:
        """A layer's blob: one that is there, unless a recipe is given."""
        if recipe is not None:
            return self._store.blob(diff_id, recipe)
        for suffix in ("+gzip",) if format == "docker" else ("+gzip", "+zstd"):
            for blob in self._store.layer_blobs(diff_id):
                if blob.media_type == MEDIA_TYPE_LAYER + suffix:
                    return blob
        return self._store.blob(diff_id, GZIP)

    def config(self) -> Descriptor:
        """The config, which is in the store with the image."""
        size = len(self.image.document)
        return Descriptor(media_type=MEDIA_TYPE_CONFIG, digest=self.image.id, size=size)

    def manifest(
        self,
        layers: Sequence[Descriptor],
        format: Format = "oci",
        annotations: Annotations = (),
    ) -> Document:
        """A new manifest of these blobs; Docker's has no annotations."""
        if format == "docker":
            data, media_type = _docker_manifest(self.config(), layers), DOCKER_MANIFEST
        else:
            made = Manifest(config=self.config(), layers=tuple(layers), annotations=annotations)
            data, media_type = made.to_bytes(), MEDIA_TYPE_MANIFEST
        return Document(media_type=media_type, data=data, digest=sha256(data))


def _docker_manifest(config: Descriptor, layers: Sequence[Descriptor]) -> bytes:
    """A manifest of Docker's schema 2 (distribution's manifest-v2-2)."""
    described: list[Json] = [
        {
            "mediaType": DOCKER_LAYER + (".gzip" if blob.media_type.endswith("+gzip") else ""),
            "digest": blob.digest,
            "size": blob.size,
        }
        for blob in layers
    ]
    return json_bytes.canonical(
        {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": {"mediaType": DOCKER_CONFIG, "digest": config.digest, "size": config.size},
            "layers": described,
        }
    )
