"""What is said of an image at a registry: manifests that name it as their subject.

Registries list them (OCI distribution-spec, "Listing Referrers"); for those that do not, whoever
pushes one keeps a list under a tag that is made of the subject's digest ("Referrers Tag Schema").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Final

from runtime.image.attestations import Attached
from runtime.image.digest import Digest, encoded, sha256
from runtime.image.manifest import MEDIA_TYPE_INDEX, Descriptor, Index
from runtime.image.reference import Reference
from runtime.image.registry.client import MANIFEST_LIMIT, Document, RepositoryClient
from runtime.image.registry.endpoints import endpoint
from runtime.image.registry.errors import InvalidAnswer, NotFound
from runtime.image.registry.session import Session
from runtime.image.registry.transport import read_bounded
from runtime.image.registry.upload import Remembered, upload

_BLOB: Final = "application/octet-stream"
_MOST_PAGES: Final = 100
_NEXT: Final = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')


def push_referrers(
    session: Session, name: Reference, subject: Descriptor, attached: Sequence[Attached]
) -> None:
    """Send manifests that speak of one that the registry has; `RegistryError`.

    What it has of them already does not travel.
    """
    client = _client(session, name)
    for each in attached:
        manifest, *blobs = each.documents
        for data in blobs:
            _send(client, data)
        digest = each.descriptor.digest
        client.put_manifest(digest, _document(each.descriptor.media_type, manifest))
    if attached and _listed(client, subject.digest) is None:
        _keep_list(client, subject.digest, [each.descriptor for each in attached])


def list_referrers(session: Session, name: Reference) -> tuple[Descriptor, ...]:
    """The manifests that speak of an image; `NotFound` if there is no such image."""
    client = _client(session, name)
    digest = name.digest or client.manifest(name.tag or "").digest
    found = _listed(client, digest)
    return _kept_list(client, digest).manifests if found is None else found


def _send(client: RepositoryClient, data: bytes) -> None:
    blob = Descriptor(media_type=_BLOB, digest=sha256(data), size=len(data))
    upload(client, blob, lambda start, end: iter((data[start:end],)), remembered=Remembered())


def _client(session: Session, name: Reference) -> RepositoryClient:
    return RepositoryClient(session, endpoint(name.domain, name.path, session.registries))


def _document(media_type: str, data: bytes) -> Document:
    return Document(media_type=media_type, data=data, digest=sha256(data))


def _listed(client: RepositoryClient, subject: Digest) -> tuple[Descriptor, ...] | None:
    """What the registry lists; `None` if it keeps no such lists."""
    found: list[Descriptor] = []
    address = f"{client.endpoint.path}/referrers/{subject}"
    for _ in range(_MOST_PAGES):
        page = client.session.retried(partial(_page, client, address))
        if page is None:
            return None
        index, address = page
        found += index.manifests
        if not address:
            return tuple(found)
    raise InvalidAnswer(client.where, f"its list of referrers has more than {_MOST_PAGES} pages")


def _page(client: RepositoryClient, address: str) -> tuple[Index, str] | None:
    try:
        with client.request("GET", address, headers={"Accept": MEDIA_TYPE_INDEX}) as response:
            data = read_bounded(response, MANIFEST_LIMIT, client.where, "the list of referrers")
            link = _NEXT.search(response.headers.get("Link", ""))
    except NotFound:
        return None
    return Index.parse(data), link[1] if link else ""


def _tag(subject: Digest) -> str:
    return f"sha256-{encoded(subject)}"


def _kept_list(client: RepositoryClient, subject: Digest) -> Index:
    try:
        return Index.parse(client.manifest(_tag(subject)).data)
    except NotFound:
        return Index(manifests=())


def _keep_list(client: RepositoryClient, subject: Digest, new: Sequence[Descriptor]) -> None:
    """Add to the list under the subject's tag."""
    old = _kept_list(client, subject).manifests
    digests = {each.digest for each in new}
    manifests = (*(each for each in old if each.digest not in digests), *new)
    if manifests != old:
        data = Index(manifests=manifests).to_bytes()
        client.put_manifest(_tag(subject), _document(MEDIA_TYPE_INDEX, data))
