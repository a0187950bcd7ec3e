"""What became of builds: a document for each of the last ones, and listings they refer to.

A listing (what a copy consisted of) is kept once, under its own name, as long as a build refers to
it; the key under which the build looked the copy up leads to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from runtime.image.store.database import Database, Row

MOST_BUILDS: Final = 100
"""How many builds are kept: with one more, the one that was asked for longest ago goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBuild:
    """A build's document.

    `number` grows from build to build, `turn` with each time that it was asked for; `answered` is
    when it was last answered without being done (seconds since 1970), 0 if it never was.
    """

    id: str
    number: int
    turn: int
    answered: int
    document: bytes


class Builds:
    """The builds of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(
        self,
        build_id: str,
        document: bytes,
        *,
        keys: Mapping[str, str],
        listings: Mapping[str, bytes],
    ) -> None:
        """Keep a build: `keys` lead to names of listings, of which `listings` are new ones."""
        with self._database.transaction():
            (row,) = self._database.rows("SELECT max(number), max(turn) FROM builds")
            number, turn = (value if isinstance(value, int) else 0 for value in row)
            self._database.execute(
                "INSERT INTO builds (id, number, turn, answered, document) VALUES (?, ?, ?, 0, ?)",
                (build_id, number + 1, turn + 1, document),
            )
            for name, data in listings.items():
                self._database.execute("INSERT OR IGNORE INTO listings VALUES (?, ?)", (name, data))
            for key, name in keys.items():
                self._database.execute(
                    "INSERT OR IGNORE INTO build_listings SELECT ?, ?, name FROM listings"
                    " WHERE name = ?",
                    (build_id, key, name),
                )
            self._drop_old()

    def _drop_old(self) -> None:
        dropped = self._database.execute(
            "DELETE FROM builds WHERE turn <="
            " (SELECT turn FROM builds ORDER BY turn DESC LIMIT 1 OFFSET ?)",
            (MOST_BUILDS,),
        )
        if dropped:
            self._database.execute(
                "DELETE FROM listings WHERE name NOT IN (SELECT listing FROM build_listings)"
            )

    def latest(self, count: int) -> list[StoredBuild]:
        """The builds that were asked for last, the last one first."""
        return self._builds("ORDER BY turn DESC LIMIT ?", count)

    def before(self, build: StoredBuild) -> list[StoredBuild]:
        """The builds that were done before one, those that were asked for last first."""
        return self._builds("WHERE number < ? ORDER BY turn DESC", build.number)

    def beginning_with(self, text: str) -> list[StoredBuild]:
        """The builds whose ID begins so, the last one first."""
        return self._builds("WHERE substr(id, 1, length(?1)) = ?1 ORDER BY turn DESC", text)

    def listing_of(self, key: str) -> str | None:
        """The name of the listing that a key stands for, if it is kept."""
        row = self._database.row("SELECT listing FROM build_listings WHERE key = ? LIMIT 1", (key,))
        return None if row is None else str(row[0])

    def listing(self, key: str) -> bytes | None:
        """The listing that a key stands for, if it is kept."""
        row = self._database.row(
            "SELECT value FROM build_listings JOIN listings ON name = listing WHERE key = ?"
            " LIMIT 1",
            (key,),
        )
        if row is None:
            return None
        assert isinstance(row[0], bytes)
        return row[0]

    def _builds(self, condition: str, value: int | str) -> list[StoredBuild]:
        rows = self._database.rows(
            f"SELECT id, number, turn, answered, document FROM builds {condition}", (value,)
        )
        return [_build(row) for row in rows]


def _build(row: Row) -> StoredBuild:
    build_id, number, turn, answered, document = row
    assert isinstance(number, int)
    assert isinstance(turn, int)
    assert isinstance(answered, int)
    assert isinstance(document, bytes)
    return StoredBuild(
        id=str(build_id), number=number, turn=turn, answered=answered, document=document
    )
