"""Caches that leave: the records of a build, and the layers that the other side lacks."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

from builder.cache.keys import component_digests
from builder.cache.layering import EMPTY_LAYER
from builder.errors import BuildError
from builder.events import Emit, Exported, Noticed
from builder.exchange.ends import open_target
from builder.exchange.format import (
    INLINE,
    MOST_TEXT,
    BlobTarget,
    CacheContent,
    CacheRecord,
    inline_annotation,
    write_cache,
)
from builder.exchange.options import CacheTo, FolderTo, InlineTo
from builder.exchange.session import Exchange, LayerUnusable
from builder.fetching import OpenSession
from runtime.image.digest import DiffID, Digest
from runtime.image.errors import ImageError
from runtime.image.layer.recipe import Compression, Recipe
from runtime.image.manifest import Descriptor
from runtime.image.store.store import Store

_CHUNK = 1 << 20
_AT_ONCE = 4


class CacheNotExported(BuildError):
    """A cache that could not be written; the image is there all the same."""


def export_caches(
    exchange: Exchange,
    wanted: Sequence[CacheTo],
    image: Sequence[DiffID],
    sessions: OpenSession | None,
    emit: Emit,
) -> None:
    """Write what the build knows to every place that is wanted; `image` are the result's layers.

    `CacheNotExported`, unless the place says that errors do not matter.
    """
    for each in wanted:
        if isinstance(each, InlineTo):
            continue  # It has gone with the image.
        began = time.monotonic()
        where = each.directory if isinstance(each, FolderTo) else str(each.reference)
        try:
            with ExitStack() as stack:
                target = open_target(each, sessions, stack)
                kept = None if each.mode == "max" else frozenset(image)
                export_cache(exchange, target, kept, Recipe(Compression[each.compression.upper()]))
        except (ImageError, LayerUnusable, OSError) as error:
            why = str(error)
            if not each.ignore_error:
                raise CacheNotExported(
                    f"cannot write the cache to {where}: {why}",
                    hint="the image is built; ignore-error=true makes this a warning",
                ) from error
            emit(Noticed(message=f"the cache is not written to {where}: {why}"))
        else:
            seconds = time.monotonic() - began
            emit(Exported(what=f"writing the cache to {where}", seconds=seconds))


def with_inline(
    exchange: Exchange, wanted: Sequence[CacheTo], emit: Emit
) -> tuple[tuple[str, str], ...]:
    """What the image's manifest says of the build, if that is wanted."""
    if not any(isinstance(each, InlineTo) for each in wanted):
        return ()
    text = inline_annotation(_records(exchange))
    if text is None:
        emit(Noticed(message="the image gets no inline cache: there is too much to tell"))
        return ()
    return ((INLINE, text),)


def export_cache(
    exchange: Exchange,
    target: BlobTarget,
    kept: frozenset[DiffID] | None,
    recipe: Recipe,
) -> Descriptor:
    """Write the build's records and the layers they name, of `kept` only where that is given.

    The blobs that the target has are not sent, nor fetched from where they came.
    """
    records = tuple(_records(exchange))
    # Sorted, as stages end in any order: what has not changed is the same cache.
    needed = sorted({record.diff_id for record in records} - {EMPTY_LAYER})
    wanted = [diff_id for diff_id in needed if kept is None or diff_id in kept]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        sent = pool.map(lambda each: _send(exchange, target, each, recipe), wanted)
        found = dict(zip(wanted, sent, strict=True))
    layers = {diff_id: blob for diff_id, blob in found.items() if blob is not None}
    return write_cache(target, CacheContent(records=records, layers=layers))


def _send(
    exchange: Exchange, target: BlobTarget, diff_id: DiffID, recipe: Recipe
) -> Descriptor | None:
    """Have a layer's blob at the target; `None` for a layer that another cache knows and lacks."""
    store = exchange.store
    if not store.has_layer(diff_id):
        blob = exchange.blob(diff_id)
        if blob is None:
            return None
        if target.has(blob):
            return blob
    blob = store.blob(diff_id, recipe)
    if not target.has(blob):
        target.put(blob, partial(_chunks, store, blob.digest))
    return blob


def _chunks(store: Store, digest: Digest, start: int, end: int) -> Iterator[bytes]:
    fd = os.open(store.blob_path(digest), os.O_RDONLY | os.O_CLOEXEC)
    with open(fd, "rb", buffering=0) as file:
        file.seek(start)
        while start < end and (chunk := file.read(min(_CHUNK, end - start))):
            start += len(chunk)
            yield chunk


def _records(exchange: Exchange) -> Iterator[CacheRecord]:
    seen: set[str] = set()
    for made in exchange.steps():
        for key in made.keys:
            if key.digest not in seen:
                seen.add(key.digest)
                known = exchange.store.record(key.digest)
                yield CacheRecord(
                    key=key.digest,
                    kind=key.kind,
                    diff_id=made.diff_id,
                    text=made.text[:MOST_TEXT],
                    components=tuple(sorted(component_digests(key.components).items())),
                    created=known.created if known is not None else int(time.time()),
                )
