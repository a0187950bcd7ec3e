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
from runtime.image.store.schema import STEPS

if TYPE_CHECKING:
    import sqlite3

Value = None | int | float | str | bytes
Row = tuple[Value, ...]

_VERSION: Final = len(STEPS)
_BUSY_SECONDS: Final = 60.0


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
            if version < _VERSION:
                # Switching to WAL does not wait for others by itself.
                with locked(*self._creation_lock):
                    connection.execute("PRAGMA journal_mode=WAL")
                    version = _bring_up_to_date(connection)
            if version != _VERSION:
                raise StoreError(
                    f"the store's database is of version {version}, this program knows {_VERSION}",
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


def _bring_up_to_date(connection: sqlite3.Connection) -> int:
    """Carry out the steps that the database has not seen; its version then."""
    for number in range(_version(connection), _VERSION):
        connection.executescript(
            f"BEGIN IMMEDIATE; {STEPS[number]} PRAGMA user_version={number + 1}; COMMIT;"
        )
    return _version(connection)
