"""Images from the store to registries: only what is missing there travels, the manifest last.

An image that came from a registry, or was sent to one, goes out under the manifest it had there,
byte for byte, as long as its blobs can be had. Otherwise a manifest is made: of blobs that are
there, and of new ones for layers that have none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from runtime.image import json_bytes
from runtime.image.digest import DiffID, Digest, sha256
from runtime.image.json_bytes import Json
from runtime.image.layer.compression import Compression
from runtime.image.manifest import (
    MEDIA_TYPE_CONFIG,
    MEDIA_TYPE_LAYER,
    MEDIA_TYPE_MANIFEST,
    Annotations,
    Descriptor,
    Manifest,
)
from runtime.image.reference import Reference
from runtime.image.registry.client import Document, RepositoryClient
from runtime.image.registry.documents import read_manifest
from runtime.image.registry.endpoints import endpoint
from runtime.image.registry.errors import NotFound, UnsupportedImage
from runtime.image.registry.media_types import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    is_foreign,
)
from runtime.image.registry.session import Session
from runtime.image.registry.transfer_events import BlobFinished, BlobSkipped
from runtime.image.registry.upload import Content, Remembered, mount, upload
from runtime.image.registry.workers import run_all
from runtime.image.store.images import Image
from runtime.image.store.remotes import StoredManifest
from runtime.image.store.store import Store

Format = Literal["oci", "docker"]

_AT_ONCE: Final = 4
_READ: Final = 1 << 18
_MEMO: Final = "upload"
_MOST_NEIGHBOURS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PushOptions:
    """What a manifest is to be; `None` leaves it as it is, or as is usual (OCI, gzip).

    `by_digest`: it gets no tag.
    """

    format: Format | None = None
    compression: Compression | None = None
    annotations: Annotations = ()
    by_digest: bool = False

    @property
    def as_it_is(self) -> bool:
        """Whether nothing is asked for."""
        return self in (PushOptions(), PushOptions(by_digest=True))


_AS_IT_IS: Final = PushOptions()


def push(
    store: Store,
    session: Session,
    image: Image,
    name: Reference,
    options: PushOptions = _AS_IT_IS,
) -> Descriptor:
    """Send an image to the registry of a name, and give it that name; its manifest's descriptor.

    On an error the name points to what it did before. `RegistryError`, `StoreError`.
    """
    if options.format == "docker" and options.compression is Compression.ZSTD:
        raise UnsupportedImage(
            str(name), "Docker's manifests know no layers compressed with zstd", hint="--format oci"
        )
    return _Push(store, session, image, name).push(options)


class _Push:
    """One image on its way to one repository."""

    def __init__(self, store: Store, session: Session, image: Image, name: Reference) -> None:
        self._store = store
        self._session = session
        self._image = image
        self._name = name
        place = endpoint(name.domain, name.path, session.registries)
        self._client = RepositoryClient(session, place)

    def push(self, options: PushOptions) -> Descriptor:
        known = self._known() if options.as_it_is else None
        tag = None if options.by_digest else self._name.tag
        if known is not None and self._is_there(tag or known.digest, known):
            blobs: tuple[Descriptor, ...] = ()
        else:
            known, blobs = self._send(known, options)
            self._client.put_manifest(tag or known.digest, known)
        self._remember(known, blobs)
        return Descriptor(
            media_type=known.media_type,
            digest=known.digest,
            size=len(known.data),
            platform=self._image.config.platform,
        )

    # ---- the manifest

    def _known(self) -> Document | None:
        """A manifest of the image whose blobs can all be had."""
        for manifest in self._store.remotes.manifests(self._image.id):
            document = Document(
                media_type=manifest.media_type, data=manifest.document, digest=manifest.digest
            )
            layers = read_manifest(document, self._client.where).layers
            pairs = zip(self._image.config.diff_ids, layers, strict=True)
            if all(self._can_be_had(diff_id, blob) for diff_id, blob in pairs):
                return document
        return None

    def _can_be_had(self, diff_id: DiffID, blob: Descriptor) -> bool:
        if is_foreign(blob.media_type) or self._is_local(diff_id, blob.digest):
            return True
        neighbours = self._neighbours(blob.digest)
        known_there = self._client.where in self._store.remotes.places(blob.digest)
        if not neighbours and not known_there:
            return False
        if self._client.has_blob(blob.digest):
            return True
        return any(mount(self._client, blob, neighbour) for neighbour in neighbours)

    def _is_local(self, diff_id: DiffID, digest: Digest) -> bool:
        return any(blob.digest == digest for blob in self._store.layer_blobs(diff_id))

    def _is_there(self, name: str, document: Document) -> bool:
        """Whether a tag, or the digest, already has this manifest."""
        try:
            return self._client.manifest_digest(name) == document.digest
        except NotFound:
            return False

    def _made(self, layers: Sequence[Descriptor], options: PushOptions) -> Document:
        config = Descriptor(
            media_type=MEDIA_TYPE_CONFIG, digest=self._image.id, size=len(self._image.document)
        )
        if options.format == "docker":
            data = _docker_manifest(config, layers)
            media_type = DOCKER_MANIFEST
        else:
            manifest = Manifest(
                config=config, layers=tuple(layers), annotations=options.annotations
            )
            data, media_type = manifest.to_bytes(), MEDIA_TYPE_MANIFEST
        return Document(media_type=media_type, data=data, digest=sha256(data))

    # ---- blobs

    def _send(
        self, known: Document | None, options: PushOptions
    ) -> tuple[Document, tuple[Descriptor, ...]]:
        """Send every blob that is missing; the manifest, and the blobs it names."""
        diff_ids = self._image.config.diff_ids
        if known is not None:
            layers = read_manifest(known, self._client.where).layers
            given = dict(zip(diff_ids, layers, strict=True))
        else:
            given = {}
        sent: dict[DiffID, Descriptor] = {}

        def send_layer(diff_id: DiffID) -> Callable[[], None]:
            def task() -> None:
                blob = given.get(diff_id) or self._layer(diff_id, options)
                self._layer_sent(blob)
                sent[diff_id] = blob

            return task

        tasks = [send_layer(diff_id) for diff_id in dict.fromkeys(diff_ids)]
        run_all([*tasks, self._send_config], _AT_ONCE, self._session.cancellation)
        layers = tuple(sent[diff_id] for diff_id in diff_ids)
        document = known or self._made(layers, options)
        config = read_manifest(document, self._client.where).config
        return document, (config, *layers)

    def _layer(self, diff_id: DiffID, options: PushOptions) -> Descriptor:
        """A layer's blob: one there is, unless another is asked for."""
        if options.compression is not None:
            return self._store.blob(diff_id, options.compression)
        for suffix in ("+gzip",) if options.format == "docker" else ("+gzip", "+zstd"):
            for blob in self._store.layer_blobs(diff_id):
                if blob.media_type == MEDIA_TYPE_LAYER + suffix:
                    return blob
        return self._store.blob(diff_id, Compression.GZIP)

    def _layer_sent(self, blob: Descriptor) -> None:
        if is_foreign(blob.media_type):
            self._session.report(BlobSkipped(digest=blob.digest, why="foreign"))
            return
        path = self._store.blob_path(blob.digest)
        self._send_blob(blob, lambda start, end: _file_pieces(path, start, end))

    def _send_config(self) -> None:
        data = self._image.document
        config = Descriptor(media_type=MEDIA_TYPE_CONFIG, digest=self._image.id, size=len(data))
        self._send_blob(config, lambda start, end: iter((data[start:end],)))

    def _send_blob(self, blob: Descriptor, content: Content) -> None:
        key = f"{self._client.where}@{blob.digest}"
        location = self._store.get_memo(_MEMO, key)

        def note(where: str) -> None:
            if where:
                self._store.put_memo(_MEMO, key, where.encode())
            else:
                self._store.drop_memo(_MEMO, key)

        done = upload(
            self._client,
            blob,
            content,
            neighbours=self._neighbours(blob.digest),
            remembered=Remembered(location=(location or b"").decode(), note=note),
        )
        if done == "sent":
            self._session.report(BlobFinished(digest=blob.digest))
        else:
            self._session.report(BlobSkipped(digest=blob.digest, why=done))

    def _neighbours(self, digest: Digest) -> tuple[str, ...]:
        """Paths of other repositories at the same registry that are known to have a blob."""
        prefix = f"{self._name.domain}/"
        places = self._store.remotes.places(digest)
        paths = [place.removeprefix(prefix) for place in places if place.startswith(prefix)]
        return tuple(path for path in paths if path != self._name.path)[:_MOST_NEIGHBOURS]

    def _remember(self, document: Document, blobs: Sequence[Descriptor]) -> None:
        remotes = self._store.remotes
        remotes.put_manifest(
            self._image.id,
            StoredManifest(media_type=document.media_type, document=document.data),
        )
        remotes.put_digest(self._image.id, self._name.repository, document.digest)
        remotes.put_places(
            (blob.digest for blob in blobs if not is_foreign(blob.media_type)),
            self._name.repository,
        )


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


def _file_pieces(path: str, start: int, end: int) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as file:
        os.lseek(file.fileno(), start, os.SEEK_SET)
        left = end - start
        while left > 0 and (piece := file.read(min(left, _READ))):
            left -= len(piece)
            yield piece
