"""Compressed layers: out, byte for byte the same for the same input; in, whatever there is.

What a compressor makes of a layer depends on its version and on how it is fed, so both are part
of `compressor_id`; within one identifier the bytes depend on the input alone.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Final, Protocol

from runtime.image.digest import Digest
from runtime.image.layer.buffers import Fanout, writer
from runtime.image.layer.memory import keep_freed_memory

_ISAL_LEVEL: Final = 1
_ZLIB_LEVEL: Final = 6
_ZSTD_LEVEL: Final = 3
_GZIP_WINDOW: Final = 31  # zlib's way to say: 32 KiB, with gzip's header and trailer
_EVERYTHING: Final = 1 << 62


class Compression(Enum):
    """How a layer's blob is compressed; the values are the suffixes of OCI media types."""

    GZIP = "gzip"
    ZSTD = "zstd"
    UNCOMPRESSED = ""


class _Compressor(Protocol):
    def compress(self, data: memoryview, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Copy:
    def compress(self, data: memoryview, /) -> bytes:
        return bytes(data)

    def flush(self) -> bytes:
        return b""


def compressor_id(compression: Compression) -> str:
    """A name for what decides the compressed bytes, the input apart."""
    match compression:
        case Compression.GZIP:
            try:
                import isal
            except ImportError:
                return f"zlib-{zlib.ZLIB_RUNTIME_VERSION}/l{_ZLIB_LEVEL}/feed1MiB"
            return f"isal-{isal.ISAL_VERSION}/l{_ISAL_LEVEL}/feed1MiB"
        case Compression.ZSTD:
            import zstandard

            version = ".".join(str(number) for number in zstandard.ZSTD_VERSION)
            return f"zstd-{version}/l{_ZSTD_LEVEL}/mt/feed1MiB"
        case Compression.UNCOMPRESSED:
            return "none"


def compress_blob(source: int | str, out_fd: int, compression: Compression) -> tuple[Digest, int]:
    """Compress a file (a path, or a descriptor from where it stands) to a descriptor.

    Returns the compressed blob's digest and size. Reading, compressing, hashing and writing
    overlap.
    """
    with opened(source) as fd, compressing(out_fd, compression) as blob, Fanout(blob.feed) as raw:
        raw.read(fd, _EVERYTHING)
    return blob.digest, blob.size


class CompressedBlob:
    """What `compressing` gives: `feed` takes the input, `digest` and `size` are known after it."""

    def __init__(self, compressor: _Compressor, out_fd: int) -> None:
        self._compressor = compressor
        self._write = writer(out_fd)
        self._sum = hashlib.sha256()
        self.digest = Digest("")
        self.size = 0

    def feed(self, data: memoryview) -> None:
        """Compress what a `Fanout` hands out; always a full buffer, except for the last."""
        # What comes out is still in the processor's cache: no other thread would be quicker.
        self._put(self._compressor.compress(data))

    def finish(self) -> None:
        self._put(self._compressor.flush())
        self.digest = Digest("sha256:" + self._sum.hexdigest())

    def _put(self, compressed: bytes) -> None:
        self._sum.update(compressed)
        self._write(memoryview(compressed))
        self.size += len(compressed)


@contextmanager
def compressing(out_fd: int, compression: Compression) -> Iterator[CompressedBlob]:
    """A compressed blob in the making, written to `out_fd`."""
    keep_freed_memory()
    blob = CompressedBlob(_compressor(compression), out_fd)
    yield blob
    blob.finish()


@contextmanager
def opened(source: int | str) -> Iterator[int]:
    """A descriptor for a path, or the descriptor that was given, which stays open."""
    if isinstance(source, int):
        yield source
        return
    fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _compressor(compression: Compression) -> _Compressor:
    match compression:
        case Compression.GZIP:
            # No name and no time in the header, in either library.
            try:
                from isal import isal_zlib
            except ImportError:
                return zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
            return isal_zlib.compressobj(_ISAL_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
        case Compression.ZSTD:
            import zstandard

            # Any number of threads but none gives the same bytes; none gives others.
            threads = max(1, min(4, os.cpu_count() or 1))
            made = zstandard.ZstdCompressor(
                level=_ZSTD_LEVEL, threads=threads, write_checksum=True, write_content_size=False
            )
            return made.compressobj()
        case Compression.UNCOMPRESSED:
            return _Copy()
