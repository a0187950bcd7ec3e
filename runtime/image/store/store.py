"""The store: images, layers and the build cache's memory in one directory.

Any number of processes and threads use one store at the same time. A process that is killed leaves
a sound store: everything is made aside and renamed into place, rows follow files, and what was
being made is removed by whoever opens the store next.

What an open store has looked for it holds (`runtime.image.store.holds`): no other process removes
it until the store is closed, while everything else can go at any time. A container holds a lease
on its layers, with or without a process that has the store open.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from runtime.image.digest import DiffID, Digest
from runtime.image.errors import StoreError
from runtime.image.layer.owners import KERNEL_OWNERS, Owners
from runtime.image.model import ImageConfig
from runtime.image.reference import Reference
from runtime.image.store.blobs import Blobs
from runtime.image.store.builds import Builds
from runtime.image.store.caches import CACHE_MEMO, cache_directory
from runtime.image.store.collect import collect
from runtime.image.store.creation import create
from runtime.image.store.database import Database
from runtime.image.store.holds import Holds
from runtime.image.store.images import Image, Images
from runtime.image.store.layers import ArrivedBlob, Layers
from runtime.image.store.lists import Lists
from runtime.image.store.locks import LockFile
from runtime.image.store.partial import PartialBlob, partial_blob, sweep_partial
from runtime.image.store.parts import Parts
from runtime.image.store.paths import LOCK_CREATION, LOCK_USE, Paths
from runtime.image.store.records import Record, Records
from runtime.image.store.remotes import Remotes
from runtime.image.store.remove import remove_tree
from runtime.image.store.replays import Remembered, put_remembered
from runtime.image.store.statements import Statements
from runtime.image.store.workspace import Workspace, sweep, workspace

if TYPE_CHECKING:
    from runtime.image.layer.recipe import Recipe
    from runtime.image.layer.view import TarForm, TreeForm, View
    from runtime.image.layer.writer import LayerSum
    from runtime.image.manifest import Descriptor

__all__ = ["Image", "Record", "Removed", "Store", "open_store"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What a removal took away.

    `postponed`: layers that nothing refers to are still there, for another process uses them.
    """

    untagged: tuple[Reference, ...] = ()
    images: tuple[Digest, ...] = ()
    layers: tuple[DiffID, ...] = ()
    bytes: int = 0
    postponed: bool = False


@contextmanager
def open_store(root: str, owners: Owners = KERNEL_OWNERS) -> Iterator[Store]:
    """The store at `root`, which is created if there is nothing; closed afterwards."""
    with Store(root, owners) as store:
        yield store


class Store:
    """An open store. Close it, or use it as a context manager; safe to share between threads."""

    def __init__(self, root: str, owners: Owners = KERNEL_OWNERS) -> None:
        """`StoreError` for one whose files have their owners in another way than `owners`."""
        self.root = os.path.abspath(root)
        self.owners: Final = owners
        self._paths = Paths(self.root)
        self._space: Workspace | None = None
        self._failed = False
        self._space_lock = threading.Lock()
        create(self._paths, owners)
        self._use = LockFile(self._paths.lock)
        self._database = Database(self._paths.database, self._paths.lock, LOCK_CREATION)
        self._holds = holds = Holds(self._use)
        self._blobs = Blobs(self._paths, self._database, holds, self._new_name)
        self._layers = Layers(
            self._paths, self._database, self._blobs, holds, self._new_name, owners
        )
        self._images = Images(self._database, holds, self._layers.has)
        self._records = Records(self._database, holds, self._layers.has)
        self.remotes = Remotes(self._database)
        self.builds = Builds(self._database)
        self.statements = Statements(self._database)
        self.lists = Lists(self._database)
        try:
            self._use.share(LOCK_USE)
            # A process was killed; it may have left more than that. So may we, if we are killed
            # too: our own workspace then calls for a collection.
            if sweep(self._paths.work, self._new_name):
                self._collect_if_possible()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self.close(failed=_is_from_below(error))

    def close(self, *, failed: bool = False) -> None:
        """Let go of everything; what was only ours is removed.

        `failed`: a file or a row could not be written, so there may be one without the other. An
        empty workspace then calls for a collection.
        """
        try:
            failed = failed or self._failed
            if failed:
                with suppress(OSError):
                    self._new_name()
            if self._space is not None:
                self._space.close(leave=failed)
                self._space = None
        finally:
            self._database.close()
            self._use.close()

    @property
    def parts(self) -> Parts:
        """The insides, for `runtime.image.store.usage`, `.fsck` and `.prune`."""
        return Parts(
            paths=self._paths,
            database=self._database,
            layers=self._layers,
            holds=self._holds,
            new_name=self._new_name,
        )

    @contextmanager
    def workspace(self) -> Iterator[str]:
        """A new private directory on the store's file system, removed afterwards."""
        with workspace(self._paths.work) as space:
            yield space.path

    @contextmanager
    def cache_directory(self, name: str, cache_id: str, sharing: str) -> Iterator[str]:
        """The directory of a cache mount (`runtime.image.store.caches`), which may not exist."""
        if self.get_memo(CACHE_MEMO, name) is None:
            self.put_memo(CACHE_MEMO, name, cache_id.encode("utf-8", "surrogateescape"))
        with cache_directory(self._paths.caches, name, sharing) as path:
            yield path

    # Layers: see `runtime.image.store.layers`.

    @contextmanager
    def providing(self, provider: Callable[[DiffID], None]) -> Iterator[None]:
        """Meanwhile a layer that is asked for and not here is `provider`'s to bring, if it can."""
        self._layers.provider = provider
        try:
            yield
        finally:
            self._layers.provider = None

    def has_layer(self, diff_id: DiffID) -> bool:
        return self._layers.has(diff_id)

    def add_tree(self, layer: LayerSum, tree: str) -> None:
        self._layers.add_tree(layer, tree)

    def add_raw(self, layer: LayerSum, path: str) -> None:
        self._layers.add_raw(layer, path)

    def add_blob(self, layer: LayerSum, blob: Descriptor, path: str) -> None:
        self._layers.add_blob(layer, blob, path)

    def take_layer(
        self, diff_id: DiffID, chunks: Iterable[bytes], arrived: Callable[[], ArrivedBlob]
    ) -> None:
        self._layers.take(diff_id, chunks, arrived)

    def layer_blobs(self, diff_id: DiffID) -> tuple[Descriptor, ...]:
        return self._layers.blobs(diff_id)

    def form(self, diff_id: DiffID) -> TreeForm | TarForm:
        return self._layers.form(diff_id)

    def view(self, diff_ids: Sequence[DiffID]) -> View:
        return self._layers.view(diff_ids)

    def tree(self, diff_id: DiffID) -> str:
        return self._layers.tree(diff_id)

    def blob(self, diff_id: DiffID, recipe: Recipe) -> Descriptor:
        return self._layers.blob(diff_id, recipe)

    # Blobs: see `runtime.image.store.blobs`.

    def blob_path(self, digest: Digest) -> str:
        return self._blobs.path(digest)

    def put_blob(self, data: bytes, media_type: str = "") -> Digest:
        return self._blobs.put(data, media_type)

    def read_blob(self, digest: Digest, limit: int) -> bytes:
        return self._blobs.read(digest, limit)

    def copy_blob(self, digest: Digest, size: int, write: Callable[[bytes], object]) -> None:
        self._blobs.copy(digest, size, write)

    def partial_blob(
        self, digest: Digest, pause: Callable[[float], None]
    ) -> AbstractContextManager[PartialBlob]:
        """What has come of a blob: see `runtime.image.store.partial`."""
        sweep_partial(self._paths.partial)
        return partial_blob(self._paths.partial, digest, pause)

    # Images: see `runtime.image.store.images`.

    def put_image(self, config: ImageConfig | bytes) -> Digest:
        return self._images.put(config)

    def image(self, name_or_id: str) -> Image:
        return self._images.get(name_or_id)

    def images(self) -> list[Image]:
        return self._images.all()

    def tag(self, name: Reference, image_id: Digest) -> None:
        self._images.tag(name, image_id)

    def remove_image(self, name_or_id: str, *, force: bool = False) -> Removed:
        """Remove a name, and with its last name the image and the layers that were only its own.

        By ID, the image goes with its name; `ImageReferenced` if it has several, unless forced.
        Not while other threads of this process use the store.
        """
        self._new_name()  # If we are killed, this is what calls for a collection.
        untagged = self._images.untag(name_or_id, force=force)
        if untagged.image is None:
            return Removed(untagged=untagged.names)
        collected = self._collect(untagged.layers)
        return Removed(
            untagged=untagged.names,
            images=(untagged.image,),
            layers=collected.layers,
            bytes=collected.bytes,
            postponed=collected.postponed,
        )

    def collect(self) -> Removed:
        """Remove all layers and blobs that nothing refers to and no other process uses.

        Not while other threads of this process use the store.
        """
        self._new_name()
        return self._collect(None)

    # What keeps layers that no image has.

    def lease(self, owner: str, diff_ids: Sequence[DiffID]) -> None:
        """Keep layers until `owner` lets them go, whatever becomes of processes and images."""
        self._holds.hold(*diff_ids)
        with self._database.transaction():
            for diff_id in diff_ids:
                self._database.execute(
                    "INSERT OR IGNORE INTO leases VALUES (?, ?)", (owner, diff_id)
                )

    def release(self, owner: str) -> None:
        """Let go of what `owner` keeps."""
        self._database.execute("DELETE FROM leases WHERE owner = ?", (owner,))

    # Records: see `runtime.image.store.records`.

    def record(self, key: str) -> Record | None:
        return self._records.record(key)

    def put_record(
        self,
        key: str,
        kind: str,
        components: Mapping[str, str],
        diff_id: DiffID,
        seconds: float = 0,
    ) -> None:
        self._records.put_record(key, kind, components, diff_id, seconds)

    def get_memo(self, kind: str, key: str) -> bytes | None:
        return self._records.get_memo(kind, key)

    def put_memo(self, kind: str, key: str, value: bytes) -> None:
        self._records.put_memo(kind, key, value)

    def drop_memo(self, kind: str, key: str) -> None:
        self._records.drop_memo(kind, key)

    def remember(self, build: Remembered) -> None:
        put_remembered(self._database, build)

    def _new_name(self) -> str:
        with self._space_lock:
            if self._space is None:
                self._space = Workspace(self._paths.work)
            return self._space.new_name()

    def _collect_if_possible(self) -> None:
        """What a store on a full disk must not fail to be opened for; then a later one does it."""
        try:
            self._collect(None)
        except (OSError, StoreError):
            self._failed = True

    def _collect(self, only: Sequence[DiffID] | None) -> Removed:
        self._layers.forget()
        collected = collect(self._paths, self._database, self._holds, self._new_name, only)
        _remove_all(collected.trash)
        return Removed(
            layers=collected.layers, bytes=collected.bytes, postponed=collected.postponed
        )


def _is_from_below(error: BaseException | None) -> bool:
    """Whether the disk or the database is the cause of an error."""
    while error is not None:
        if isinstance(error, OSError | StoreError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _remove_all(trees: Sequence[str]) -> None:
    """Remove trees that are already out of the way; what cannot be removed, a sweep will find."""
    for tree in trees:
        with suppress(OSError):
            remove_tree(tree)
