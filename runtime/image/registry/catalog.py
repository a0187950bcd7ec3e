"""The named images of a store as a registry offers them: repositories, tags, manifests, blobs.

What has no name is not offered, and a blob only in a repository whose images have it: a digest
alone gives nobody what was never named.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from runtime.image.digest import Digest
from runtime.image.errors import ImageNotFound
from runtime.image.layer.recipe import GZIP
from runtime.image.manifest import MEDIA_TYPE_CONFIG, Descriptor, Manifest
from runtime.image.manifest import MEDIA_TYPE_MANIFEST as OCI_MANIFEST
from runtime.image.reference import Reference
from runtime.image.store.images import Image
from runtime.image.store.remotes import StoredManifest
from runtime.image.store.store import Store


@dataclass(frozen=True, slots=True)
class BlobFile:
    """A blob, open for reading, and its size in bytes. Whoever gets it closes it."""

    fd: int
    size: int


class Catalog:
    """What a store has to offer. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._making = threading.Lock()

    def repositories(self) -> tuple[str, ...]:
        """The names of all repositories, as users write them, sorted."""
        found = {name.familiar_repository for image in self._store.images() for name in image.names}
        return tuple(sorted(found))

    def tags(self, repository: Reference) -> tuple[str, ...]:
        """The tags of a repository, sorted; none if there is no such repository."""
        return tuple(
            sorted(
                name.tag
                for image in self._images(repository)
                for name in image.names
                if name.tag is not None and name.repository == repository.repository
            )
        )

    def tagged(self, name: Reference) -> StoredManifest | None:
        """The manifest of a name with a tag; it is made, its layers compressed, if there is none.

        It is the same each time, and the one that a registry has the image under if it came
        from one.
        """
        try:
            image = self._store.image(str(name))
        except ImageNotFound:
            return None
        return self._manifest(image) if name in image.names else None

    def manifest(self, repository: Reference, digest: Digest) -> StoredManifest | None:
        """A manifest of a repository's image by its digest, if it has been given out before."""
        for image in self._images(repository):
            for manifest in self._whole(image):
                if manifest.digest == digest:
                    return manifest
        return None

    def blob(self, repository: Reference, digest: Digest) -> bytes | BlobFile | None:
        """A config, or a layer, of one of a repository's images."""
        for image in self._images(repository):
            if image.id == digest:
                return image.document
            for blob in self._layer_blobs(image):
                if blob.digest == digest:
                    return self._open(blob)
        return None

    def _images(self, repository: Reference) -> Iterator[Image]:
        for image in self._store.images():
            if any(name.repository == repository.repository for name in image.names):
                yield image

    def _layer_blobs(self, image: Image) -> Iterator[Descriptor]:
        for diff_id in dict.fromkeys(image.config.diff_ids):
            yield from self._store.layer_blobs(diff_id)

    def _open(self, blob: Descriptor) -> BlobFile | None:
        try:
            fd = os.open(
                self._store.blob_path(blob.digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            )
        except FileNotFoundError:  # Another process has just removed it.
            return None
        return BlobFile(fd, blob.size)

    def _manifest(self, image: Image) -> StoredManifest:
        with self._making:
            known = next(self._whole(image), None)
            if known is not None:
                return known
            made = self._made(image)
            self._store.remotes.put_manifest(image.id, made)
            return made

    def _whole(self, image: Image) -> Iterator[StoredManifest]:
        """The known manifests of an image whose blobs are all here."""
        here = {image.id, *(blob.digest for blob in self._layer_blobs(image))}
        for manifest in self._store.remotes.manifests(image.id):
            parsed = Manifest.parse(manifest.document)
            if all(blob.digest in here for blob in (parsed.config, *parsed.layers)):
                yield manifest

    def _made(self, image: Image) -> StoredManifest:
        """A manifest for everyone: OCI's media types, layers compressed with gzip."""
        config = Descriptor(media_type=MEDIA_TYPE_CONFIG, digest=image.id, size=len(image.document))
        layers = tuple(self._store.blob(diff_id, GZIP) for diff_id in image.config.diff_ids)
        document = Manifest(config=config, layers=layers).to_bytes()
        return StoredManifest(media_type=OCI_MANIFEST, document=document)
