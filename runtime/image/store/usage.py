"""What is in a store: how much of it there is, and what it is there for.

Sizes are those on the disk. A tree is measured once, when somebody asks for the first time:
it does not change.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from runtime.image.digest import DiffID, Digest
from runtime.image.store.caches import CACHE_MEMO, CacheUsage, cache_names, last_used_ns
from runtime.image.store.collect import named_in
from runtime.image.store.database import Database, Value
from runtime.image.store.measure import Amount, measure
from runtime.image.store.parts import Parts
from runtime.image.store.paths import Paths

_BLOCK: Final = 512
_MEASURED: Final = "cache mount measured"
"""The kind of the memo with what a cache took, and when it had been used then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeUsage:
    """A layer's tree. `exact` is whether it gives the layer's own bytes; `None` is unknown."""

    amount: Amount
    exact: bool | None
    lossy: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobUsage:
    """A blob and what made it; `size` is its length, `bytes` what it takes."""

    digest: Digest
    size: int
    bytes: int
    media_type: str
    compressor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordUsage:
    """A step that gave a layer. Times are in seconds since 1970, `seconds` is how long it took."""

    key: str
    kind: str
    created: int
    last_used: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerUsage:
    """A layer, its forms, and what refers to it. `size` is that of its tar."""

    diff_id: DiffID
    size: int
    tree: TreeUsage | None
    blobs: tuple[BlobUsage, ...]
    images: tuple[Digest, ...]
    records: tuple[RecordUsage, ...]
    leases: tuple[str, ...]

    @property
    def amount(self) -> Amount:
        """What all its forms take."""
        tree = self.tree.amount if self.tree is not None else Amount()
        taken = sum(blob.bytes for blob in self.blobs)
        return tree + Amount(bytes=taken, inodes=len(self.blobs))


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageUsage:
    """An image, the names it has, its layers, when it was stored or used last."""

    id: Digest
    names: tuple[str, ...]
    layers: tuple[DiffID, ...]
    last_used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LooseUsage:
    """A file or directory that belongs to no layer: its path in the store."""

    path: str
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Everything in a store but its containers.

    `loose` are blobs of no layer, `partial` beginnings of downloads, `workspaces` the directories
    of work in progress and of processes that were killed; `database` is what the database takes.
    """

    layers: tuple[LayerUsage, ...]
    images: tuple[ImageUsage, ...]
    caches: tuple[CacheUsage, ...]
    loose: tuple[LooseUsage, ...]
    partial: tuple[LooseUsage, ...]
    workspaces: tuple[LooseUsage, ...]
    database: Amount

    @property
    def unreferenced(self) -> tuple[LooseUsage, ...]:
        """The files that nothing in the database refers to."""
        return (*self.loose, *self.partial, *self.workspaces)

    @property
    def amount(self) -> Amount:
        """All of it together."""
        total = self.database
        for part in (self.layers, self.caches, self.unreferenced):
            for item in part:
                total += item.amount
        return total


def survey(parts: Parts) -> Survey:
    """Look at a whole store. Others may go on using it: then no moment was ever like this."""
    paths, database = parts.paths, parts.database
    layers = survey_layers(paths, database)
    known = {blob.digest for layer in layers for blob in layer.blobs}
    return Survey(
        layers=layers,
        images=survey_images(database),
        caches=survey_caches(parts),
        loose=tuple(
            _loose(paths, f"blobs/sha256/{name.removeprefix('sha256:')}")
            for name in sorted(named_in(paths.blobs))
            if name not in known
        ),
        partial=_loose_in(paths, "partial"),
        workspaces=_loose_in(paths, "work"),
        database=_database_amount(paths),
    )


def survey_layers(paths: Paths, database: Database) -> tuple[LayerUsage, ...]:
    """The layers that are there in any form, or referred to."""
    rows = {
        str(row[0]): row[1:]
        for row in database.rows(
            "SELECT diff_id, size, tree_lossy, tree_bytes, tree_inodes, tree_exact FROM layers"
        )
    }
    trees = set(named_in(paths.trees))
    measured = _measured(paths, database, {name: rows.get(name) for name in trees})
    blobs = _blobs(paths, database)
    images = _grouped(database, "SELECT DISTINCT diff_id, image FROM image_layers ORDER BY image")
    leases = _grouped(database, "SELECT diff_id, owner FROM leases ORDER BY owner")
    records = _records(database)
    names = {*rows, *trees, *blobs, *images, *leases, *records}
    return tuple(
        LayerUsage(
            diff_id=DiffID(name),
            size=_integer(rows[name][0]) if name in rows else 0,
            tree=_tree(measured[name], rows.get(name)) if name in trees else None,
            blobs=tuple(blobs.get(name, ())),
            images=tuple(map(Digest, images.get(name, ()))),
            records=tuple(records.get(name, ())),
            leases=tuple(leases.get(name, ())),
        )
        for name in sorted(names)
    )


def survey_caches(parts: Parts) -> tuple[CacheUsage, ...]:
    """The cache mounts, each measured if it was used since it was the last time."""
    found = []
    folder, database = parts.paths.caches, parts.database
    ids, known = _memos(database, CACHE_MEMO), _memos(database, _MEASURED)
    for name in cache_names(folder):
        path = f"{folder}/{name}"
        stamp = last_used_ns(path)
        numbers = [int(number) for number in known.get(name, "").split()]
        if numbers[:1] == [stamp]:
            amount = Amount(bytes=numbers[1], inodes=numbers[2])
        else:
            amount = measure(path)
            text = f"{stamp} {amount.bytes} {amount.inodes}"
            database.execute(
                "INSERT OR REPLACE INTO memos VALUES (?, ?, ?)", (_MEASURED, name, text.encode())
            )
        found.append(
            CacheUsage(
                name=name,
                id=ids.get(name.partition(".")[0], ""),
                amount=amount,
                last_used=stamp // 10**9,
            )
        )
    return tuple(found)


def _memos(database: Database, kind: str) -> dict[str, str]:
    return {
        str(key): value.decode("utf-8", "surrogateescape")
        for key, value in database.rows("SELECT key, value FROM memos WHERE kind = ?", (kind,))
        if isinstance(value, bytes)
    }


def survey_images(database: Database) -> tuple[ImageUsage, ...]:
    """Every image, in the order of their IDs."""
    names = _grouped(
        database,
        "SELECT image, name FROM names UNION SELECT image, list FROM list_images ORDER BY name",
    )
    layers = _grouped(database, "SELECT image, diff_id FROM image_layers ORDER BY position")
    return tuple(
        ImageUsage(
            id=Digest(str(image_id)),
            names=tuple(names.get(str(image_id), ())),
            layers=tuple(map(DiffID, layers.get(str(image_id), ()))),
            last_used=_integer(last_used),
        )
        for image_id, last_used in database.rows("SELECT id, last_used FROM images ORDER BY id")
    )


def _measured(
    paths: Paths, database: Database, trees: dict[str, tuple[Value, ...] | None]
) -> dict[str, Amount]:
    """What trees take: as it is known, or measured and noted."""
    found, new = {}, {}
    for name, row in trees.items():
        if row is not None and row[2] is not None:
            found[name] = Amount(bytes=_integer(row[2]), inodes=_integer(row[3]))
        else:
            found[name] = measure(paths.tree(DiffID(name)))
            if row is not None:
                new[name] = found[name]
    if new:
        with database.transaction():
            for name, amount in new.items():
                database.execute(
                    "UPDATE layers SET tree_bytes = ?, tree_inodes = ? WHERE diff_id = ?",
                    (amount.bytes, amount.inodes, name),
                )
    return found


def _tree(amount: Amount, row: tuple[Value, ...] | None) -> TreeUsage:
    if row is None:
        return TreeUsage(amount=amount, exact=None, lossy=False)
    exact = None if row[4] is None else bool(row[4])
    return TreeUsage(amount=amount, exact=exact, lossy=bool(row[1]))


def _blobs(paths: Paths, database: Database) -> dict[str, list[BlobUsage]]:
    """The blobs of layers, the raw ones first; of each only what is there in full."""
    found = defaultdict(list)
    for digest, size, diff_id, media_type, compressor in database.rows(
        "SELECT digest, size, diff_id, media_type, compressor FROM blobs"
        " WHERE diff_id IS NOT NULL ORDER BY digest != diff_id, digest"
    ):
        try:
            status = os.lstat(paths.blob(Digest(str(digest))))
        except FileNotFoundError:
            continue
        if status.st_size == size:
            found[str(diff_id)].append(
                BlobUsage(
                    digest=Digest(str(digest)),
                    size=_integer(size),
                    bytes=status.st_blocks * _BLOCK,
                    media_type=str(media_type),
                    compressor=str(compressor),
                )
            )
    return found


def _records(database: Database) -> dict[str, list[RecordUsage]]:
    found = defaultdict(list)
    for diff_id, key, kind, created, last_used, seconds in database.rows(
        "SELECT diff_id, key, kind, created, last_used, seconds FROM records ORDER BY key"
    ):
        assert isinstance(seconds, float)
        found[str(diff_id)].append(
            RecordUsage(
                key=str(key),
                kind=str(kind),
                created=_integer(created),
                last_used=_integer(last_used),
                seconds=seconds,
            )
        )
    return found


def _grouped(database: Database, query: str) -> dict[str, list[str]]:
    """The second column's values for each of the first's."""
    found = defaultdict(list)
    for key, value in database.rows(query):
        found[str(key)].append(str(value))
    return found


def _loose_in(paths: Paths, folder: str) -> tuple[LooseUsage, ...]:
    try:
        names = sorted(os.listdir(f"{paths.root}/{folder}"))
    except FileNotFoundError:
        return ()
    return tuple(_loose(paths, f"{folder}/{name}") for name in names)


def _loose(paths: Paths, relative: str) -> LooseUsage:
    return LooseUsage(path=relative, amount=measure(f"{paths.root}/{relative}"))


def _database_amount(paths: Paths) -> Amount:
    amount = Amount()
    for ending in ("", "-wal", "-shm"):
        amount += measure(paths.database + ending)
    return amount


def _integer(value: Value) -> int:
    assert isinstance(value, int)
    return value
