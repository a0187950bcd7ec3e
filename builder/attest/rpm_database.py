"""rpm's database, where it is an SQLite file: headers of packages in a table.

The file comes out of an image, with what SQLite had not yet put into it (`-wal`). A copy of both
is opened, which may not do anything but answer one query in bounded time. What a header is:
rpm's manual, "Package format".
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from typing import Final

from builder.attest.package import Package

_NAME, _VERSION, _RELEASE, _EPOCH = 1000, 1001, 1002, 1003
_VENDOR, _LICENSE, _URL, _ARCHITECTURE, _SOURCE = 1011, 1014, 1020, 1022, 1044
_WANTED: Final = frozenset(
    (_NAME, _VERSION, _RELEASE, _EPOCH, _VENDOR, _LICENSE, _URL, _ARCHITECTURE, _SOURCE)
)
_INT32: Final = 4
_STRINGS: Final = (6, 8, 9)
_MOST_ENTRIES: Final = 1 << 16
_MOST_TEXT: Final = 4096
_MOST_STEPS: Final = 500  # of ten thousand instructions of SQLite's


class UnreadableDatabase(Exception):
    """The database cannot be read; the message says why."""


def rpm_packages(data: bytes, log: bytes, place: str) -> Iterator[Package]:
    """What an `rpmdb.sqlite` and its `-wal` say is installed; `UnreadableDatabase`."""
    for blob in _headers(data, log):
        fields = _fields(blob)
        name, version = fields.get(_NAME, ""), fields.get(_VERSION, "")
        if not name or name == "gpg-pubkey":
            continue
        epoch, release = fields.get(_EPOCH, ""), fields.get(_RELEASE, "")
        version = (f"{epoch}:" if epoch else "") + version + (f"-{release}" if release else "")
        yield Package(
            kind="rpm",
            name=name,
            version=version,
            place=place,
            architecture=fields.get(_ARCHITECTURE, ""),
            license=fields.get(_LICENSE, ""),
            supplier=fields.get(_VENDOR, ""),
            homepage=fields.get(_URL, ""),
            source=fields.get(_SOURCE, ""),
        )


def _headers(data: bytes, log: bytes) -> list[bytes]:
    import sqlite3

    if not data.startswith(b"SQLite format 3\0"):
        raise UnreadableDatabase("it is no SQLite database")
    steps = 0

    def count() -> bool:
        nonlocal steps
        steps += 1
        return steps > _MOST_STEPS

    with tempfile.TemporaryDirectory(prefix="lamina-rpm-") as folder:
        path = os.path.join(folder, "copy")
        for name, content in ((path, data), (path + "-wal", log)):
            with open(name, "xb") as file:
                file.write(content)
        connection = sqlite3.connect(path)
        try:
            connection.execute("PRAGMA trusted_schema=OFF")
            connection.execute("PRAGMA query_only=ON")
            connection.set_progress_handler(count, 10_000)
            rows = connection.execute("SELECT blob FROM Packages ORDER BY hnum").fetchall()
        except sqlite3.Error as error:
            raise UnreadableDatabase(str(error)) from error
        finally:
            connection.close()
    return [row[0] for row in rows if isinstance(row[0], bytes)]


def _fields(blob: bytes) -> dict[int, str]:
    """The wanted fields of a header: an index of (tag, type, offset, count), then the data."""
    found: dict[int, str] = {}
    if len(blob) < 8:
        return found
    entries, size = struct.unpack_from(">II", blob)
    start = 8 + 16 * entries
    if entries > _MOST_ENTRIES or start + size > len(blob):
        return found
    for number in range(entries):
        tag, kind, offset, _ = struct.unpack_from(">IIII", blob, 8 + 16 * number)
        if tag not in _WANTED or offset >= size:
            continue
        place = start + offset
        if kind == _INT32 and offset + 4 <= size:
            found[tag] = str(struct.unpack_from(">I", blob, place)[0])
        elif kind in _STRINGS:
            end = blob.find(b"\0", place, min(place + _MOST_TEXT, start + size))
            if end >= 0:
                found[tag] = blob[place:end].decode("utf-8", "replace")
    return found
