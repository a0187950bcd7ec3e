"""Objects of a git repository on disk, read without git: loose, in packs, in alternates.

Nothing of the repository's configuration is followed and nothing is run, so that a repository of
anybody's can be asked. Small objects only (commits): what would take more is not read. (git's
gitformat-pack(5) and gitrepository-layout(5))
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from typing import Final

_MOST: Final = 1 << 18
"""Bytes of an object."""
_MOST_TOGETHER: Final = 4 << 20
"""Bytes of a chain of deltas."""
_MOST_ALTERNATES: Final = 5
_MOST_PACKS: Final = 10_000
_COMMIT: Final = 1
_OFFSET_DELTA: Final = 6
_REFERENCE_DELTA: Final = 7
_INDEX_MAGIC: Final = b"\xfftOc\x00\x00\x00\x02"
_FANOUT: Final = 8
_HASHES: Final = _FANOUT + 1024


class Unreadable(Exception):
    """There is no such object, or none that can be read."""


def read_commit(objects: str, name: str) -> bytes:
    """The text of a commit in a folder `objects`; `Unreadable`."""
    folders, seen = [objects], 0
    while folders and seen <= _MOST_ALTERNATES:
        folder = folders.pop(0)
        seen += 1
        text = _loose(folder, name) or _packed(folder, bytes.fromhex(name))
        if text is not None:
            return text
        for line in (read_file(os.path.join(folder, "info", "alternates")) or b"").splitlines():
            if line and not line.startswith(b"#"):
                folders.append(os.path.join(folder, os.fsdecode(line)))
    raise Unreadable(f"no commit {name}")


def read_file(path: str, limit: int = _MOST) -> bytes | None:
    """What is in a regular file; `None` where there is none, or a longer one."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            return None
        return file.read(limit)


def _loose(objects: str, name: str) -> bytes | None:
    data = read_file(os.path.join(objects, name[:2], name[2:]))
    if data is None:
        return None
    head, found, text = _inflated(data, _MOST).partition(b"\0")
    if not found or not head.startswith(b"commit "):
        raise Unreadable(f"{name} is no commit")
    return text


def _inflated(data: bytes, size: int) -> bytes:
    """The first `size` bytes of what is compressed."""
    try:
        return zlib.decompressobj().decompress(data, size)
    except zlib.error as error:
        raise Unreadable(str(error)) from error


# ---- packs


def _packed(objects: str, name: bytes) -> bytes | None:
    folder = os.path.join(objects, "pack")
    try:
        files = sorted(file for file in os.listdir(folder) if file.endswith(".idx"))
    except OSError:
        return None
    for file in files[:_MOST_PACKS]:
        path = os.path.join(folder, file)
        try:
            with open(path, "rb") as index, open(f"{path[:-4]}.pack", "rb") as pack:
                fds = index.fileno(), pack.fileno()
                if not all(stat.S_ISREG(os.fstat(fd).st_mode) for fd in fds):
                    continue
                found = _Pack(*fds, len(name))
                offset = found.offset(name)
                if offset is not None:
                    return found.commit(offset)
        except OSError:
            continue
    return None


class _Pack:
    """A pack and its index (version 2), as descriptors; names are of `width` bytes."""

    def __init__(self, index: int, pack: int, width: int) -> None:
        self._index = index
        self._pack = pack
        self._width = width

    def offset(self, name: bytes) -> int | None:
        """Where in the pack an object is."""
        if os.pread(self._index, len(_INDEX_MAGIC), 0) != _INDEX_MAGIC:
            raise Unreadable("an index of another version")
        count = self._number(_FANOUT + 255 * 4)
        low = self._number(_FANOUT + (name[0] - 1) * 4) if name[0] else 0
        high = self._number(_FANOUT + name[0] * 4)
        while low < high:
            middle = (low + high) // 2
            found = os.pread(self._index, self._width, _HASHES + middle * self._width)
            if found == name:
                return self._place(middle, count)
            if found < name:
                low = middle + 1
            else:
                high = middle
        return None

    def _place(self, position: int, count: int) -> int:
        places = _HASHES + count * (self._width + 4)  # after the names and their checksums
        place = self._number(places + position * 4)
        if place & 1 << 31:
            far = places + count * 4 + (place & ~(1 << 31)) * 8
            (place,) = struct.unpack(">Q", self._exactly(self._index, 8, far))
        return place

    def commit(self, offset: int) -> bytes:
        """The commit at an offset, its deltas applied."""
        deltas: list[bytes] = []
        left = _MOST_TOGETHER
        while True:
            kind, size, data = self._header(offset)
            left -= size
            if size > _MOST or left < 0:
                raise Unreadable("too large")
            base = offset
            if kind == _OFFSET_DELTA:
                distance, data = _distance(data)
                base = offset - distance
            elif kind == _REFERENCE_DELTA:
                found = self.offset(data[: self._width])
                if found is None:
                    raise Unreadable("a delta of an object in another pack")
                base, data = found, data[self._width :]
            elif kind != _COMMIT:
                raise Unreadable("no commit")
            text = _inflated(data, size)
            if len(text) != size:
                raise Unreadable("cut off")
            if base == offset:
                break
            if not 0 < base < offset and kind == _OFFSET_DELTA:
                raise Unreadable("a delta of nothing")
            deltas.append(text)
            offset = base
        for delta in reversed(deltas):
            text = _patched(text, delta)
        return text

    def _header(self, offset: int) -> tuple[int, int, bytes]:
        """An object's type and size, and what follows: more than it can take, compressed."""
        # A compressed object may be a little longer than a plain one.
        data = os.pread(self._pack, _MOST + (64 << 10), offset)
        kind, size, shift, position = 0, 0, 4, 0
        while position < 10 and position < len(data):
            byte = data[position]
            position += 1
            if position == 1:
                kind, size = byte >> 4 & 7, byte & 15
            else:
                size |= (byte & 127) << shift
                shift += 7
            if not byte & 128:
                return kind, size, data[position:]
        raise Unreadable("cut off")

    def _number(self, place: int) -> int:
        return int.from_bytes(self._exactly(self._index, 4, place), "big")

    def _exactly(self, fd: int, size: int, place: int) -> bytes:
        data = os.pread(fd, size, place)
        if len(data) != size:
            raise Unreadable("cut off")
        return data


def _distance(data: bytes) -> tuple[int, bytes]:
    """How far back a delta's base is, and what follows."""
    distance = 0
    for position, byte in enumerate(data[:9]):
        distance = distance << 7 | byte & 127
        if not byte & 128:
            return distance, data[position + 1 :]
        distance += 1
    raise Unreadable("cut off")


def _patched(base: bytes, delta: bytes) -> bytes:
    """What a delta makes of its base: pieces of it, and new bytes between them."""
    position = 0

    def byte() -> int:
        nonlocal position
        if position == len(delta):
            raise Unreadable("cut off")
        position += 1
        return delta[position - 1]

    def length() -> int:
        value = shift = 0
        while (part := byte()) & 128:
            value |= (part & 127) << shift
            shift += 7
        return value | part << shift

    if length() != len(base):
        raise Unreadable("a delta of something else")
    size = length()
    out = bytearray()
    while position < len(delta) and len(out) <= min(size, _MOST):
        code = byte()
        if code & 128:
            start = sum(byte() << 8 * n for n in range(4) if code & 1 << n)
            count = sum(byte() << 8 * n for n in range(3) if code & 16 << n) or 1 << 16
            out += base[start : start + count]
        else:
            out += delta[position : position + code]
            position += code
    if len(out) != size:
        raise Unreadable("a delta of another size")
    return bytes(out)
