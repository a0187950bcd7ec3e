"""Images on their way out: as a tar, or as a directory.

The bytes are a function of the images, their names and the compressor.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from runtime.image.archives.layout import ANNOTATION_NAME, INDEX, blob_path
from runtime.image.archives.outgoing import Format, Outgoing, Parts, Together, make_parts
from runtime.image.errors import ArchiveError
from runtime.image.layer.entry import Entry, Kind
from runtime.image.layer.recipe import GZIP, Recipe
from runtime.image.layer.tar_header import BLOCK, END, encode
from runtime.image.manifest import Descriptor, Index
from runtime.image.new_file import new_file, write_all
from runtime.image.store.store import Store

_INDEX_LIMIT: Final = 64 << 20


def write_archive(
    store: Store,
    images: Sequence[Outgoing],
    out: str | int,
    *,
    recipe: Recipe = GZIP,
    format: Format = "oci",
    together: Together | None = None,
) -> tuple[Descriptor, ...]:
    """Write images as a tar; returns the descriptors of their manifests, or of their own index.

    To a path, which then holds the whole archive or what it held before; or to a descriptor, of
    which the caller throws away what was written if this fails. What the images share is written
    once. `ArchiveError` where Docker could not read what is asked for.
    """
    parts = make_parts(store, images, recipe, format, together)
    if isinstance(out, int):
        _write_tar(store, parts, out)
    else:
        with new_file(out) as fd:
            _write_tar(store, parts, fd)
    return parts.manifests if parts.top is None else (parts.top,)


def write_layout(
    store: Store,
    images: Sequence[Outgoing],
    directory: str,
    *,
    recipe: Recipe = GZIP,
    format: Format = "oci",
    together: Together | None = None,
) -> tuple[Descriptor, ...]:
    """Write images as a directory, or add them to the layout that is there.

    Names they are given are taken from the images that have them there. The index is written last,
    so on failure the layout holds what it held before. `ArchiveError` for a directory that holds
    something else.
    """
    parts = make_parts(store, images, recipe, format, together)
    blobs = os.path.join(directory, "blobs", "sha256")
    index = _merged(_read_index(directory), parts.index)
    os.makedirs(blobs, exist_ok=True)
    for layer in parts.layers:
        path = os.path.join(directory, blob_path(layer.digest))
        if not os.path.exists(path) or os.stat(path).st_size != layer.size:
            with new_file(path) as fd:
                store.copy_blob(layer.digest, layer.size, _writer(fd))
    documents = {**parts.documents, INDEX: index.to_bytes()}
    for name in sorted(documents, key=lambda name: (name == INDEX, name)):
        with new_file(os.path.join(directory, name)) as fd:
            write_all(fd, documents[name])
    return parts.manifests if parts.top is None else (parts.top,)


def _write_tar(store: Store, parts: Parts, fd: int) -> None:
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


def _members(parts: Parts) -> Iterator[tuple[str, bytes | Descriptor]]:
    members: dict[str, bytes | Descriptor] = {
        blob_path(layer.digest): layer for layer in parts.layers
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
        with open(os.path.join(directory, INDEX), "rb") as file:
            return Index.parse(file.read(_INDEX_LIMIT))
    except FileNotFoundError:
        raise ArchiveError(
            f"{directory} is no OCI image layout, and not empty",
            hint="give an empty or a new directory",
        ) from None


def _merged(old: Index, new: Index) -> Index:
    """The new index, and of the old one what has other names."""
    names = {annotation for manifest in new.manifests for annotation in manifest.annotations}
    taken = {value for name, value in names if name == ANNOTATION_NAME}
    kept = [
        manifest
        for manifest in old.manifests
        if manifest not in new.manifests
        and dict(manifest.annotations).get(ANNOTATION_NAME) not in taken
    ]
    annotations = tuple(sorted({**dict(old.annotations), **dict(new.annotations)}.items()))
    return Index(manifests=(*kept, *new.manifests), annotations=annotations)
