"""Several images under one name: an index, each of whose images is for a platform of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from runtime.image.digest import sha256
from runtime.image.manifest import MEDIA_TYPE_INDEX, Annotations, Descriptor, Index
from runtime.image.reference import Reference
from runtime.image.registry.client import Document, RepositoryClient
from runtime.image.registry.endpoints import endpoint
from runtime.image.registry.outgoing import OutgoingImage
from runtime.image.registry.push import PushOptions, push
from runtime.image.registry.session import Session
from runtime.image.store.images import Image
from runtime.image.store.remotes import StoredManifest
from runtime.image.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexOptions:
    """How images are sent under one name: `of` says it of each, in the images' order.

    `descriptors` are annotations of their descriptors in the index. `by_digest`: the index gets
    no tag. `sent` is told of each image's manifest when it is there.
    """

    of: Sequence[PushOptions]
    descriptors: Sequence[Annotations]
    annotations: Annotations = ()
    by_digest: bool = False
    sent: Callable[[Session, Image, Descriptor], None] = lambda *_: None


def push_index(
    store: Store,
    session: Session,
    images: Sequence[Image],
    name: Reference,
    options: IndexOptions | None = None,
) -> Descriptor:
    """Send images to a repository and give their index the name; the index's descriptor.

    The images come first, under their digests: on an error the name means what it did before.
    """
    if options is None:
        options = IndexOptions(of=[PushOptions()] * len(images), descriptors=[()] * len(images))
    manifests: list[Descriptor] = []
    for image, wanted, said in zip(images, options.of, options.descriptors, strict=True):
        manifest = push(store, session, image, name, replace(wanted, by_digest=True))
        options.sent(session, image, manifest)
        manifests.append(replace(manifest, annotations=said))
    data = Index(manifests=tuple(manifests), annotations=options.annotations).to_bytes()
    document = Document(media_type=MEDIA_TYPE_INDEX, data=data, digest=sha256(data))
    place = endpoint(name.domain, name.path, session.registries)
    tag = document.digest if options.by_digest else name.tag or ""
    RepositoryClient(session, place).put_manifest(tag, document)
    for image in images:
        store.remotes.put_digest(image.id, name.repository, document.digest)
    return Descriptor(media_type=MEDIA_TYPE_INDEX, digest=document.digest, size=len(data))


def local_index(store: Store, images: Sequence[Image]) -> Index:
    """The index that pushing these images gives; their layers have blobs afterwards."""
    return Index(manifests=tuple(_described(store, image) for image in images))


def _described(store: Store, image: Image) -> Descriptor:
    outgoing = OutgoingImage(store, image)
    for manifest in outgoing.known():
        if all(outgoing.is_local(diff_id, blob) for diff_id, blob in outgoing.layers(manifest)):
            break
    else:
        manifest = outgoing.manifest([outgoing.layer(d) for d in image.config.diff_ids])
        kept = StoredManifest(media_type=manifest.media_type, document=manifest.data)
        store.remotes.put_manifest(image.id, kept)
    return Descriptor(
        media_type=manifest.media_type,
        digest=manifest.digest,
        size=len(manifest.data),
        platform=image.config.platform,
    )
