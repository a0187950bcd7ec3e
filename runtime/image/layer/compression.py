"""Compressed layers: byte for byte the same for the same input and recipe."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from runtime.image.digest import Digest
from runtime.image.layer.buffers import Fanout, writer
from runtime.image.layer.memory import keep_freed_memory
from runtime.image.layer.recipe import (
    Compression,
    Recipe,
    compressor_id,
    isal_level,
    zlib_level,
    zstd_level,
)

_GZIP_WINDOW: Final = 31  # isal's way to say: 32 KiB, with gzip's header and trailer
_EVERYTHING: Final = 1 << 62


class _Compressor(Protocol):
    def compress(self, data: memoryview, /) -> bytes | memoryview: ...
    def flush(self) -> bytes: ...


class _Copy:
    def compress(self, data: memoryview, /) -> memoryview:
        return data

    def flush(self) -> bytes:
        return b""


def compress_blob(source: int | str, out_fd: int, recipe: Recipe) -> tuple[Digest, int]:
    """Compress a file (a path, or a descriptor from where it stands) to a descriptor.

    Returns the compressed blob's digest and size. Reading, compressing, hashing and writing
    overlap.
    """
    with opened(source) as fd, compressing(out_fd, recipe) as blob, Fanout(blob.feed) as raw:
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

    def _put(self, compressed: bytes | memoryview) -> None:
        self._sum.update(compressed)
        self._write(memoryview(compressed))
        self.size += len(compressed)


@contextmanager
def compressing(out_fd: int, recipe: Recipe) -> Iterator[CompressedBlob]:
    """A compressed blob in the making, written to `out_fd`.

    `CompressorUnfit` if it cannot be made here.
    """
    keep_freed_memory()
    with _compressor(recipe) as compressor:
        blob = CompressedBlob(compressor, out_fd)
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


@contextmanager
def _compressor(recipe: Recipe) -> Iterator[_Compressor]:
    match recipe.compression:
        case Compression.GZIP:
            compressor_id(recipe)  # says whether it can be had
            level = isal_level(recipe)
            if level is None:
                from runtime.image.layer.gzip_blocks import GzipBlocks

                with GzipBlocks(zlib_level(recipe)) as blocks:
                    yield blocks
            else:
                from isal import isal_zlib

                # Neither a name nor a time is in its header.
                yield isal_zlib.compressobj(level, zlib.DEFLATED, _GZIP_WINDOW)
        case Compression.ZSTD:
            import zstandard

            # Any number of threads but none gives the same bytes; none gives others.
            threads = max(1, min(4, os.cpu_count() or 1))
            made = zstandard.ZstdCompressor(
                level=zstd_level(recipe),
                threads=threads,
                write_checksum=True,
                write_content_size=False,
            )
            yield made.compressobj()
        case Compression.UNCOMPRESSED:
            yield _Copy()
