"""Checking a whole store, and mending what can be mended."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from runtime.image.digest import DiffID
from runtime.image.store.check_files import FileChecks
from runtime.image.store.check_layers import LayerChecks
from runtime.image.store.check_references import ReferenceChecks
from runtime.image.store.collect import named_in
from runtime.image.store.database import Database
from runtime.image.store.faults import Checked
from runtime.image.store.parts import Parts


def check_store(parts: Parts, *, repair: bool, jobs: int) -> Checked:
    """Verify every blob, tree, image, name, step and lease; several layers at a time.

    With `repair`, what is broken is made again from what is not, or dropped together with the
    steps that gave it; images that lost a layer are kept, and remain faults. Others may use the
    store meanwhile: what they use is not mended.
    """
    if repair:
        parts.new_name()  # If we are killed, this is what calls for a collection.
    database = parts.database
    checks = LayerChecks(parts, repair=repair)
    layers = _known_layers(parts)
    with ThreadPoolExecutor(jobs, thread_name_prefix="check") as pool:
        try:
            checked = list(pool.map(checks.check, layers))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    faults = [fault for result in checked for fault in result.faults]
    lost = {diff_id for diff_id, result in zip(layers, checked, strict=True) if result.lost}
    faults += ReferenceChecks(parts, lost, repair=repair).check()
    faults += FileChecks(parts, repair=repair).check()
    return Checked(
        layers=len(layers) - len(lost),
        trees=sum(result.trees for result in checked),
        blobs=sum(result.blobs for result in checked),
        images=_count(database, "images"),
        records=_count(database, "records"),
        faults=tuple(faults),
        notes=tuple(result.note for result in checked if result.note),
    )


def _known_layers(parts: Parts) -> list[DiffID]:
    """Every layer that there is, or that something refers to."""
    rows = parts.database.rows(
        "SELECT diff_id FROM layers UNION SELECT diff_id FROM image_layers"
        " UNION SELECT diff_id FROM records UNION SELECT diff_id FROM leases"
        " UNION SELECT diff_id FROM blobs WHERE diff_id IS NOT NULL"
    )
    known = {str(row[0]) for row in rows}
    return [DiffID(name) for name in sorted(known.union(named_in(parts.paths.trees)))]


def _count(database: Database, table: str) -> int:
    row = database.row(f"SELECT count(*) FROM {table}")
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]
