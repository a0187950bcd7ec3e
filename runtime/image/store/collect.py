"""Taking away what nothing refers to.

This runs while nobody else has the store open, so no file can be in use or about to be named.
Rows go first, then files: killed in between, files without a row are left, which the next
collection finds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass

from runtime.image.digest import DiffID, Digest
from runtime.image.store.blobs import unlink_if_there
from runtime.image.store.database import Database
from runtime.image.store.paths import Paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a collection took away, and the trees that are still to be removed.

    `bytes` is exact for blobs; a tree counts as much as its tar.
    """

    layers: tuple[DiffID, ...]
    bytes: int
    trash: tuple[str, ...]


def collect(
    paths: Paths,
    database: Database,
    new_name: Callable[[], str],
    only: Collection[DiffID] | None = None,
) -> Collected:
    """Remove the layers that no image, record or lease refers to (of `only`, if given).

    Without `only`, blobs that belong to nothing go as well. Trees are just moved to `trash`:
    removing them takes long and needs no lock. The caller has the store alone.
    """
    used = _used_layers(database)
    present = _present_layers(paths, database)
    gone = sorted(diff_id for diff_id in present - used if only is None or diff_id in only)
    blobs = _blobs_of(database, gone)
    freed = 0
    with database.transaction():
        for diff_id in gone:
            freed += _tree_size(paths, database, diff_id)
            database.execute("DELETE FROM layers WHERE diff_id = ?", (diff_id,))
            database.execute("DELETE FROM blobs WHERE diff_id = ?", (diff_id,))
        if only is None:
            stray = _stray_blobs(paths, database, used)
            for digest in stray:
                database.execute("DELETE FROM blobs WHERE digest = ?", (digest,))
            blobs += stray
    trash = []
    for diff_id in gone:
        if os.path.lexists(paths.tree(diff_id)):
            trash.append(new_name())
            os.rename(paths.tree(diff_id), trash[-1])
    for digest in blobs:
        freed += _file_size(paths.blob(digest))
        unlink_if_there(paths.blob(digest))
    return Collected(layers=tuple(gone), bytes=freed, trash=tuple(trash))


def any_unused(database: Database, layers: Collection[DiffID]) -> bool:
    """Whether a collection would take one of these layers."""
    return not _used_layers(database).issuperset(layers)


def _used_layers(database: Database) -> set[DiffID]:
    rows = database.rows(
        "SELECT diff_id FROM image_layers UNION SELECT diff_id FROM records"
        " UNION SELECT diff_id FROM leases"
    )
    return {DiffID(str(row[0])) for row in rows}


def _present_layers(paths: Paths, database: Database) -> set[DiffID]:
    rows = database.rows("SELECT diff_id, digest FROM blobs WHERE diff_id IS NOT NULL")
    present = {
        DiffID(str(diff_id))
        for diff_id, digest in rows
        if os.path.lexists(paths.blob(Digest(str(digest))))
    }
    return present | {DiffID("sha256:" + name) for name in os.listdir(paths.trees)}


def _blobs_of(database: Database, layers: Collection[DiffID]) -> list[Digest]:
    blobs = []
    for diff_id in layers:
        rows = database.rows("SELECT digest FROM blobs WHERE diff_id = ?", (diff_id,))
        blobs += [Digest(str(row[0])) for row in rows]
    return blobs


def _stray_blobs(paths: Paths, database: Database, used: Collection[DiffID]) -> list[Digest]:
    """Blob files that belong to no layer in use."""
    rows = database.rows("SELECT digest, diff_id FROM blobs WHERE diff_id IS NOT NULL")
    kept = {digest for digest, diff_id in rows if diff_id in used}
    names = ("sha256:" + name for name in os.listdir(paths.blobs))
    return [Digest(name) for name in names if name not in kept]


def _tree_size(paths: Paths, database: Database, diff_id: DiffID) -> int:
    if not os.path.lexists(paths.tree(diff_id)):
        return 0
    row = database.row("SELECT size FROM layers WHERE diff_id = ?", (diff_id,))
    size = row[0] if row else 0
    assert isinstance(size, int)
    return size


def _file_size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return 0
