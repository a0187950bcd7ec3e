"""The store's one SQLite database: what refers to what.

Layers and blobs are files; the database says what they are and what they are for. A row is written
after its file, so a process killed between the two leaves a file that nobody trusts. After a power
failure either may be missing: readers look for both.

Threads of a process share one connection behind a lock; processes wait for each other. WAL with
synchronous=NORMAL: a killed process loses nothing, a power failure at most the last
transactions, never the database.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from runtime.image.errors import StoreError
from runtime.image.store.locks import locked

if TYPE_CHECKING:
    import sqlite3

Value = None | int | str | bytes
Row = tuple[Value, ...]

_SCHEMA_VERSION: Final = 1
_BUSY_SECONDS: Final = 60.0
_SCHEMA: Final = """
CREATE TABLE layers (
    diff_id TEXT PRIMARY KEY,
    size INTEGER NOT NULL,           -- of the uncompressed tar
    tree_boot TEXT,                  -- NULL: no tree; the boot it was made in, '' once checked
    tree_lossy INTEGER NOT NULL DEFAULT 0   -- the tree lacks what we were not allowed to make
) STRICT, WITHOUT ROWID;
CREATE TABLE blobs (
    digest TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    diff_id TEXT,                    -- NULL: not a layer
    compressor TEXT NOT NULL,
    media_type TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX blobs_of_layer ON blobs (diff_id);
CREATE TABLE images (
    id TEXT PRIMARY KEY,
    config BLOB NOT NULL             -- as it came: its digest is the ID
) STRICT, WITHOUT ROWID;
CREATE TABLE image_layers (
    image TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
    position INTEGER NOT NULL,
    diff_id TEXT NOT NULL,
    PRIMARY KEY (image, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX images_of_layer ON image_layers (diff_id);
CREATE TABLE names (
    name TEXT PRIMARY KEY,           -- domain/path:tag or domain/path@digest
    image TEXT NOT NULL REFERENCES images ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX names_of_image ON names (image);
CREATE TABLE leases (
    owner TEXT NOT NULL,
    diff_id TEXT NOT NULL,
    PRIMARY KEY (owner, diff_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE records (
    key TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    components TEXT NOT NULL,
    diff_id TEXT NOT NULL,
    created INTEGER NOT NULL,
    last_used INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX records_of_layer ON records (diff_id);
CREATE INDEX records_of_kind ON records (kind, last_used);
CREATE TABLE memos (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
"""


class Database:
    """A connection, made on first use."""

    def __init__(self, path: str, lock_path: str, lock_position: int) -> None:
        self._path = path
        self._creation_lock = (lock_path, lock_position)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._depth = 0

    def rows(self, query: str, values: Sequence[Value] = ()) -> list[Row]:
        """All rows of one query."""
        with self._lock, _errors_as_ours():
            rows: list[Row] = self._connected().execute(query, values).fetchall()
            return rows

    def row(self, query: str, values: Sequence[Value] = ()) -> Row | None:
        """The first row of a query, if there is one."""
        rows = self.rows(query, values)
        return rows[0] if rows else None

    def execute(self, statement: str, values: Sequence[Value] = ()) -> int:
        """Carry out one statement, alone or in the transaction at hand; rows changed."""
        with self.transaction():
            changed: int = self._connected().execute(statement, values).rowcount
            return changed

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All statements inside, or none. Nests: the outermost one counts.

        It has the right to write from its start, so it never fails for having read too early.
        """
        with self._lock, _errors_as_ours():
            connection = self._connected()
            if self._depth == 0:
                connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
                if self._depth == 1:
                    connection.commit()
            except BaseException:
                if self._depth == 1:
                    connection.rollback()
                raise
            finally:
                self._depth -= 1

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        import sqlite3

        connection = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA synchronous=NORMAL")
            version = _version(connection)
            if version == 0:
                # Switching to WAL does not wait for others by itself.
                with locked(*self._creation_lock):
                    connection.execute("PRAGMA journal_mode=WAL")
                    if _version(connection) == 0:
                        _create(connection)
                    version = _version(connection)
            if version != _SCHEMA_VERSION:
                raise StoreError(
                    f"the store's database is of version {version}, this program knows"
                    f" {_SCHEMA_VERSION}",
                    hint="use the version of lamina that made it, or another --root",
                )
            connection.execute("PRAGMA foreign_keys=ON")
        except BaseException:
            connection.close()
            raise
        return connection


@contextmanager
def _errors_as_ours() -> Iterator[None]:
    import sqlite3

    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"the store's database cannot be used: {error}") from error


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _create(connection: sqlite3.Connection) -> None:
    connection.executescript(
        f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={_SCHEMA_VERSION}; COMMIT;"
    )
