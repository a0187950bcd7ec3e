"""Layers: one content, known by its diff ID, in several forms.

A tree (a directory to mount), a raw blob (the tar itself, whose digest is the diff ID) and
compressed blobs. Each is made from another when somebody asks for it, once even if several
processes ask, and is what its diff ID says or is not published.

A tree can give back the bytes of a layer only if the layer was written by this program: a foreign
tar has an order and headers of its own. So the last blob of a layer that came as a blob is kept
as long as the layer.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runtime.image.digest import DiffID, Digest
from runtime.image.errors import BlobCorrupt, BlobMissing, LayerError
from runtime.image.layer.owners import Owners
from runtime.image.manifest import MEDIA_TYPE_LAYER, Descriptor
from runtime.image.store.blobs import Blobs, unlink_if_there
from runtime.image.store.database import Database
from runtime.image.store.holds import Holds
from runtime.image.store.locks import locked
from runtime.image.store.paths import Paths, layer_lock
from runtime.image.store.remove import remove_tree
from runtime.image.store.trees import Trees

if TYPE_CHECKING:
    from runtime.image.layer.buffers import Consumer
    from runtime.image.layer.extract import Extracted
    from runtime.image.layer.recipe import Compression, Recipe
    from runtime.image.layer.view import TarForm, TreeForm, View
    from runtime.image.layer.writer import LayerSum

_CHUNK: Final = 1 << 20
_RAW: Final = "none"
"""In place of a compressor's name."""
_FOREIGN: Final = "unknown"
"""The same, of a blob that came from elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivedBlob:
    """A blob in a file of its own, whole: its digest and size have been checked."""

    path: str
    digest: Digest
    size: int
    media_type: str


class Layers:
    """The layers of a store. `new_name` gives paths for files and directories in the making."""

    def __init__(
        self,
        paths: Paths,
        database: Database,
        blobs: Blobs,
        holds: Holds,
        new_name: Callable[[], str],
        owners: Owners,
    ) -> None:
        self.owners: Final = owners
        self._paths = paths
        self._database = database
        self._blobs = blobs
        self._holds = holds
        self._new_name = new_name
        self._trees = Trees(paths, database, new_name, owners)
        self.provider: Callable[[DiffID], None] | None = None

    def has(self, diff_id: DiffID) -> bool:
        """Whether a layer is there in any form. Then it stays while we have the store open."""
        self._holds.hold(diff_id)
        return self._has_tree(diff_id) or any(self._blobs_of(diff_id))

    def add_tree(self, layer: LayerSum, tree: str) -> None:
        """Take over a directory as a layer's tree: it is moved, or dropped if we have it.

        The caller vouches for the sum, and for nobody writing to the tree any more.
        """
        self._holds.hold(layer.diff_id)
        with self._locked(layer.diff_id):
            self._trees.publish(layer.diff_id, tree, layer.size, lossy=False, exact=True)

    def add_raw(self, layer: LayerSum, path: str) -> None:
        """Take over a tar as a layer's raw blob: it is moved, or dropped if we have it."""
        self._publish_raw(layer.diff_id, path, layer.size)

    def add_blob(self, layer: LayerSum, blob: Descriptor, path: str) -> None:
        """Take over a layer's compressed tar as it came: it is moved, or dropped if we have it.

        The caller vouches for both sums. A layer without compression is `add_raw`'s.
        """
        self._blobs.publish(
            path,
            blob.digest,
            blob.size,
            media_type=blob.media_type,
            diff_id=layer.diff_id,
            compressor=_FOREIGN,
        )
        self._note_size(layer.diff_id, layer.size)

    def take(
        self, diff_id: DiffID, chunks: Iterable[bytes], arrived: Callable[[], ArrivedBlob]
    ) -> None:
        """Take over a layer that comes as a blob: `chunks` are its tar, its tree is made of them.

        `arrived` is called once they have all come and are what the diff ID says; the file it
        gives is moved, or dropped if we have it. `BlobCorrupt` if they are something else.
        """
        self._holds.hold(diff_id)
        tree, extracted = self._extracted(diff_id, chunks)
        try:
            blob = arrived()
            with self._locked(diff_id):
                self._blobs.publish(
                    blob.path,
                    blob.digest,
                    blob.size,
                    media_type=blob.media_type,
                    diff_id=diff_id,
                    compressor=_RAW if blob.digest == Digest(diff_id) else _FOREIGN,
                )
                self._publish_tree(diff_id, tree, extracted)
        except BaseException:
            remove_tree(tree)
            raise

    def blobs(self, diff_id: DiffID) -> tuple[Descriptor, ...]:
        """The layer's blobs that are there, the uncompressed one first."""
        self._holds.hold(diff_id)
        return tuple(
            Descriptor(media_type=blob.media_type, digest=blob.digest, size=blob.size)
            for blob in self._blobs_of(diff_id)
        )

    def form(self, diff_id: DiffID) -> TreeForm | TarForm:
        """The layer as it can be looked into: its tree, or else its raw blob.

        A tree that lacks what we were not allowed to make comes second. `BlobMissing` if the
        layer is not here.
        """
        from runtime.image.layer.view import TarForm, TreeForm

        self._want(diff_id)
        if self._has_tree(diff_id) and not self._trees.is_lossy(diff_id):
            return TreeForm(self._paths.tree(diff_id), self.owners)
        raw = self._paths.blob(diff_id)
        if any(blob.digest == Digest(diff_id) for blob in self._blobs_of(diff_id)):
            return TarForm(raw)
        return TreeForm(self.tree(diff_id), self.owners)

    def view(self, diff_ids: Sequence[DiffID]) -> View:
        """What the layers look like on top of each other, bottom first."""
        from runtime.image.layer.view import View

        return View([self.form(diff_id) for diff_id in diff_ids])

    def tree(self, diff_id: DiffID) -> str:
        """The path of the layer's tree, which is made from a blob if it has to be."""
        self._want(diff_id)
        if not self._trees.is_trusted(diff_id):
            with self._locked(diff_id):
                if not self._trees.check(diff_id):
                    self._materialise(diff_id)
        return self._paths.tree(diff_id)

    def blob(self, diff_id: DiffID, recipe: Recipe) -> Descriptor:
        """The layer as a blob of that recipe, which is made if it has to be.

        A blob that came from elsewhere is taken as it is, unless the recipe says otherwise; one
        that this program made is, if it was made so, or if the recipe is not particular.
        """
        from runtime.image.layer.recipe import compressor_id

        self._want(diff_id)
        compressor = compressor_id(recipe)
        found = self._find_blob(diff_id, recipe, compressor)
        if found is None:
            with self._locked(diff_id):
                found = self._find_blob(diff_id, recipe, compressor)
                if found is None:
                    found = self._make_blob(diff_id, recipe, compressor)
        return found

    def forget(self) -> None:
        """To be said before layers are removed."""
        self._trees.forget()

    def _want(self, diff_id: DiffID) -> None:
        """Hold a layer, and have it brought if it is not here and somebody can."""
        self._holds.hold(diff_id)
        if self.provider is not None and not self.has(diff_id):
            self.provider(diff_id)

    def _locked(self, diff_id: DiffID) -> AbstractContextManager[None]:
        return locked(self._paths.lock, layer_lock(diff_id))

    def _has_tree(self, diff_id: DiffID) -> bool:
        if self._trees.is_trusted(diff_id):
            return True
        if not self._trees.is_suspect(diff_id):
            return False
        with self._locked(diff_id):
            return self._trees.check(diff_id)

    def _find_blob(self, diff_id: DiffID, recipe: Recipe, compressor: str) -> Descriptor | None:
        """A blob that will do: the one the recipe would make first, others by their digests."""
        media_type = _media_type(recipe.compression)
        found = [
            blob
            for blob in self._blobs_of(diff_id)
            if blob.media_type == media_type
            and (
                blob.compressor == compressor
                or not recipe.is_particular
                or (blob.compressor == _FOREIGN and not recipe.force)
            )
        ]
        found.sort(key=lambda blob: (blob.compressor != compressor, blob.digest))
        if not found:
            return None
        return Descriptor(media_type=media_type, digest=found[0].digest, size=found[0].size)

    def _make_blob(self, diff_id: DiffID, recipe: Recipe, compressor: str) -> Descriptor:
        from runtime.image.layer.compression import compressing

        media_type = _media_type(recipe.compression)
        with self._new_file() as (path, fd):
            with compressing(fd, recipe) as made:
                size = self._feed(diff_id, made.feed)
            if media_type == MEDIA_TYPE_LAYER:
                self._publish_raw(diff_id, path, size)
            else:
                self._blobs.publish(
                    path,
                    made.digest,
                    made.size,
                    media_type=media_type,
                    diff_id=diff_id,
                    compressor=compressor,
                )
        return Descriptor(media_type=media_type, digest=made.digest, size=made.size)

    def _feed(self, diff_id: DiffID, consumer: Consumer) -> int:
        """Give the layer's tar to a consumer, and its length back.

        `BlobCorrupt` if it was not what the diff ID says: what the consumer made of it is then to
        be thrown away.
        """
        source = next(self._blobs_of(diff_id), None)
        if source is not None:
            with closing(layer_tar(self._paths, diff_id, source.digest)) as chunks:
                actual, size = _feed_chunks(chunks, consumer)
        elif self._trees.check(diff_id):
            from runtime.image.layer.pack import scan_tree
            from runtime.image.layer.writer import write_layer_to

            entries = scan_tree(self._paths.tree(diff_id), owners=self.owners)
            layer = write_layer_to(entries, consumer)
            actual, size = layer.diff_id, layer.size
        else:
            raise BlobMissing(diff_id)
        if actual != diff_id:
            raise BlobCorrupt(diff_id, actual)
        return size

    def _materialise(self, diff_id: DiffID) -> None:
        """Extract the layer; the first blob that holds what it should is taken."""
        fault: Exception = BlobMissing(diff_id)
        for source in self._blobs_of(diff_id):
            try:
                self._extract(diff_id, source.digest)
            except (BlobCorrupt, LayerError) as error:
                fault = error
            else:
                return
        raise fault

    def _extract(self, diff_id: DiffID, source: Digest) -> None:
        with closing(layer_tar(self._paths, diff_id, source)) as chunks:
            tree, extracted = self._extracted(diff_id, chunks)
        try:
            self._publish_tree(diff_id, tree, extracted)
        except BaseException:
            remove_tree(tree)
            raise

    def _extracted(self, diff_id: DiffID, chunks: Iterable[bytes]) -> tuple[str, Extracted]:
        """A new tree of a layer's tar; `BlobCorrupt` if it is not what the diff ID says."""
        from runtime.image.layer.extract import extract_layer

        tree = self._new_name()
        os.mkdir(tree)
        try:
            os.chmod(tree, 0o755)  # Becomes the mode of a container's root, whatever our umask.
            extracted = extract_layer(
                chunks, tree, skip_devices_if_forbidden=True, owners=self.owners
            )
            if extracted.diff_id != diff_id:
                raise BlobCorrupt(diff_id, extracted.diff_id)
        except BaseException:
            remove_tree(tree)
            raise
        return tree, extracted

    def _publish_tree(self, diff_id: DiffID, tree: str, extracted: Extracted) -> None:
        lossy = bool(extracted.skipped_devices or extracted.skipped_xattrs)
        self._trees.publish(diff_id, tree, extracted.size, lossy=lossy, exact=False)

    def _publish_raw(self, diff_id: DiffID, path: str, size: int) -> None:
        self._blobs.publish(
            path,
            Digest(diff_id),
            size,
            media_type=MEDIA_TYPE_LAYER,
            diff_id=diff_id,
            compressor=_RAW,
        )
        self._note_size(diff_id, size)

    def _note_size(self, diff_id: DiffID, size: int) -> None:
        self._database.execute(
            "INSERT OR IGNORE INTO layers (diff_id, size) VALUES (?, ?)", (diff_id, size)
        )

    def _blobs_of(self, diff_id: DiffID) -> Iterator[_LayerBlob]:
        """The layer's blobs, the raw one first, those that are there in full."""
        rows = self._database.rows(
            "SELECT digest, size, media_type, compressor FROM blobs WHERE diff_id = ?"
            " ORDER BY digest != diff_id, digest",
            (diff_id,),
        )
        for digest, size, media_type, compressor in rows:
            assert isinstance(size, int)
            blob = _LayerBlob(Digest(str(digest)), size, str(media_type), str(compressor))
            if self._blobs.has(blob.digest, blob.size):
                yield blob

    @contextmanager
    def _new_file(self) -> Iterator[tuple[str, int]]:
        """A file in the making, open for writing; removed unless it was moved away."""
        path = self._new_name()
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            yield path, fd
        finally:
            os.close(fd)
            unlink_if_there(path)


@dataclass(frozen=True, slots=True)
class _LayerBlob:
    digest: Digest
    size: int
    media_type: str
    compressor: str


def layer_tar(paths: Paths, diff_id: DiffID, source: Digest) -> Generator[bytes, None, None]:
    """A layer's tar out of one of its blobs, unchecked."""
    if source == Digest(diff_id):
        # Never asked what it looks like: a tar begins with a name, which can be anything.
        return _chunks(paths.blob(source))
    from runtime.image.layer.decompression import open_decompressed

    return open_decompressed(paths.blob(source))


def _media_type(compression: Compression) -> str:
    from runtime.image.layer.recipe import Compression

    match compression:
        case Compression.GZIP:
            return MEDIA_TYPE_LAYER + "+gzip"
        case Compression.ZSTD:
            return MEDIA_TYPE_LAYER + "+zstd"
        case Compression.UNCOMPRESSED:
            return MEDIA_TYPE_LAYER


def _feed_chunks(chunks: Iterable[bytes], consumer: Consumer) -> tuple[DiffID, int]:
    from runtime.image.layer.buffers import Fanout

    hasher = hashlib.sha256()
    with Fanout(hasher.update, consumer) as out:
        for chunk in chunks:
            out.put(chunk)
    return DiffID("sha256:" + hasher.hexdigest()), out.size


def _chunks(path: str) -> Generator[bytes, None, None]:
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            yield chunk
