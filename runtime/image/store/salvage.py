"""A database whose pages are damaged: finding out, and saving what can still be read.

SQLite survives kills and power failures by itself; this is for disks that lose or change data.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

from runtime.image.errors import StoreError
from runtime.image.store.blobs import unlink_if_there
from runtime.image.store.database import Database, Value
from runtime.image.store.faults import Fault, NotMended, fault
from runtime.image.store.locks import LockFile
from runtime.image.store.paths import LOCK_CREATION, LOCK_USE, Paths

if TYPE_CHECKING:
    import sqlite3

_MOST: Final = 5
"""Of SQLite's complaints: one damaged page can make thousands."""
_KEPT: Final = "damaged"


def check_database(root: str, *, repair: bool) -> list[Fault]:
    """The database's faults, before anything else of the store is looked at.

    With `repair` a damaged one is replaced by one with all rows that can be read; the damaged
    file is kept beside it, as `store.db.damaged`. Nobody else may have the store open then.
    `StoreError` if it cannot be looked at.
    """
    paths = Paths(os.path.abspath(root))
    if not os.path.exists(paths.database):
        return []
    LockFile(paths.lock).close()  # What cannot be written is said to be, rather than damaged.
    complaints = _complaints(paths)
    if not complaints:
        return []

    def mend() -> str:
        use = LockFile(paths.lock)
        with closing(use):
            if not use.try_take(LOCK_USE):
                raise NotMended("the store is in use by another process")
            return _replace(paths)

    return [fault("database", "store.db", "; ".join(complaints), mend if repair else None)]


def _complaints(paths: Paths) -> list[str]:
    import sqlite3

    try:
        with closing(sqlite3.connect(paths.database, isolation_level=None)) as connection:
            rows = connection.execute(f"PRAGMA integrity_check({_MOST})").fetchall()
    except sqlite3.DatabaseError as error:
        # Of a disk that is full or read-only nothing is to be concluded.
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise StoreError(f"the store's database cannot be used: {error}") from error
        return [str(error)]
    return [str(row[0]) for row in rows if row[0] != "ok"]


def _replace(paths: Paths) -> str:
    """Put a new database in the old one's place; says how many rows it has."""
    aside = f"{paths.database}.new"
    for path in (aside, f"{aside}-wal", f"{aside}-shm", f"{paths.database}.{_KEPT}"):
        unlink_if_there(path)
    saved = _copy_rows(paths, aside)
    # Never without a database: in an empty store everything would be litter.
    os.link(paths.database, f"{paths.database}.{_KEPT}")
    for ending in ("-wal", "-shm"):
        unlink_if_there(paths.database + ending)
    os.rename(aside, paths.database)
    return f"{saved} rows saved; the damaged file is kept as store.db.{_KEPT}"


def _copy_rows(paths: Paths, aside: str) -> int:
    import sqlite3

    new = Database(aside, paths.lock, LOCK_CREATION)
    saved = 0
    try:
        tables = [
            str(row[0])
            for row in new.rows("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        ]
        new.rows("PRAGMA foreign_keys=OFF")
        with closing(sqlite3.connect(paths.database, isolation_level=None)) as old:
            for table in tables:
                columns = _columns(new, old, table)
                marks = ", ".join("?" * len(columns))
                with new.transaction():
                    for row in _readable(old, table, columns) if columns else ():
                        with suppress(StoreError):  # It breaks a rule: it cannot be right.
                            saved += new.execute(
                                f"INSERT OR IGNORE INTO {table} ({', '.join(columns)})"
                                f" VALUES ({marks})",
                                row,
                            )
        new.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        new.rows("PRAGMA journal_mode=DELETE")
    finally:
        new.close()
    return saved


def _columns(new: Database, old: sqlite3.Connection, table: str) -> list[str]:
    """The columns that both have: the old one may not have seen every step of the schema."""
    import sqlite3

    query = f"PRAGMA table_info({table})"
    with suppress(sqlite3.DatabaseError):
        there = {row[1] for row in old.execute(query)}
        return [str(row[1]) for row in new.rows(query) if row[1] in there]
    return []


def _readable(
    old: sqlite3.Connection, table: str, columns: list[str]
) -> Iterator[tuple[Value, ...]]:
    """The rows of a table that can be read, from its beginning and from its end."""
    import sqlite3

    listed = ", ".join(columns)
    for order in ("ASC", "DESC"):
        with suppress(sqlite3.DatabaseError):
            yield from old.execute(f"SELECT {listed} FROM {table} ORDER BY 1 {order}")
            return
