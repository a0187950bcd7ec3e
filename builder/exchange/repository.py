"""A cache in a registry: a manifest under a name, and blobs that travel only if they have to."""

from __future__ import annotations

from builder.exchange.format import Content
from runtime.image.digest import DiffID
from runtime.image.manifest import Descriptor
from runtime.image.platform import default_platform
from runtime.image.reference import Reference
from runtime.image.registry.client import Document, RepositoryClient
from runtime.image.registry.documents import image_manifest
from runtime.image.registry.endpoints import endpoint
from runtime.image.registry.layer_fetch import fetch_layers
from runtime.image.registry.session import Session
from runtime.image.registry.transfer_events import BlobFinished
from runtime.image.registry.upload import Remembered, upload
from runtime.image.store.store import Store


class RepositoryTarget:
    """A name in a registry that a cache is sent to."""

    def __init__(self, session: Session, reference: Reference) -> None:
        self.name = f"type=registry,ref={reference}"
        self._tag = reference.tag or ""
        self._client = _client(session, reference)

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the repository has a blob."""
        return self._client.has_blob(descriptor.digest)

    def put(self, descriptor: Descriptor, content: Content) -> None:
        """Send a blob; the registry checks its digest."""
        upload(self._client, descriptor, content, remembered=Remembered())
        self._client.session.report(BlobFinished(digest=descriptor.digest))

    def finish(self, descriptor: Descriptor, manifest: bytes) -> None:
        """Send the manifest, under the name."""
        document = Document(
            media_type=descriptor.media_type, data=manifest, digest=descriptor.digest
        )
        self._client.put_manifest(self._tag or descriptor.digest, document)


class RepositorySource:
    """A name in a registry that a cache is read from: a cache, or an image with records."""

    def __init__(self, session: Session, reference: Reference) -> None:
        self.name = f"type=registry,ref={reference}"
        self._version = reference.digest or reference.tag or ""
        self._client = _client(session, reference)

    def manifest(self) -> bytes:
        """The manifest of the name; of several platforms, this machine's."""
        found = self._client.manifest(self._version)
        return image_manifest(self._client, found, default_platform()).data

    def document(self, descriptor: Descriptor) -> bytes:
        """A small blob, which is what its digest says."""
        return self._client.blob(descriptor.digest, descriptor.size, descriptor.size)

    def fetch(self, store: Store, diff_id: DiffID, descriptor: Descriptor) -> None:
        """Bring a layer into the store; what was cut off is continued."""
        fetch_layers(store, (self._client,), ((diff_id, descriptor),))


def _client(session: Session, reference: Reference) -> RepositoryClient:
    place = endpoint(reference.domain, reference.path, session.registries)
    return RepositoryClient(session, place)
