"""Where a tar's bytes come from: pieces of a stream, or a file of which little is read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Protocol

from runtime.image.layer.tar_fields import refusal
from runtime.image.layer.tar_header import BLOCK


class Source(Protocol):
    """Where a tar's bytes come from."""

    def take(self, size: int) -> bytes:
        """The next bytes; fewer only at the end."""

    def skip(self, size: int) -> int:
        """Leave bytes out; returns how many there were."""


class Chunks:
    """A tar that comes in pieces of any size."""

    __slots__ = ("_chunks", "_end", "_offset", "_view")

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._view = memoryview(b"")
        self._offset = 0
        self._end = 0

    def take(self, size: int) -> bytes:
        start = self._offset
        end = start + size
        if end <= self._end:
            self._offset = end
            return bytes(self._view[start:end])
        return b"".join(self.pieces(size))

    def piece(self, size: int) -> memoryview:
        """Some of the next bytes; none only at the end."""
        start = self._offset
        if start == self._end:
            if not self._advance():
                return memoryview(b"")
            start = 0
        end = start + size
        if end > self._end:
            end = self._end
        self._offset = end
        return self._view[start:end]

    def pieces(self, size: int) -> Iterator[memoryview]:
        while size and (piece := self.piece(size)):
            size -= len(piece)
            yield piece

    def skip(self, size: int) -> int:
        end = self._offset + size
        if end <= self._end:
            self._offset = end
            return size
        return sum(map(len, self.pieces(size)))

    def _advance(self) -> bool:
        """Go on to the next chunk that holds anything."""
        for chunk in self._chunks:
            if chunk:
                self._view = memoryview(chunk)
                self._offset = 0
                self._end = len(chunk)
                return True
        return False


class Body:
    """The content of the member that a `TarReader` has reached; gone with the next member."""

    __slots__ = ("_chunks", "_left", "_member", "_padding")

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks
        self._member = b""
        self._left = 0
        self._padding = 0

    def begin(self, member: bytes, size: int) -> None:
        """Stand for another member (for `TarReader`)."""
        self._member = member
        self._left = size
        self._padding = -size % BLOCK

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, or all that is left."""
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._chunks.take(wanted)
        self._left -= wanted
        if len(data) < wanted:
            raise self._cut_off()
        return data

    def __iter__(self) -> Iterator[memoryview]:
        while self._left:
            piece = self._chunks.piece(self._left)
            if not piece:
                raise self._cut_off()
            self._left -= len(piece)
            yield piece

    def copy_to(self, fd: int) -> None:
        """Write all that is left to a file descriptor."""
        for piece in self:
            written = os.write(fd, piece)
            while written < len(piece):
                written += os.write(fd, piece[written:])

    def finish(self) -> None:
        """Leave out what has not been read (for `TarReader`)."""
        rest = self._left + self._padding
        if rest:
            if self._chunks.skip(rest) < self._left:
                raise self._cut_off()
            self._left = self._padding = 0

    def _cut_off(self) -> Exception:
        return refusal(self._member, "the tar is cut off")


class RawTar:
    """A tar on disk of which only the headers are read."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._size = os.fstat(fd).st_size
        self.position = 0

    def take(self, size: int) -> bytes:
        data = os.pread(self._fd, size, self.position)
        self.position += len(data)
        return data

    def skip(self, size: int) -> int:
        count = min(size, self._size - self.position)
        self.position += count
        return count
