"""What is in a layer, entry by entry: what the keys of copies are made of, and how they differ.

An entry is four fields, each ended by a NUL: its path, a link's target, its attributes (`kind
mode uid gid mtime rdev xattrs`), and a name for its content. Packed, as it is kept beside a build's
record, a digest is cut short: it only has to differ where contents do.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from runtime.image.layer.entry import Entry, Kind

_TOGETHER: Final = 4096
"""Entries that are hashed, kept and compressed at once."""
_KEPT_RAW: Final = 16
"""Pieces kept as they are; those of larger copies are packed on the way, to spare memory."""
_HEX: Final = 64
_KEPT_HEX: Final = 16
_FIELDS: Final = 4


@dataclass(frozen=True, slots=True)
class Listing:
    """The entries of a layer in pieces, the first ones packed; `name` is the digest of them all.

    `files` counts what is no directory.
    """

    name: str
    files: int
    packed: tuple[bytes, ...]
    raw: tuple[bytes, ...]

    def to_bytes(self) -> bytes:
        """Packed: to be read by `read_listing`."""
        packed = (*self.packed, *map(_pack, self.raw))
        return b"".join(len(piece).to_bytes(4, "little") + piece for piece in packed)


def make_listing(
    entries: Iterable[Entry], identify: Callable[[Entry], str], salt: bytes
) -> Listing:
    """List entries by path; `identify` names the content of a regular file."""
    sha = hashlib.sha256(salt)
    packed: list[bytes] = []
    raw: list[bytes] = []
    ordered = sorted(entries, key=_path)
    for lines in _in_pieces(ordered, identify):
        piece = b"".join(lines)
        sha.update(piece)
        if len(raw) == _KEPT_RAW:
            packed += map(_pack, raw)
            raw.clear()
        raw.append(piece)
    files = sum(entry.kind is not Kind.DIRECTORY for entry in ordered)
    return Listing(sha.hexdigest(), files, tuple(packed), tuple(raw))


def _in_pieces(entries: list[Entry], identify: Callable[[Entry], str]) -> Iterator[list[bytes]]:
    regular = Kind.REGULAR
    for start in range(0, len(entries), _TOGETHER):
        lines = []
        for entry in entries[start : start + _TOGETHER]:
            is_file = entry.kind is regular
            lines.append(
                b"%b\0%b\0%b %o %d %d %d %d %b\0%b\0"
                % (
                    entry.path, entry.target,
                    b"-" if is_file else entry.kind.value.encode(),
                    entry.mode, entry.uid, entry.gid, entry.mtime, entry.rdev,
                    repr(entry.xattrs).encode() if entry.xattrs else b"",
                    identify(entry).encode() if is_file else b"",
                )
            )  # fmt: skip
        yield lines


def _path(entry: Entry) -> bytes:
    return entry.path


def _pack(piece: bytes) -> bytes:
    fields = piece.split(b"\0")
    last = _FIELDS - 1
    fields[last::_FIELDS] = [
        content[:_KEPT_HEX] if len(content) == _HEX else content
        for content in fields[last::_FIELDS]
    ]
    shortened = b"\0".join(fields)
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.compress(shortened, 1)
    return isal_zlib.compress(shortened, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An entry as a listing has it."""

    path: bytes
    target: bytes
    kind: Kind
    mode: int
    owner: tuple[int, int]
    mtime: int
    rdev: int
    xattrs: bytes
    content: bytes


def read_listing(data: bytes) -> dict[bytes, bytes]:
    """The entries of a packed listing by path, yet to be taken apart by `listed`."""
    found: dict[bytes, bytes] = {}
    place = 0
    while place < len(data):
        start = place + 4
        place = start + int.from_bytes(data[place:start], "little")
        fields = zlib.decompress(data[start:place]).split(b"\0")
        for n in range(0, len(fields) - _FIELDS, _FIELDS):
            found[fields[n]] = b"\0".join(fields[n + 1 : n + _FIELDS])
    return found


def listed(path: bytes, fields: bytes) -> Listed:
    """One entry of a listing."""
    target, attributes, content = fields.split(b"\0")
    kind, mode, uid, gid, mtime, rdev, xattrs = attributes.split(b" ", 6)
    return Listed(
        path=path,
        target=target,
        kind=Kind(kind.decode()),
        mode=int(mode, 8),
        owner=(int(uid), int(gid)),
        mtime=int(mtime),
        rdev=int(rdev),
        xattrs=xattrs,
        content=content,
    )
