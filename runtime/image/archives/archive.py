"""Images on their way out: as a tar, or as a directory.

One shape that everybody reads: an OCI image layout with Docker's `manifest.json` beside it, which
points at the same blobs (OCI image-spec, image-layout.md). Its bytes are a function of the image,
its names and the compressor.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from runtime.image import json_bytes
from runtime.image.digest import DiffID, Digest, encoded, sha256
from runtime.image.errors import ArchiveError
from runtime.image.json_bytes import Json
from runtime.image.layer.compression import Compression
from runtime.image.layer.entry import Entry, Kind
from runtime.image.layer.tar_header import BLOCK, END, encode
from runtime.image.manifest import (
    MEDIA_TYPE_CONFIG,
    MEDIA_TYPE_MANIFEST,
    Annotations,
    Descriptor,
    Index,
    Manifest,
)
from runtime.image.new_file import new_file, write_all
from runtime.image.reference import Reference
from runtime.image.store.images import Image
from runtime.image.store.store import Store

Format = Literal["oci", "docker"]

_LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
_ANNOTATION_TAG: Final = "org.opencontainers.image.ref.name"
_ANNOTATION_NAME: Final = "io.containerd.image.name"
_INDEX_LIMIT: Final = 64 << 20
_COMPRESSING_THREADS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotated:
    """Annotations of an image's manifest, of its descriptor in the index, and of the index."""

    manifest: Annotations = ()
    descriptor: Annotations = ()
    index: Annotations = ()


_UNANNOTATED: Final = Annotated()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What an archive is made of: documents by path, and blobs that are in the store."""

    manifest: Descriptor
    index: Index
    documents: dict[str, bytes]
    layers: tuple[Descriptor, ...]


def write_archive(
    store: Store,
    image: Image,
    names: Sequence[Reference],
    out: str | int,
    *,
    compression: Compression = Compression.GZIP,
    format: Format = "oci",
    annotations: Annotated = _UNANNOTATED,
) -> Descriptor:
    """Write an image as a tar; returns the descriptor of its manifest.

    To a path, which then holds the whole archive or what it held before; or to a descriptor, of
    which the caller throws away what was written if this fails. Without names the archive holds
    the image without a tag. `ArchiveError` where Docker could not read what is asked for.
    """
    parts = _parts(store, image, names, compression, format, annotations)
    if isinstance(out, int):
        _write_tar(store, parts, out)
    else:
        with new_file(out) as fd:
            _write_tar(store, parts, fd)
    return parts.manifest


def write_layout(
    store: Store,
    image: Image,
    names: Sequence[Reference],
    directory: str,
    *,
    compression: Compression = Compression.GZIP,
    format: Format = "oci",
    annotations: Annotated = _UNANNOTATED,
) -> Descriptor:
    """Write an image as a directory, or add it to the layout that is there.

    Names it is given are taken from the images that have them there. The index is written last,
    so on failure the layout holds what it held before. `ArchiveError` for a directory that holds
    something else.
    """
    parts = _parts(store, image, names, compression, format, annotations)
    blobs = os.path.join(directory, "blobs", "sha256")
    index = _merged(_read_index(directory), parts.index)
    os.makedirs(blobs, exist_ok=True)
    for layer in parts.layers:
        path = os.path.join(directory, _blob_path(layer.digest))
        if not os.path.exists(path) or os.stat(path).st_size != layer.size:
            with new_file(path) as fd:
                store.copy_blob(layer.digest, layer.size, _writer(fd))
    documents = {**parts.documents, "index.json": index.to_bytes()}
    for name in sorted(documents, key=lambda name: (name == "index.json", name)):
        with new_file(os.path.join(directory, name)) as fd:
            write_all(fd, documents[name])
    return parts.manifest


def _parts(
    store: Store,
    image: Image,
    names: Sequence[Reference],
    compression: Compression,
    format: Format,
    annotations: Annotated,
) -> _Parts:
    if format == "docker" and compression is Compression.ZSTD:
        raise ArchiveError(
            "Docker cannot load an archive whose layers are compressed with zstd",
            hint="use gzip, or an OCI archive",
        )
    layers = _compressed(store, image.config.diff_ids, compression)
    manifest = Manifest(
        config=Descriptor(media_type=MEDIA_TYPE_CONFIG, digest=image.id, size=len(image.document)),
        layers=layers,
        annotations=annotations.manifest,
    ).to_bytes()
    descriptor = Descriptor(
        media_type=MEDIA_TYPE_MANIFEST,
        digest=sha256(manifest),
        size=len(manifest),
        platform=image.config.platform,
        annotations=annotations.descriptor,
    )
    tagged = [name for name in names if name.tag is not None]
    index = Index(
        manifests=tuple(_named(descriptor, name) for name in tagged) or (descriptor,),
        annotations=annotations.index,
    )
    documents = {
        "oci-layout": _LAYOUT,
        "index.json": index.to_bytes(),
        "manifest.json": _docker_manifest(image.id, layers, tagged),
        _blob_path(image.id): image.document,
        _blob_path(descriptor.digest): manifest,
    }
    unique = {layer.digest: layer for layer in layers}
    return _Parts(
        manifest=descriptor, index=index, documents=documents, layers=tuple(unique.values())
    )


def _compressed(
    store: Store, diff_ids: Sequence[DiffID], compression: Compression
) -> tuple[Descriptor, ...]:
    """The layers' blobs; those that are not there yet are made side by side."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_COMPRESSING_THREADS) as pool:
        return tuple(pool.map(lambda diff_id: store.blob(diff_id, compression), diff_ids))


def _named(descriptor: Descriptor, name: Reference) -> Descriptor:
    """The descriptor with the names that skopeo and umoci, and containerd and podman, look for."""
    names = {_ANNOTATION_NAME: str(name), _ANNOTATION_TAG: name.tag or ""}
    annotations = tuple(sorted({**dict(descriptor.annotations), **names}.items()))
    return replace(descriptor, annotations=annotations)


def _docker_manifest(
    image_id: Digest, layers: Sequence[Descriptor], names: Sequence[Reference]
) -> bytes:
    image: dict[str, Json] = {
        "Config": _blob_path(image_id),
        "RepoTags": [name.tagged() for name in names] or None,
        "Layers": [_blob_path(layer.digest) for layer in layers],
    }
    return json_bytes.canonical([image])


def _blob_path(digest: Digest) -> str:
    return f"blobs/sha256/{encoded(digest)}"


def _write_tar(store: Store, parts: _Parts, fd: int) -> None:
    write = _writer(fd)
    # Rootless skopeo fails to make directories that are not entries.
    for path in ("blobs", "blobs/sha256"):
        write(encode(Entry(path=path.encode(), kind=Kind.DIRECTORY, mode=0o755)))
    for path, content in _members(parts):
        size = len(content) if isinstance(content, bytes) else content.size
        write(encode(Entry(path=path.encode(), kind=Kind.REGULAR, mode=0o644, size=size)))
        if isinstance(content, bytes):
            write(content)
        else:
            store.copy_blob(content.digest, size, write)
        write(bytes(-size % BLOCK))
    write(END)


def _members(parts: _Parts) -> Iterator[tuple[str, bytes | Descriptor]]:
    members: dict[str, bytes | Descriptor] = {
        _blob_path(layer.digest): layer for layer in parts.layers
    }
    members.update(parts.documents)
    for path in sorted(members):
        yield path, members[path]


def _writer(fd: int) -> Callable[[bytes], None]:
    return lambda data: write_all(fd, data)


def _read_index(directory: str) -> Index:
    """The index of the layout that is there; an empty one if there is nothing."""
    if not os.path.isdir(directory) or not os.listdir(directory):
        return Index(manifests=())
    try:
        with open(os.path.join(directory, "index.json"), "rb") as file:
            return Index.parse(file.read(_INDEX_LIMIT))
    except FileNotFoundError:
        raise ArchiveError(
            f"{directory} is no OCI image layout, and not empty",
            hint="give an empty or a new directory",
        ) from None


def _merged(old: Index, new: Index) -> Index:
    """The new index, and of the old one what has other names."""
    names = {annotation for manifest in new.manifests for annotation in manifest.annotations}
    taken = {value for name, value in names if name == _ANNOTATION_NAME}
    kept = [
        manifest
        for manifest in old.manifests
        if manifest not in new.manifests
        and dict(manifest.annotations).get(_ANNOTATION_NAME) not in taken
    ]
    annotations = tuple(sorted({**dict(old.annotations), **dict(new.annotations)}.items()))
    return Index(manifests=(*kept, *new.manifests), annotations=annotations)
