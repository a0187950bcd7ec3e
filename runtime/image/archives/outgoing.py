"""Images on their way out, as documents and blobs: the one shape that everybody reads.

An OCI image layout with Docker's `manifest.json` beside it, which points at the same blobs (OCI
image-spec, image-layout.md). Several images share the blobs they have in common.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from runtime.image import json_bytes
from runtime.image.archives.layout import (
    ANNOTATION_NAME,
    ANNOTATION_TAG,
    INDEX,
    LAYOUT,
    blob_path,
)
from runtime.image.attestations import Attestation, AttestationForm, attach, image_url
from runtime.image.digest import DiffID, Digest, sha256
from runtime.image.errors import ArchiveError
from runtime.image.json_bytes import Json
from runtime.image.layer.recipe import Compression, Recipe
from runtime.image.manifest import (
    MEDIA_TYPE_CONFIG,
    MEDIA_TYPE_INDEX,
    MEDIA_TYPE_MANIFEST,
    Annotations,
    Descriptor,
    Index,
    Manifest,
)
from runtime.image.reference import Reference
from runtime.image.store.images import Image
from runtime.image.store.store import Store

Format = Literal["oci", "docker"]

_LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
_LEAST_THREADS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotated:
    """Annotations of an image's manifest, of its descriptor in the index, and of the index."""

    manifest: Annotations = ()
    descriptor: Annotations = ()
    index: Annotations = ()


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An image to be written, and the names it goes by; without one it has no tag there.

    `attestations` go with it, as manifests of their own.
    """

    image: Image
    names: Sequence[Reference] = ()
    annotations: Annotated = Annotated()
    attestations: Sequence[Attestation] = ()
    attestation_form: AttestationForm = "referrers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """That images, each for a platform of its own, go by the same names: those of their index."""

    names: Sequence[Reference] = ()
    annotations: Annotations = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an archive is made of: documents by path, and layers that are in the store.

    `manifests` are those of the images, in their order; `top` is their own index, if they have
    one.
    """

    manifests: tuple[Descriptor, ...]
    top: Descriptor | None
    index: Index
    documents: dict[str, bytes]
    layers: tuple[Descriptor, ...]


def make_parts(
    store: Store,
    images: Sequence[Outgoing],
    recipe: Recipe,
    format: Format,
    together: Together | None = None,
) -> Parts:
    """Compress what is not yet, and describe it; `ArchiveError` for what Docker could not read.

    Of images that go together Docker's `manifest.json` has the first: it can hold but one.
    """
    if format == "docker" and recipe.compression is Compression.ZSTD:
        raise ArchiveError(
            "Docker cannot load an archive whose layers are compressed with zstd",
            hint="use gzip, or an OCI archive",
        )
    layers = _compressed(store, images, recipe)
    documents = {LAYOUT: _LAYOUT}
    manifests: list[Descriptor] = []
    listed: list[Descriptor] = []
    docker: list[Json] = []
    for each in images:
        own = tuple(layers[diff_id] for diff_id in each.image.config.diff_ids)
        manifest, described = _manifest(each, own, documents, together)
        manifests.append(manifest)
        listed += described
        if together is None:
            docker.append(_docker_line(each.image.id, own, _tagged(each.names)))
        elif not docker:
            docker.append(_docker_line(each.image.id, own, _tagged(together.names)))
    index = Index(manifests=tuple(listed), annotations=_of_indexes(images, together))
    top = None
    if together is not None:
        top = _put_index(index, documents)
        index = Index(manifests=tuple(_described(top, _tagged(together.names))))
    documents[INDEX] = index.to_bytes()
    documents["manifest.json"] = json_bytes.canonical(docker)
    unique = {layer.digest: layer for layer in layers.values()}
    return Parts(
        manifests=tuple(manifests),
        top=top,
        index=index,
        documents=documents,
        layers=tuple(unique.values()),
    )


def _manifest(
    outgoing: Outgoing,
    layers: tuple[Descriptor, ...],
    documents: dict[str, bytes],
    together: Together | None,
) -> tuple[Descriptor, list[Descriptor]]:
    """Write the documents of one image; its manifest, and what the index is to list."""
    image = outgoing.image
    document = Manifest(
        config=Descriptor(media_type=MEDIA_TYPE_CONFIG, digest=image.id, size=len(image.document)),
        layers=layers,
        annotations=outgoing.annotations.manifest,
    ).to_bytes()
    manifest = Descriptor(
        media_type=MEDIA_TYPE_MANIFEST,
        digest=sha256(document),
        size=len(document),
        platform=image.config.platform,
        annotations=outgoing.annotations.descriptor,
    )
    documents[blob_path(image.id)] = image.document
    documents[blob_path(manifest.digest)] = document
    names = _tagged(outgoing.names if together is None else together.names)
    urls = [image_url(name, image.config.platform) for name in names]
    attached = attach(outgoing.attestations, manifest, urls, outgoing.attestation_form)
    for each in attached:
        documents.update({blob_path(sha256(data)): data for data in each.documents})
    beside = [each.descriptor for each in attached]
    if together is not None:
        return manifest, [manifest, *beside]
    top = manifest
    if beside and outgoing.attestation_form == "index":
        top = _put_index(Index(manifests=(manifest, *beside)), documents)
        beside = []
    return manifest, [*_described(top, names), *beside]


def _put_index(index: Index, documents: dict[str, bytes]) -> Descriptor:
    data = index.to_bytes()
    documents[blob_path(sha256(data))] = data
    return Descriptor(media_type=MEDIA_TYPE_INDEX, digest=sha256(data), size=len(data))


def _described(top: Descriptor, names: Sequence[Reference]) -> list[Descriptor]:
    """How the index at the top lists it: once under each name."""
    return [_named(top, name) for name in names] or [top]


def _tagged(names: Sequence[Reference]) -> list[Reference]:
    return [name for name in names if name.tag is not None]


def _compressed(
    store: Store, images: Sequence[Outgoing], recipe: Recipe
) -> dict[DiffID, Descriptor]:
    """The layers' blobs; those that are not there yet are made side by side."""
    from concurrent.futures import ThreadPoolExecutor

    wanted = dict.fromkeys(diff_id for each in images for diff_id in each.image.config.diff_ids)
    threads = max(_LEAST_THREADS, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(threads) as pool:
        blobs = pool.map(lambda diff_id: store.blob(diff_id, recipe), wanted)
        return dict(zip(wanted, blobs, strict=True))


def _named(descriptor: Descriptor, name: Reference) -> Descriptor:
    """The descriptor with the names that skopeo and umoci, and containerd and podman, look for."""
    names = {ANNOTATION_NAME: str(name), ANNOTATION_TAG: name.tag or ""}
    annotations = tuple(sorted({**dict(descriptor.annotations), **names}.items()))
    return replace(descriptor, annotations=annotations)


def _docker_line(
    image_id: Digest, layers: Sequence[Descriptor], names: Sequence[Reference]
) -> dict[str, Json]:
    return {
        "Config": blob_path(image_id),
        "RepoTags": [name.tagged() for name in names] or None,
        "Layers": [blob_path(layer.digest) for layer in layers],
    }


def _of_indexes(images: Sequence[Outgoing], together: Together | None) -> Annotations:
    found = dict(together.annotations) if together is not None else {}
    for each in images:
        found.update(each.annotations.index)
    return tuple(sorted(found.items()))
