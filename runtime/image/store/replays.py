"""Builds that can be answered without building: what each read, and what it gave.

The first thing that `lamina build` asks, before anything else is imported: this module and what
it imports stay small (no dataclasses, no errors of ours). Whatever is not as expected gives no
answer, and the build then takes its ordinary way, which says what is wrong.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from runtime.image.store.schema import STEPS

if TYPE_CHECKING:
    import sqlite3

    from runtime.image.store.database import Database

_BUSY_SECONDS: Final = 60.0
_MOST: Final = 64
"""How many builds are remembered; with a large context each takes some megabytes."""
_TOUCH_AFTER_SECONDS: Final = 60
_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
_COLUMNS: Final = "conditions, stamps, paths, image, names, bases, records, lines, quiet, build"


class Remembered:
    """One build: the conditions under which it may be answered, and the answer.

    `call` is what was asked; `conditions` all else but files that decides the answer. `stamps`
    and `paths` are the files it read. `names` is what the image is named, `bases` pairs of a
    name and the image it has to stand for. `records` are the keys of its steps. `lines` are
    what is shown, unless only the image's ID is (`quiet`). `build` is the ID of its record.
    """

    __slots__ = (
        "bases", "build", "call", "conditions", "image", "lines", "names", "paths", "quiet",
        "records", "stamps",
    )  # fmt: skip

    def __init__(
        self,
        *,
        call: str,
        conditions: str,
        stamps: bytes,
        paths: bytes,
        image: str,
        names: Sequence[str],
        bases: Sequence[tuple[str, str]],
        records: Sequence[str],
        lines: Sequence[str],
        quiet: bool,
        build: str,
    ) -> None:
        self.call = call
        self.conditions = conditions
        self.stamps = stamps
        self.paths = paths
        self.image = image
        self.names = names
        self.bases = bases
        self.records = records
        self.lines = lines
        self.quiet = quiet
        self.build = build


def put_remembered(database: Database, build: Remembered) -> None:
    """Remember a build instead of the one that was asked for in the same way."""
    bases = [text for pair in build.bases for text in pair]
    with database.transaction():
        database.execute(
            f"INSERT OR REPLACE INTO replays (call, last_used, {_COLUMNS})"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                build.call, int(time.time()), build.conditions, build.stamps, build.paths,
                build.image, _joined(build.names), _joined(bases), _joined(build.records),
                _joined(build.lines), int(build.quiet), build.build,
            ),
        )  # fmt: skip
        database.execute(
            "DELETE FROM replays WHERE call NOT IN"
            f" (SELECT call FROM replays ORDER BY last_used DESC LIMIT {_MOST})"
        )


class OpenReplays:
    """A connection to the database of a store that is there; use it as a context manager."""

    def __init__(self, root: str) -> None:
        import sqlite3

        self._root = root
        self._connection = sqlite3.connect(
            f"file:{_quoted(root)}/store.db?mode=rw",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
        )

    def __enter__(self) -> OpenReplays:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def find(self, call: str) -> Remembered | None:
        """The build that was asked for in this way, if it is remembered."""
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version != len(STEPS):
            return None
        row = self._connection.execute(
            f"SELECT {_COLUMNS} FROM replays WHERE call = ?", (call,)
        ).fetchone()
        if row is None:
            return None
        conditions, stamps, paths, image, names, bases, records, lines, quiet, record = row
        pairs = iter(_parted(bases))
        return Remembered(
            call=call,
            conditions=conditions,
            stamps=stamps,
            paths=paths,
            image=image,
            names=_parted(names),
            bases=tuple(zip(pairs, pairs, strict=True)),
            records=_parted(records),
            lines=_parted(lines),
            quiet=bool(quiet),
            build=record,
        )

    def name_again(self, build: Remembered) -> bool:
        """Give the image its names and mark its records as used, if all of it is still there.

        In one transaction: nothing of an image that has a name is ever removed.
        """
        connection = self._connection
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("BEGIN IMMEDIATE")
        try:
            whole = self._is_whole(build)
            if whole:
                self._note(build)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        return whole

    def _is_whole(self, build: Remembered) -> bool:
        """Whether every base is what it was, and the image and its layers are here."""
        connection = self._connection
        for name, image in build.bases:
            row = connection.execute("SELECT image FROM names WHERE name = ?", (name,)).fetchone()
            if row is None or row[0] != image:
                return False
        if not connection.execute("SELECT 1 FROM images WHERE id = ?", (build.image,)).fetchone():
            return False
        boot = _boot_id()
        layers = connection.execute(
            "SELECT diff_id, tree_boot FROM image_layers LEFT JOIN layers USING (diff_id)"
            " WHERE image = ?",
            (build.image,),
        ).fetchall()
        return all(self._is_here(connection, diff_id, seen, boot) for diff_id, seen in layers)

    def _is_here(
        self, connection: sqlite3.Connection, diff_id: str, seen: str | None, boot: str
    ) -> bool:
        """Whether a layer has a tree of this boot, or a blob of the right length."""
        encoded = diff_id.partition(":")[2]
        if seen in ("", boot) and os.path.lexists(f"{self._root}/trees/{encoded}"):
            return True
        for digest, size in connection.execute(
            "SELECT digest, size FROM blobs WHERE diff_id = ?", (diff_id,)
        ):
            try:
                status = os.stat(f"{self._root}/blobs/sha256/{digest.partition(':')[2]}")
            except FileNotFoundError:
                continue
            if status.st_size == size:
                return True
        return False

    def _note(self, build: Remembered) -> None:
        now = int(time.time())
        for name in build.names:
            self._connection.execute(
                "INSERT OR REPLACE INTO names VALUES (?, ?)", (name, build.image)
            )
        self._connection.execute(
            "UPDATE replays SET last_used = ? WHERE call = ?", (now, build.call)
        )
        self._connection.execute(
            "UPDATE builds SET turn = (SELECT max(turn) FROM builds) + 1, answered = ?"
            " WHERE id = ?",
            (now, build.build),
        )
        self._connection.executemany(
            "UPDATE records SET last_used = ? WHERE key = ? AND last_used < ?",
            [(now, key, now - _TOUCH_AFTER_SECONDS) for key in build.records],
        )


def _boot_id() -> str:
    try:
        with open(_BOOT_ID) as file:
            return file.read().strip()
    except OSError:
        return "unknown"


def _joined(texts: Sequence[str]) -> bytes:
    return "\0".join(texts).encode("utf-8", "surrogateescape")


def _parted(data: bytes) -> list[str]:
    return data.decode("utf-8", "surrogateescape").split("\0") if data else []


def _quoted(path: str) -> str:
    """A path in a URI, as sqlite3_open(3) reads it."""
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
