"""Taking away what nothing refers to.

What is removed is had alone (`runtime.image.store.holds`) while its references are looked at and
it goes. Rows go first, then files: killed in between, files without a row are left, which the
next collection finds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from runtime.image.digest import DiffID, Digest
from runtime.image.store.blobs import unlink_if_there
from runtime.image.store.database import Database
from runtime.image.store.holds import Holds
from runtime.image.store.partial import sweep_partial
from runtime.image.store.paths import Paths

_NAME: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a collection took away, and the trees that are still to be removed.

    `blobs` are those that belonged to no layer. `bytes` is exact for blobs; a tree counts as much
    as its tar. `postponed`: something that nothing refers to is in use by another process.
    """

    layers: tuple[DiffID, ...]
    blobs: tuple[Digest, ...]
    bytes: int
    trash: tuple[str, ...]
    postponed: bool


def collect(
    paths: Paths,
    database: Database,
    holds: Holds,
    new_name: Callable[[], str],
    only: Collection[DiffID] | None = None,
    *,
    forget_steps: bool = False,
) -> Collected:
    """Remove the layers that no image, record or lease refers to (of `only`, if given).

    Without `only`, blobs that belong to nothing go as well. With `forget_steps` records are no
    reason to keep a layer, and go with it. Trees are just moved to `trash`: removing them takes
    long and needs no lock.
    """

    def unused() -> set[DiffID]:
        return _unused_layers(paths, database, only, forget_steps=forget_steps)

    layers = unused()
    strays = _stray_blobs(paths, database) if only is None else set()
    with holds.taking(sorted(layers | strays)) as taken:
        # What is had alone gets no new reference; those it got until then are seen now.
        gone = sorted(unused().intersection(taken))
        blobs = sorted(_stray_blobs(paths, database).intersection(taken) & strays)
        size, trash = _remove(paths, database, new_name, gone, blobs)
    if only is None:
        size += sweep_partial(paths.partial)
    return Collected(
        layers=tuple(gone),
        blobs=tuple(blobs),
        bytes=size,
        trash=tuple(trash),
        postponed=not (layers | strays).issubset(taken),
    )


def _remove(
    paths: Paths,
    database: Database,
    new_name: Callable[[], str],
    layers: Collection[DiffID],
    strays: Collection[Digest],
) -> tuple[int, list[str]]:
    freed = 0
    blobs = [*_blobs_of(database, layers), *strays]
    with database.transaction():
        for diff_id in layers:
            freed += _tree_size(paths, database, diff_id)
            database.execute("DELETE FROM records WHERE diff_id = ?", (diff_id,))
            database.execute("DELETE FROM layers WHERE diff_id = ?", (diff_id,))
            database.execute("DELETE FROM blobs WHERE diff_id = ?", (diff_id,))
        for digest in strays:
            database.execute("DELETE FROM blobs WHERE digest = ?", (digest,))
        database.execute(
            "DELETE FROM blob_repositories WHERE digest NOT IN (SELECT digest FROM blobs)"
        )
    trash = []
    for diff_id in layers:
        if os.path.lexists(paths.tree(diff_id)):
            trash.append(new_name())
            os.rename(paths.tree(diff_id), trash[-1])
    for digest in blobs:
        freed += _file_size(paths.blob(digest))
        unlink_if_there(paths.blob(digest))
    return freed, trash


def _unused_layers(
    paths: Paths, database: Database, only: Collection[DiffID] | None, *, forget_steps: bool
) -> set[DiffID]:
    """Layers in any form, or with just a row, that nothing refers to."""
    rows = database.rows(
        "SELECT diff_id FROM layers UNION SELECT diff_id FROM blobs WHERE diff_id IS NOT NULL"
    )
    present = {DiffID(str(row[0])) for row in rows} | {DiffID(n) for n in named_in(paths.trees)}
    records = "" if forget_steps else " UNION SELECT diff_id FROM records"
    rows = database.rows(
        f"SELECT diff_id FROM image_layers UNION SELECT diff_id FROM leases{records}"
    )
    unused = present - {DiffID(str(row[0])) for row in rows}
    return unused if only is None else unused.intersection(only)


def named_in(folder: str) -> list[str]:
    """What in a folder has a digest for a name; what does not is none of ours."""
    return ["sha256:" + name for name in os.listdir(folder) if _NAME.fullmatch(name)]


def _blobs_of(database: Database, layers: Collection[DiffID]) -> list[Digest]:
    blobs = []
    for diff_id in layers:
        rows = database.rows("SELECT digest FROM blobs WHERE diff_id = ?", (diff_id,))
        blobs += [Digest(str(row[0])) for row in rows]
    return blobs


def _stray_blobs(paths: Paths, database: Database) -> set[Digest]:
    """Blob files that belong to no layer."""
    rows = database.rows("SELECT digest FROM blobs WHERE diff_id IS NOT NULL")
    return {Digest(name) for name in named_in(paths.blobs)} - {Digest(str(row[0])) for row in rows}


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
