"""Asking the store's database whether a remembered start still holds."""

from __future__ import annotations

import time

from runtime.containers.starts import database_stamp, is_settled, write_start
from runtime.image.store.schema import STEPS
from runtime.monitor.identity import boot_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from typing import Final

    from runtime.containers.starts import Start

_BUSY_SECONDS: Final = 60.0


def confirm(root: str, start: Start, *, touch: bool = False) -> bool:
    """Whether the name still stands for the image, and its layers have trees to be trusted.

    For who holds the image and its layers. The stamp of a database that says so is remembered.
    With `touch` the image is marked as used.
    """
    import sqlite3

    now_ns = time.time_ns()
    stamp = database_stamp(root)
    quoted = root.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    try:
        connection = sqlite3.connect(
            f"file:{quoted}/store.db?mode=rw", uri=True, timeout=_BUSY_SECONDS, isolation_level=None
        )
        try:
            found = _is_so(connection, start)
            if found and touch:
                connection.execute("PRAGMA synchronous=NORMAL")
                connection.execute(
                    "UPDATE images SET last_used = ? WHERE id = ?", (int(time.time()), start.image)
                )
        finally:
            connection.close()
    except sqlite3.Error:
        return False  # The ordinary way meets the same, and says what it is.
    if found:
        certain = not touch and is_settled(stamp, now_ns) and stamp == database_stamp(root)
        start.database = stamp if certain else None
        if certain or touch:
            write_start(f"{root}/containers", start)
    return found


def _is_so(connection: sqlite3.Connection, start: Start) -> bool:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != len(STEPS):
        return False
    row = connection.execute("SELECT image FROM names WHERE name = ?", (start.name,)).fetchone()
    if row is None or row[0] != start.image:
        return False
    if not connection.execute("SELECT 1 FROM images WHERE id = ?", (start.image,)).fetchone():
        return False
    boot = boot_id()
    for diff_id in start.diff_ids:
        row = connection.execute(
            "SELECT tree_boot FROM layers WHERE diff_id = ?", (diff_id,)
        ).fetchone()
        if row is None or row[0] not in ("", boot):
            return False
    return True
