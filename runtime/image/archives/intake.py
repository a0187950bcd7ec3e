"""Layers from elsewhere, held to what is said of them before the store has them.

A layer's file has a digest, what is in it a diff ID (OCI image-spec, config.md, "Layer DiffID"),
and it has to be a tar that could be applied. A layer that fails any of it never gets further than
the workspace it was copied to.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runtime.image.archives.files import Section
from runtime.image.digest import DiffID, Digest
from runtime.image.errors import ArchiveError
from runtime.image.manifest import MEDIA_TYPE_LAYER, Descriptor

if TYPE_CHECKING:
    from runtime.image.layer.writer import LayerSum
    from runtime.image.store.store import Store

_START: Final = 512


class Stopped(Exception):
    """Another layer of the same image has failed: this one is not needed any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenLayer:
    """A layer that is what is said of it, in a file that the store can have."""

    layer: LayerSum
    blob: Descriptor
    path: str


def take_layer(
    section: Section,
    path: str,
    diff_id: DiffID,
    digest: Digest | None,
    what: str,
    stopped: Callable[[], bool],
) -> TakenLayer:
    """Copy a layer to a new file at `path` and hold it to its sums; it may be compressed.

    `ArchiveError` if it has another digest than `digest` or another diff ID, `LayerError` if it
    is no tar that could be applied. `what` is what errors call it.
    """
    start, actual = _copy(section, path, stopped)
    if digest is not None and actual != digest:
        raise ArchiveError(f"{what} is not what its name says: its content has {actual}")
    if actual == Digest(diff_id):
        from runtime.image.layer.tar_reader import index_tar
        from runtime.image.layer.writer import LayerSum

        layer = LayerSum(diff_id, section.size, len(index_tar(path)))
        media_type = MEDIA_TYPE_LAYER
    else:
        from runtime.image.layer.decompression import compression_suffix

        layer = _plain_sum(path, stopped)
        media_type = MEDIA_TYPE_LAYER + compression_suffix(start)
    if layer.diff_id != diff_id:
        raise ArchiveError(f"{what} is not the layer {diff_id}: its content is {layer.diff_id}")
    blob = Descriptor(media_type=media_type, digest=actual, size=section.size)
    return TakenLayer(layer=layer, blob=blob, path=path)


def keep_layer(store: Store, taken: TakenLayer) -> None:
    """Give a layer to the store: its file is moved, or dropped if the store has it."""
    if taken.blob.media_type == MEDIA_TYPE_LAYER:
        store.add_raw(taken.layer, taken.path)
    else:
        store.add_blob(taken.layer, taken.blob, taken.path)


def _copy(section: Section, path: str, stopped: Callable[[], bool]) -> tuple[bytes, Digest]:
    """Write a section to a new file; how it begins, and its digest."""
    hasher = hashlib.sha256()
    start = b""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb", buffering=0) as file:
        for chunk in section.chunks():
            if stopped():
                raise Stopped
            start = start or chunk[:_START]
            hasher.update(chunk)
            left = memoryview(chunk)
            while left:
                left = left[file.write(left) :]
    return start, Digest("sha256:" + hasher.hexdigest())


def _plain_sum(path: str, stopped: Callable[[], bool]) -> LayerSum:
    """What is in a compressed layer: read once, and as a tar."""
    from runtime.image.layer.decompression import Growth, open_decompressed
    from runtime.image.layer.hashed import Hashed
    from runtime.image.layer.tar_reader import read_tar
    from runtime.image.layer.writer import LayerSum

    with closing(open_decompressed(path, Growth())) as plain, Hashed(plain) as chunks:
        count = 0
        for _ in read_tar(_until(chunks, stopped)):
            count += 1
        for _ in _until(chunks, stopped):  # padding behind the tar's end
            pass
    return LayerSum(chunks.diff_id, chunks.size, count)


def _until(chunks: Iterator[bytes], stopped: Callable[[], bool]) -> Iterator[bytes]:
    for chunk in chunks:
        if stopped():
            raise Stopped
        yield chunk
