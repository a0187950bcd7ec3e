"""What steps gave: the build cache's memory, and small things worth not computing twice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from runtime.image.digest import DiffID
from runtime.image.json_bytes import canonical
from runtime.image.store.database import Database, Row, Value
from runtime.image.store.holds import Holds

TOUCH_AFTER_SECONDS: Final = 60
"""How old the note of a use may be: not every use is worth a transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A step's key and the layer it gave.

    `components` are the named parts the key was made of, so that a miss can be explained.
    `created` and `last_used` are in seconds since 1970.
    """

    key: str
    kind: str
    components: Mapping[str, str]
    diff_id: DiffID
    created: int
    last_used: int


class Records:
    """The records and memos of a store."""

    def __init__(
        self, database: Database, holds: Holds, has_layer: Callable[[DiffID], bool]
    ) -> None:
        self._database = database
        self._holds = holds
        self._has_layer = has_layer

    def record(self, key: str) -> Record | None:
        """The record of a key, if there is one and its layer is still there. Counts as a use."""
        row = self._database.row(f"SELECT {_COLUMNS} FROM records WHERE key = ?", (key,))
        if row is None:
            return None
        record = _record(row)
        if not self._has_layer(record.diff_id):
            return None
        now = int(time.time())
        # Either way: another machine's clock may have been ahead of ours.
        if abs(now - record.last_used) > TOUCH_AFTER_SECONDS:
            self._database.execute("UPDATE records SET last_used = ? WHERE key = ?", (now, key))
        return record

    def put_record(
        self,
        key: str,
        kind: str,
        components: Mapping[str, str],
        diff_id: DiffID,
        seconds: float = 0,
    ) -> None:
        """Remember what a step gave, instead of what it may have given before.

        `seconds` is how long that took: what it costs to have it again.
        """
        self._holds.hold(diff_id)
        now = int(time.time())
        values: tuple[Value, ...] = (
            key, kind, _text(components), diff_id, now, now, float(seconds),
        )  # fmt: skip
        self._database.execute(
            f"INSERT OR REPLACE INTO records ({_COLUMNS}, seconds) VALUES (?, ?, ?, ?, ?, ?, ?)",
            values,
        )

    def get_memo(self, kind: str, key: str) -> bytes | None:
        """What was remembered under a kind and key."""
        row = self._database.row("SELECT value FROM memos WHERE kind = ? AND key = ?", (kind, key))
        return None if row is None else _bytes(row[0])

    def put_memo(self, kind: str, key: str, value: bytes) -> None:
        """Remember a value instead of the one before."""
        self._database.execute("INSERT OR REPLACE INTO memos VALUES (?, ?, ?)", (kind, key, value))

    def drop_memo(self, kind: str, key: str) -> None:
        """Forget what was remembered under a kind and key."""
        self._database.execute("DELETE FROM memos WHERE kind = ? AND key = ?", (kind, key))


_COLUMNS: Final = "key, kind, components, diff_id, created, last_used"


def _record(row: Row) -> Record:
    key, kind, components, diff_id, created, last_used = row
    assert isinstance(components, str)
    assert isinstance(created, int)
    assert isinstance(last_used, int)
    return Record(
        key=str(key),
        kind=str(kind),
        components=json.loads(components),
        diff_id=DiffID(str(diff_id)),
        created=created,
        last_used=last_used,
    )


def _text(components: Mapping[str, str]) -> str:
    return canonical(components).decode()


def _bytes(value: Value) -> bytes:
    assert isinstance(value, bytes)
    return value
