"""Signatures of images at registries, where cosign has them: under the tag `sha256-DIGEST.sig`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from runtime.image import json_bytes
from runtime.image.digest import Digest, encoded, sha256
from runtime.image.errors import InvalidReference
from runtime.image.manifest import (
    MEDIA_TYPE_CONFIG,
    MEDIA_TYPE_MANIFEST,
    Descriptor,
    Manifest,
)
from runtime.image.reference import Reference
from runtime.image.registry.client import Document, RepositoryClient
from runtime.image.registry.endpoints import endpoint
from runtime.image.registry.errors import ONE_SERVERS_FAULT, NotFound, NotTrusted
from runtime.image.registry.session import Session
from runtime.image.registry.signature_form import (
    PAYLOAD_TYPE,
    SIGNATURE,
    PrivateKey,
    PublicKey,
    claim,
    payload,
)
from runtime.image.registry.trust import Rule
from runtime.image.registry.upload import Remembered, upload

_MOST_PAYLOAD: Final = 1 << 20
_MOST_SIGNATURES: Final = 100


def push_signature(session: Session, name: Reference, digest: Digest, key: PrivateKey) -> None:
    """Sign a manifest that the registry has, beside the signatures it has; `RegistryError`."""
    client = RepositoryClient(session, endpoint(name.domain, name.path, session.registries))
    data = payload(name.repository, digest)
    layer = Descriptor(media_type=PAYLOAD_TYPE, digest=sha256(data), size=len(data))
    there = _signatures(client, digest)
    for signature in there:
        if signature.digest == layer.digest and key.has_signed(data, _text(signature)):
            return
    signed = Descriptor(
        media_type=layer.media_type,
        digest=layer.digest,
        size=layer.size,
        annotations=((SIGNATURE, key.sign(data)),),
    )
    layers = (*there, signed)
    config = _config(layers)
    for blob in (data, config):
        _send(client, blob)
    described = Descriptor(media_type=MEDIA_TYPE_CONFIG, digest=sha256(config), size=len(config))
    manifest = Manifest(config=described, layers=layers).to_bytes()
    document = Document(media_type=MEDIA_TYPE_MANIFEST, data=manifest, digest=sha256(manifest))
    client.put_manifest(_tag(digest), document)


def check_trusted(
    clients: Sequence[RepositoryClient], name: Reference, digests: Collection[Digest]
) -> None:
    """Hold an image to the rules that there are for its name; `NotTrusted`.

    `digests` are those of its manifest and of the index it was found in: either may be signed.
    """
    for rule in clients[0].session.trust.rules(name.repository):
        if rule.reject:
            raise NotTrusted(str(name), f"{rule.place} forbids to pull it")
        keys = [PublicKey(pem, path) for path, pem in rule.keys]
        if not any(_is_signed(clients, name, rule, keys, digest) for digest in digests):
            raise NotTrusted(str(name), f"no key that {rule.place} names for it has signed it")


def _is_signed(
    clients: Sequence[RepositoryClient],
    name: Reference,
    rule: Rule,
    keys: Sequence[PublicKey],
    digest: Digest,
) -> bool:
    wanted = rule.signed_as or name.repository
    for data, signature in _payloads(clients, digest):
        if any(key.has_signed(data, signature) for key in keys):
            told = claim(data)
            if told is not None and told.digest == digest and _names(told.repository, wanted):
                return True
    return False


def _payloads(clients: Sequence[RepositoryClient], digest: Digest) -> Iterator[tuple[bytes, str]]:
    """What there is in the way of signatures; mirrors that fail are passed over."""
    for number, client in enumerate(clients):
        try:
            for layer in _signatures(client, digest):
                yield client.blob(layer.digest, layer.size, _MOST_PAYLOAD), _text(layer)
        except ONE_SERVERS_FAULT:
            if number + 1 == len(clients):
                raise


def _signatures(client: RepositoryClient, digest: Digest) -> tuple[Descriptor, ...]:
    try:
        manifest = Manifest.parse(client.manifest(_tag(digest)).data)
    except NotFound:
        return ()
    found = (layer for layer in manifest.layers if layer.media_type == PAYLOAD_TYPE)
    return tuple(found)[:_MOST_SIGNATURES]


def _names(text: str, repository: str) -> bool:
    """Whether a signature's name, which may have a tag, is that of a repository."""
    try:
        return Reference.parse(text).repository == repository
    except InvalidReference:
        return False


def _text(layer: Descriptor) -> str:
    return dict(layer.annotations).get(SIGNATURE, "")


def _tag(digest: Digest) -> str:
    return f"sha256-{encoded(digest)}.sig"


def _config(layers: Sequence[Descriptor]) -> bytes:
    """The config that cosign gives to what holds signatures."""
    return json_bytes.canonical(
        {
            "architecture": "",
            "os": "",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        }
    )


def _send(client: RepositoryClient, data: bytes) -> None:
    blob = Descriptor(media_type=PAYLOAD_TYPE, digest=sha256(data), size=len(data))
    upload(client, blob, lambda start, end: iter((data[start:end],)), remembered=Remembered())
