"""Images from registries into the store: what is there already does not travel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from runtime.image.digest import Digest
from runtime.image.errors import ImageNotFound
from runtime.image.platform import Platform
from runtime.image.reference import Reference
from runtime.image.registry.client import RepositoryClient
from runtime.image.registry.documents import image_manifest, kind, read_config, read_manifest
from runtime.image.registry.endpoints import endpoints
from runtime.image.registry.errors import ONE_SERVERS_FAULT
from runtime.image.registry.layer_fetch import fetch_layers
from runtime.image.registry.session import Session
from runtime.image.registry.transfer_events import TransferNoticed
from runtime.image.store.images import CONFIG_LIMIT
from runtime.image.store.remotes import StoredManifest
from runtime.image.store.store import Store

_T = TypeVar("_T")
_Clients = Sequence[RepositoryClient]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """An image that is in the store now.

    `digest` is what the name has in the registry: of an index, or of the image's manifest.
    `changed`: the store did not have the image before.
    """

    image_id: Digest
    digest: Digest
    changed: bool


def pull(store: Store, session: Session, name: Reference, wanted: Platform) -> Pulled:
    """Bring an image for a platform into the store.

    It gets no name there, but what the registry has under `name` is remembered. On an error
    nothing of it is there but whole layers, and what came of the others, which the next pull
    continues. `RegistryError`; `ArchiveError` for documents that make no sense.
    """
    clients: _Clients = [
        RepositoryClient(session, endpoint) for endpoint in endpoints(name, session.registries)
    ]
    trusted = not session.trust.rules(name.repository)
    unchanged = _unchanged(store, clients, name, wanted) if trusted else None
    if unchanged is not None:
        return unchanged
    clients, found = _first(clients, lambda client: client.manifest(_version(name)))
    where = clients[0].where
    clients, document = _first(clients, lambda client: image_manifest(client, found, wanted))
    if not trusted:
        from runtime.image.registry.signing import check_trusted

        check_trusted(clients, name, (found.digest, document.digest))
    manifest = read_manifest(document, where)
    clients, data = _first(
        clients,
        lambda client: client.blob(manifest.config.digest, manifest.config.size, CONFIG_LIMIT),
    )
    config = read_config(data, manifest, wanted, where)
    changed = not _has_image(store, manifest.config.digest)
    fetch_layers(store, clients, tuple(zip(config.diff_ids, manifest.layers, strict=True)))
    image_id = store.put_image(data)
    remotes = store.remotes
    remotes.put_manifest(
        image_id, StoredManifest(media_type=kind(document, where), document=document.data)
    )
    blobs = (manifest.config, *manifest.layers)
    remotes.put_places((blob.digest for blob in blobs), name.repository)
    remotes.put_digest(image_id, name.repository, found.digest)
    remotes.put_resolution(name, wanted, found.digest, image_id)
    return Pulled(image_id=image_id, digest=found.digest, changed=changed)


def _version(name: Reference) -> str:
    """What comes after the repository: the digest counts for more than the tag."""
    return name.digest or name.tag or ""


def _unchanged(store: Store, clients: _Clients, name: Reference, wanted: Platform) -> Pulled | None:
    """The image that the name gave before, if the registry still has that under it.

    Some registries count how often manifests are fetched, but not how often they are asked for.
    """
    known = store.remotes.resolution(name, wanted)
    if known is None or not _has_image(store, known.image_id):
        return None
    if name.digest is None:
        _, digest = _first(clients, lambda client: client.manifest_digest(_version(name)))
        if digest != known.digest:
            return None
    store.remotes.put_resolution(name, wanted, known.digest, known.image_id)
    return Pulled(image_id=known.image_id, digest=known.digest, changed=False)


def _has_image(store: Store, image_id: Digest) -> bool:
    """Whether an image is in the store with all its layers."""
    try:
        image = store.image(image_id)
    except ImageNotFound:
        return False
    return all(store.has_layer(diff_id) for diff_id in image.config.diff_ids)


def _first(clients: _Clients, ask: Callable[[RepositoryClient], _T]) -> tuple[_Clients, _T]:
    """The first good answer, and the clients that are asked from then on."""
    for number, client in enumerate(clients[:-1]):
        try:
            return clients[number:], ask(client)
        except ONE_SERVERS_FAULT as error:
            client.session.report(TransferNoticed(message=f"mirror passed over: {error.message}"))
    return clients[-1:], ask(clients[-1])
