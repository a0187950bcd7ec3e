"""Caches in a build: what those that came know, and what goes into those that leave.

Where a record of an imported cache tells a step's result, its layer is not fetched: most are never
looked into. The store asks for one when it is (`provide`). Should it then not be had, the caches it
was to come from are set aside, and the build is done again without them: nothing but what is in
the store, and is what its digest says, gets into an image.

    LayerUnusable      a step's result is known, but its layer cannot be had
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from builder.cache.keys import Key, component_digests
from builder.cache.layering import EMPTY_LAYER, commit_entries
from builder.cache.work import Turns
from builder.errors import BuildError
from builder.events import Emit, Noticed
from builder.exchange.ends import open_source
from builder.exchange.format import MOST_TEXT, BlobSource, CacheContent, read_cache
from builder.exchange.options import CacheFrom
from builder.fetching import OpenSession
from runtime.image.archives.contents import MOST_DOCUMENT
from runtime.image.digest import DiffID
from runtime.image.errors import ImageError
from runtime.image.manifest import Descriptor
from runtime.image.model import ImageConfig
from runtime.image.store.store import Store

_AT_ONCE = 3
Done = TypeVar("Done")


class LayerUnusable(BuildError):
    """A step's result is known, but its layer cannot be had from the cache that knows it.

    `damaged`: not for its being left out, as it is from caches with the image's layers only.
    """

    def __init__(self, source: BlobSource, why: str, *, damaged: bool) -> None:
        super().__init__(f"the cache {source.name} {why}")
        self.source = source
        self.damaged = damaged


@dataclass(frozen=True, slots=True)
class Made:
    """A step of this build: its instruction, the keys of its result, the result."""

    text: str
    keys: tuple[Key, ...]
    diff_id: DiffID


@contextmanager
def opened_exchange(
    store: Store, chosen: Sequence[CacheFrom], sessions: OpenSession | None, emit: Emit
) -> Iterator[Exchange]:
    """The caches of a build; meanwhile the store asks them for layers. One that cannot be read is
    said to be so, and not used.
    """
    with ExitStack() as stack:
        sources = []
        for each in chosen:
            try:
                sources.append(open_source(each, sessions, stack))
            except ImageError as error:
                emit(Noticed(message=f"a cache is not used: {_why(error)}"))
        exchange = Exchange(store, sources, emit)
        with store.providing(exchange.provide):
            yield exchange


class Exchange:
    """The caches of one build. Steps ask it from several threads."""

    def __init__(self, store: Store, sources: Sequence[BlobSource], emit: Emit) -> None:
        self.store = store
        self._guard = threading.Lock()
        self._turns = Turns()
        self._hits: dict[DiffID, list[Key]] = {}
        self._made: list[Made] = []
        self._caches: list[tuple[BlobSource, CacheContent, dict[str, DiffID]]] = []
        for source in sources:
            try:
                content = read_cache(source, MOST_DOCUMENT)
            except (ImageError, OSError) as error:
                emit(Noticed(message=f"the cache {source.name} is not used: {_why(error)}"))
                continue
            known = {record.key: record.diff_id for record in content.records}
            self._caches.append((source, content, known))

    # ---- asked by steps

    def find(self, key: Key) -> tuple[DiffID, str] | None:
        """The result that an imported cache knows of a key, and the cache's name."""
        for source, _, known in self._caches:
            diff_id = known.get(key.digest)
            if diff_id is not None:
                self._note_hit(key, diff_id)
                return diff_id, source.name
        return None

    def _note_hit(self, key: Key, diff_id: DiffID) -> None:
        """What is here is remembered at once; of the others, the key is, until the layer comes."""
        if diff_id == EMPTY_LAYER:
            commit_entries(self.store, [])
        if self.store.has_layer(diff_id):
            self.store.put_record(key.digest, key.kind, key.components, diff_id)
        else:
            with self._guard:
                self._hits.setdefault(diff_id, []).append(key)

    def like(self, text: str, key: Key) -> tuple[str, dict[str, str]] | None:
        """The components' digests of the record most like a key nobody knows; and whose it is."""
        ours = component_digests(key.components)
        best: tuple[str, dict[str, str]] | None = None
        most = -1
        for source, content, _ in self._caches:
            for record in content.records:
                if record.kind == key.kind and record.text == text[:MOST_TEXT]:
                    theirs = dict(record.components)
                    equal = sum(theirs.get(name) == digest for name, digest in ours.items())
                    if equal > most:
                        best, most = (source.name, theirs), equal
        return best

    def are_here(self, diff_ids: Iterable[DiffID]) -> bool:
        """Whether the store has all of these layers."""
        return all(map(self.store.has_layer, diff_ids))

    def made(self, text: str, keys: tuple[Key, ...], diff_id: DiffID) -> None:
        """A step has this result, known before or not."""
        with self._guard:
            self._made.append(Made(text, keys, diff_id))

    # ---- layers

    def provide(self, diff_id: DiffID) -> None:
        """Fetch a layer that a hit told of; `LayerUnusable`. Any other is none of ours."""
        if diff_id not in self._hits:
            return
        with self._turns.of(diff_id):
            if self.store.has_layer(diff_id):
                return
            fault: LayerUnusable | None = None
            for source, content, known in self._caches:
                if diff_id in known.values():
                    try:
                        self._fetch(source, content.layers.get(diff_id), diff_id)
                        break
                    except LayerUnusable as error:
                        fault = fault or error
            else:
                assert fault is not None
                raise fault
            for key in self._hits[diff_id]:
                self.store.put_record(key.digest, key.kind, key.components, diff_id)

    def _fetch(self, source: BlobSource, blob: Descriptor | None, diff_id: DiffID) -> None:
        if blob is None:
            why = "does not have all layers that are needed: some steps are done again"
            raise LayerUnusable(source, why, damaged=False)
        try:
            source.fetch(self.store, diff_id, blob)
        except (ImageError, OSError) as error:
            why = f"is not used any more: {_why(error)}"
            raise LayerUnusable(source, why, damaged=True) from error

    def bring(self, diff_ids: Sequence[DiffID]) -> None:
        """Fetch those of the layers that the store lacks, several at once."""
        from concurrent.futures import ThreadPoolExecutor

        missing = [each for each in dict.fromkeys(diff_ids) if not self.store.has_layer(each)]
        if missing:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(self.provide, missing))

    def set_aside(self, fault: LayerUnusable) -> None:
        """Ask a damaged cache no more; else no cache for what it has no layer of."""
        if fault.damaged:
            self._caches = [each for each in self._caches if each[0] is not fault.source]
        else:
            for _, content, known in self._caches:
                gone = [k for k, d in known.items() if d not in content.layers and d != EMPTY_LAYER]
                for key in gone:
                    del known[key]
        self._hits = {}
        self._made = []

    # ---- asked by the build

    def executed(
        self, execute: Callable[[Exchange], tuple[Done, ImageConfig]], emit: Emit
    ) -> tuple[Done, ImageConfig]:
        """Do a build, and again without what a cache turns out to know and not to have.

        All layers of the result are in the store then.
        """
        while True:
            try:
                done, config = execute(self)
                self.bring(config.diff_ids)
                return done, config
            except LayerUnusable as error:
                emit(Noticed(message=error.message))
                self.set_aside(error)

    # ---- asked by who exports

    def steps(self) -> tuple[Made, ...]:
        """Every step of the build, with its result."""
        return tuple(self._made)

    def blob(self, diff_id: DiffID) -> Descriptor | None:
        """The blob of a layer that a hit told of, which need not be in the store."""
        for _, content, _ in self._caches:
            if diff_id in content.layers:
                return content.layers[diff_id]
        return None


def _why(error: ImageError | OSError) -> str:
    if isinstance(error, ImageError):
        return error.message
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)
