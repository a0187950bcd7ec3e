"""Whatever a layer or an archive is compressed with, as a stream of plain chunks.

The content says what it is, never a name or a media type. Streams of several gzip members, zstd
frames, bzip2 or xz streams are one stream (eStargz and zstd:chunked layers are such). What is
decompressed at once is bounded, so that a small chunk cannot become gigabytes of memory.
"""

from __future__ import annotations

import os
import select
import stat
import threading
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import IO, Final, Protocol, cast

from runtime.image.errors import LayerError
from runtime.image.layer.compression import opened
from runtime.image.layer.memory import keep_freed_memory

_CHUNK: Final = 1 << 20
_FEED: Final = 1 << 18  # of compressed input; it becomes about a chunk
_AHEAD: Final = 8  # chunks decompressed before anybody asked for them
_XZ_MEMORY: Final = 256 << 20
_GZIP_WINDOW: Final = 31  # zlib's way to say: 32 KiB, with gzip's header and trailer
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_USTAR: Final = slice(257, 262)
_START: Final = 262  # enough to recognise anything

Read = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Growth:
    """What decompressing may give: `free` bytes, and `factor` times what was read for them."""

    free: int = 1 << 30
    factor: int = 200


def open_decompressed(
    source: int | str | Read, growth: Growth | None = None
) -> Generator[bytes, None, None]:
    """The plain content of a file (a path, or a descriptor from where it stands), in chunks.

    Or of what a function reads: as many bytes as it is asked for at the most, none at the end.

    Knows gzip, zstd, bzip2 and xz by their first bytes; anything else is passed on as it is.
    Reading and decompressing happen in a thread, which is gone once the generator is exhausted
    or closed; a descriptor that was given stays open. `LayerError` if the compressed data are
    corrupt or cut off, or give more than `growth` allows.
    """
    keep_freed_memory()
    if callable(source):
        with _in_thread(lambda _: _decompressed(source, growth)) as chunks:
            yield from chunks
    else:
        with (
            opened(source) as fd,
            _in_thread(lambda stop: _decompressed(_reader(fd, stop), growth)) as chunks,
        ):
            yield from chunks


def compression_suffix(start: bytes) -> str:
    """What a layer's media type ends in, by its first bytes: `+gzip`, `+zstd` …, or nothing."""
    return "" if (found := _compression(start)) is None else f"+{found}"


class _Channel:
    """From the thread that decompresses to the one that asked for it."""

    def __init__(self, stop: int) -> None:
        self._stop = stop
        self._stopped = False
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        self._error: BaseException | None = None
        self._room: SimpleQueue[None] = SimpleQueue()  # a semaphore, at a tenth of the price
        for _ in range(_AHEAD):
            self._room.put(None)

    def run(self, produce: Callable[[int], Iterator[bytes]]) -> None:
        try:
            for chunk in produce(self._stop):
                self._room.get()
                if self._stopped:
                    return
                self._queue.put(chunk)
        except BaseException as error:
            self._error = error
        finally:
            self._queue.put(None)

    def chunks(self) -> Iterator[bytes]:
        while (chunk := self._queue.get()) is not None:
            self._room.put(None)
            yield chunk
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        self._stopped = True
        self._room.put(None)
        os.eventfd_write(self._stop, 1)


@contextmanager
def _in_thread(produce: Callable[[int], Iterator[bytes]]) -> Iterator[Iterator[bytes]]:
    stop = os.eventfd(0, os.EFD_CLOEXEC)
    try:
        channel = _Channel(stop)
        thread = threading.Thread(target=channel.run, args=(produce,))
        thread.start()
        try:
            yield channel.chunks()
        finally:
            channel.stop()
            thread.join()
    finally:
        os.close(stop)


def _reader(fd: int, stop: int) -> Read:
    """A read that a pipe without a writer's attention cannot hold up after the stop."""
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return lambda size: os.read(fd, size)
    ready = select.poll()
    ready.register(fd, select.POLLIN)
    ready.register(stop, select.POLLIN)

    def read(size: int) -> bytes:
        if any(which == stop for which, _ in ready.poll()):
            return b""
        return os.read(fd, size)

    return read


def _decompressed(read: Read, growth: Growth | None) -> Iterator[bytes]:
    source = _Counted(read)
    start = source.read(_FEED)
    while len(start) < _START and (more := source.read(_FEED)):
        start += more
    chunks = _chunks(start, source.read)
    return chunks if growth is None else _bounded(chunks, source, growth)


class _Counted:
    """A read, and how much it has read."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.count = 0

    def read(self, size: int) -> bytes:
        data = self._read(size)
        self.count += len(data)
        return data


def _bounded(chunks: Iterator[bytes], source: _Counted, growth: Growth) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > growth.free + growth.factor * source.count:
            raise LayerError("", f"it becomes more than {growth.factor} times what it was")
        yield chunk


def _compression(start: bytes) -> str | None:
    if start[_USTAR] == b"ustar":  # the name of a first member can begin like anything
        return None
    if start.startswith(b"\x1f\x8b"):
        return "gzip"
    if start.startswith(_ZSTD_MAGIC) or _is_skippable(start):
        return "zstd"
    if start.startswith(b"BZh"):
        return "bzip2"
    if start.startswith(b"\xfd7zXZ\0"):
        return "xz"
    return None


def _chunks(start: bytes, read: Read) -> Iterator[bytes]:
    match _compression(start):
        case "gzip":
            return _gzip(start, read)
        case "zstd":
            return _zstd(start, read)
        case "bzip2":
            return _bzip2(start, read)
        case "xz":
            return _xz(start, read)
        case _:
            return _plain(start, read)


def _plain(start: bytes, read: Read) -> Iterator[bytes]:
    if start:
        yield start
    while chunk := read(_CHUNK):
        yield chunk


def _gzip(data: bytes, read: Read) -> Iterator[bytes]:
    decompressobj, failure = _inflate()
    while data:
        stream = decompressobj(_GZIP_WINDOW)
        full = False
        while not stream.eof:
            if not data and not full and not (data := read(_FEED)):
                raise _cut_off("gzip")
            try:
                chunk = stream.decompress(data, _CHUNK)
            except failure as error:
                raise _corrupt("gzip", error) from error
            full = len(chunk) == _CHUNK
            data = stream.unconsumed_tail
            if chunk:
                yield chunk
        data = _after_padding(stream.unused_data, read, 2)
        if data and not data.startswith(b"\x1f\x8b"):
            raise LayerError("", "there is something else behind the gzip data")


class _Inflate(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _inflate() -> tuple[Callable[[int], _Inflate], type[Exception]]:
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.decompressobj, zlib.error
    # isal's stubs call its exception class an exception.
    return isal_zlib.decompressobj, cast("type[Exception]", isal_zlib.error)


def _after_padding(data: bytes, read: Read, need: int) -> bytes:
    """What follows a stream, without zeros (tapes are padded), at least `need` bytes of it."""
    data = data.lstrip(b"\0")
    while len(data) < need and (more := read(_FEED)):
        data = (data + more).lstrip(b"\0")
    return data


def _bzip2(data: bytes, read: Read) -> Iterator[bytes]:
    import bz2

    return _streams("bzip2", bz2.BZ2Decompressor, b"BZh", data, read)


def _xz(data: bytes, read: Read) -> Iterator[bytes]:
    import lzma

    def made() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    return _streams("xz", made, b"\xfd7zXZ\0", data, read)


class _Stream(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _streams(
    name: str, made: Callable[[], _Stream], magic: bytes, data: bytes, read: Read
) -> Iterator[bytes]:
    import lzma

    while data:
        stream = made()
        while not stream.eof:
            if stream.needs_input and not data and not (data := read(_FEED)):
                raise _cut_off(name)
            try:
                chunk = stream.decompress(data, _CHUNK)
            except (lzma.LZMAError, OSError, EOFError) as error:
                raise _corrupt(name, error) from error
            data = b""
            if chunk:
                yield chunk
        data = _after_padding(stream.unused_data, read, len(magic))
        if data and not data.startswith(magic):
            raise LayerError("", f"there is something else behind the {name} data")


def _zstd(data: bytes, read: Read) -> Iterator[bytes]:
    import zstandard

    source = _ZstdSource(data, read)
    reader = zstandard.ZstdDecompressor().stream_reader(
        cast("IO[bytes]", source), read_size=_FEED, read_across_frames=True, closefd=False
    )
    try:
        while chunk := reader.read(_CHUNK):
            yield chunk
    except zstandard.ZstdError as error:
        raise _corrupt("zstd", error) from error
    if not source.complete:
        raise _cut_off("zstd")


class _ZstdSource:
    """Input for a zstd reader, which itself does not notice that its input is cut off.

    So the frames' and blocks' lengths are followed here (RFC 8878, section 3.1).
    """

    def __init__(self, start: bytes, read: Read) -> None:
        self._start = start
        self._read = read
        self._pending = b""
        self._skip = 0
        self._next: Callable[[bytes], int | None] = self._frame
        self._checksum = False

    def read(self, size: int) -> bytes:
        data, self._start = self._start or self._read(size), b""
        self._follow(data)
        return data

    @property
    def complete(self) -> bool:
        """Whether the input so far ends where a frame ends."""
        return not self._skip and not self._pending and self._next == self._frame

    def _follow(self, data: bytes) -> None:
        if self._skip >= len(data):
            self._skip -= len(data)
            return
        data = self._pending + data[self._skip :] if self._skip else self._pending + data
        self._skip = 0
        position = 0
        while position < len(data):
            # A header has at most 18 bytes; if it is not all there yet it is looked at again.
            length = self._next(data[position : position + 18])
            if length is None:
                break
            position += length
        self._pending = data[position:] if position < len(data) else b""
        self._skip = max(0, position - len(data))

    def _frame(self, head: bytes) -> int | None:
        if len(head) < 5:
            return None
        if not head.startswith(_ZSTD_MAGIC):  # a skippable frame, or the decoder will complain
            return None if len(head) < 8 else 8 + int.from_bytes(head[4:8], "little")
        flags = head[4]
        single = bool(flags & 0x20)
        content = (1 if single else 0, 2, 4, 8)[flags >> 6]
        self._checksum = bool(flags & 0x04)
        self._next = self._block
        return 5 + (0 if single else 1) + (0, 1, 2, 4)[flags & 3] + content

    def _block(self, head: bytes) -> int | None:
        if len(head) < 3:
            return None
        header = int.from_bytes(head[:3], "little")
        length = 1 if header & 6 == 2 else header >> 3  # a run has one byte, however long
        if header & 1:
            self._next = self._frame
            length += 4 if self._checksum else 0
        return 3 + length


def _is_skippable(data: bytes) -> bool:
    return data[1:4] == b"\x2a\x4d\x18" and data[0] >> 4 == 5


def _cut_off(name: str) -> LayerError:
    return LayerError("", f"the {name} data are cut off")


def _corrupt(name: str, error: Exception) -> LayerError:
    return LayerError("", f"the {name} data are corrupt: {error}")
