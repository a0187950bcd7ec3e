"""Images from the store to registries: only what is missing there travels, the manifest last.

An image goes out under a manifest that it came with, or was sent with before, as long as its
blobs can be had. Otherwise one is made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from runtime.image.digest import DiffID, Digest
from runtime.image.layer.recipe import Compression, Recipe
from runtime.image.manifest import Annotations, Descriptor
from runtime.image.reference import Reference
from runtime.image.registry.client import Document, RepositoryClient
from runtime.image.registry.endpoints import endpoint
from runtime.image.registry.errors import NotFound, UnsupportedImage
from runtime.image.registry.media_types import is_foreign
from runtime.image.registry.outgoing import Format, OutgoingImage
from runtime.image.registry.session import Session
from runtime.image.registry.transfer_events import BlobFinished, BlobSkipped
from runtime.image.registry.upload import Content, Remembered, mount, upload
from runtime.image.registry.workers import run_all
from runtime.image.store.images import Image
from runtime.image.store.remotes import StoredManifest
from runtime.image.store.store import Store

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
    recipe: Recipe | None = None
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
    compression = None if options.recipe is None else options.recipe.compression
    if options.format == "docker" and compression is Compression.ZSTD:
        raise UnsupportedImage(
            str(name), "Docker's manifests know no layers compressed with zstd", hint="--format oci"
        )
    return _Push(store, session, image, name).push(options)


class _Push:
    """One image on its way to one repository."""

    def __init__(self, store: Store, session: Session, image: Image, name: Reference) -> None:
        self._store = store
        self._session = session
        self._outgoing = OutgoingImage(store, image)
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

    def _known(self) -> Document | None:
        """A manifest of the image whose blobs can all be had."""
        for manifest in self._outgoing.known():
            layers = self._outgoing.layers(manifest)
            if all(self._can_be_had(diff_id, blob) for diff_id, blob in layers):
                return manifest
        return None

    def _can_be_had(self, diff_id: DiffID, blob: Descriptor) -> bool:
        if self._outgoing.is_local(diff_id, blob):
            return True
        neighbours = self._neighbours(blob.digest)
        known_there = self._client.where in self._store.remotes.places(blob.digest)
        if not neighbours and not known_there:
            return False
        if self._client.has_blob(blob.digest):
            return True
        return any(mount(self._client, blob, neighbour) for neighbour in neighbours)

    def _is_there(self, name: str, document: Document) -> bool:
        """Whether a tag, or the digest, already has this manifest."""
        try:
            return self._client.manifest_digest(name) == document.digest
        except NotFound:
            return False

    def _send(
        self, known: Document | None, options: PushOptions
    ) -> tuple[Document, tuple[Descriptor, ...]]:
        """Send every blob that is missing; the manifest, and the blobs it names."""
        diff_ids = self._image.config.diff_ids
        given = {} if known is None else dict(self._outgoing.layers(known))
        form = options.format or "oci"
        sent: dict[DiffID, Descriptor] = {}

        def send_layer(diff_id: DiffID) -> Callable[[], None]:
            def task() -> None:
                blob = given.get(diff_id)
                if blob is None:
                    blob = self._outgoing.layer(diff_id, options.recipe, form)
                self._send_layer(blob)
                sent[diff_id] = blob

            return task

        tasks = [send_layer(diff_id) for diff_id in dict.fromkeys(diff_ids)]
        run_all([*tasks, self._send_config], _AT_ONCE, self._session.cancellation)
        layers = tuple(sent[diff_id] for diff_id in diff_ids)
        if known is None:
            known = self._outgoing.manifest(layers, form, options.annotations)
        return known, (self._outgoing.config(), *layers)

    def _send_layer(self, blob: Descriptor) -> None:
        if is_foreign(blob.media_type):
            self._session.report(BlobSkipped(digest=blob.digest, why="foreign"))
            return
        path = self._store.blob_path(blob.digest)
        self._send_blob(blob, lambda start, end: _file_pieces(path, start, end))

    def _send_config(self) -> None:
        data = self._image.document
        self._send_blob(self._outgoing.config(), lambda start, end: iter((data[start:end],)))

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


def _file_pieces(path: str, start: int, end: int) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as file:
        os.lseek(file.fileno(), start, os.SEEK_SET)
        left = end - start
        while left > 0 and (piece := file.read(min(left, _READ))):
            left -= len(piece)
            yield piece
