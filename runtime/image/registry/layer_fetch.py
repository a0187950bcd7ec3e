"""Layers from a registry into the store, several at once.

A layer's tree is made while its blob still comes in; both are in the store only once the blob
has the digest that the manifest gives it, and its tar the one that the config gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import Final

from runtime.image.digest import DiffID, Digest
from runtime.image.errors import BlobCorrupt, LayerError
from runtime.image.layer.decompression import Growth, compression_suffix, open_decompressed
from runtime.image.manifest import MEDIA_TYPE_LAYER, Descriptor
from runtime.image.registry.client import RepositoryClient
from runtime.image.registry.download import WrongContent, download
from runtime.image.registry.errors import InvalidAnswer, NotFound, UnsupportedImage
from runtime.image.registry.media_types import is_foreign
from runtime.image.registry.transfer_events import BlobFinished, BlobSkipped
from runtime.image.registry.workers import background, run_all
from runtime.image.store.layers import ArrivedBlob
from runtime.image.store.partial import PartialBlob
from runtime.image.store.store import Store

_AT_ONCE: Final = 4
_HEAD: Final = 512
"""Bytes that tell how a layer is compressed."""
_GRACE_SECONDS: Final = 3.0


def fetch_layers(
    store: Store,
    clients: Sequence[RepositoryClient],
    layers: Sequence[tuple[DiffID, Descriptor]],
) -> None:
    """Bring those layers that the store lacks; the clients are asked in turn."""
    session = clients[0].session
    wanted: dict[DiffID, Descriptor] = {}
    for diff_id, blob in layers:
        if store.has_layer(diff_id):
            session.report(BlobSkipped(digest=blob.digest, why="exists"))
        else:
            wanted.setdefault(diff_id, blob)
    tasks = [partial(_fetch, store, clients, *layer) for layer in wanted.items()]
    run_all(tasks, _AT_ONCE, session.cancellation)


def _fetch(
    store: Store, clients: Sequence[RepositoryClient], diff_id: DiffID, blob: Descriptor
) -> None:
    session = clients[0].session
    with store.partial_blob(blob.digest, session.cancellation.pause) as arriving:
        if store.has_layer(diff_id):  # Another process has brought it meanwhile.
            arriving.discard()
            session.report(BlobSkipped(digest=blob.digest, why="exists"))
            return
        while True:
            # Old bytes may be to blame, or a mirror: then everything comes anew, from the source.
            once_more = arriving.size > 0 or len(clients) > 1
            try:
                _take(store, clients, diff_id, blob, arriving)
                break
            except WrongContent:
                if not once_more:
                    arriving.discard()
                    raise
            except NotFound as error:
                if is_foreign(blob.media_type):
                    raise _foreign(clients[-1].where, blob) from error
                raise
            arriving.start_again()
            clients = clients[-1:]
    session.report(BlobFinished(digest=blob.digest))


def _take(
    store: Store,
    clients: Sequence[RepositoryClient],
    diff_id: DiffID,
    blob: Descriptor,
    arriving: PartialBlob,
) -> None:
    """Download and extract at the same time."""
    cancellation, where = clients[0].session.cancellation, clients[-1].where
    failures: list[BaseException] = []

    def bring() -> None:
        try:
            download(clients, blob, arriving)
        except BaseException as error:
            failures.append(error)
            arriving.end(error)
        else:
            arriving.end()

    def arrived() -> ArrivedBlob:
        thread.join()
        if failures:
            raise failures[0]
        cancellation.check()
        return ArrivedBlob(
            path=arriving.path,
            digest=blob.digest,
            size=blob.size,
            media_type=_media_type(arriving.head(_HEAD), blob.digest, diff_id, where),
        )

    thread = background(bring)
    try:
        with closing(open_decompressed(arriving.reader(cancellation.check), Growth())) as chunks:
            store.take_layer(diff_id, chunks, arrived)
    except (LayerError, BlobCorrupt) as error:
        thread.join()  # If the bytes are the wrong ones, it is that which is to be told.
        if failures:
            raise failures[0] from error
        arriving.discard()
        raise InvalidAnswer(where, f"the layer {blob.digest}: {error.message}") from error
    except BaseException:
        if not failures:
            cancellation.cancel()
        raise
    finally:
        thread.join(_GRACE_SECONDS)


def _media_type(head: bytes, digest: Digest, diff_id: DiffID, where: str) -> str:
    """What the blob is, by its content: manifests have been seen to be wrong."""
    if digest == Digest(diff_id):
        return MEDIA_TYPE_LAYER
    suffix = compression_suffix(head)
    if suffix not in ("+gzip", "+zstd"):
        raise InvalidAnswer(where, f"the layer {digest} is compressed as no image's layers are")
    return MEDIA_TYPE_LAYER + suffix


def _foreign(where: str, blob: Descriptor) -> UnsupportedImage:
    return UnsupportedImage(
        where,
        f"its layer {blob.digest} is a foreign one, which the registry does not keep",
        hint="such layers belong to images for Windows; they are not fetched from elsewhere",
    )
