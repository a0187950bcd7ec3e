"""gzip by several threads, the same bytes whatever their number: as pigz does it.

The input is cut into the blocks it comes in. Each is deflated by itself, with the end of the one
before it as the dictionary, and ended at a byte, so that they can be put one after the other into
one stream (RFC 1951, 3.2.4: an empty stored block).
"""

from __future__ import annotations

import os
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

_WINDOW: Final = 1 << 15
_RAW: Final = -15  # zlib's way to say: 32 KiB, without header and trailer
_MEMORY: Final = 8
_HEADER: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # no name, no time, no system
_END: Final = b"\x03\0"  # an empty block, the last one
_MOST_THREADS: Final = 8


class GzipBlocks:
    """A compressor, to be used in a `with` statement; on leaving it no thread remains.

    It is fed full blocks of one size, except for the last.
    """

    def __init__(self, level: int, threads: int | None = None) -> None:
        self._level = level
        self._threads = threads or max(1, min(_MOST_THREADS, len(os.sched_getaffinity(0))))
        self._stack = ExitStack()
        self._pool: ThreadPoolExecutor | None = None
        self._pending: deque[Future[bytes]] = deque()
        self._window = b""
        self._sum = 0
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for future in self._pending:
            future.cancel()
        self._stack.close()

    def compress(self, data: memoryview, /) -> bytes:
        """Take a block; what it gives is of earlier ones."""
        first = b"" if self._size else _HEADER
        block = bytes(data)  # the buffer is filled again while this is still compressed
        if self._pool is None:
            self._pool = self._stack.enter_context(ThreadPoolExecutor(self._threads))
        self._pending.append(self._pool.submit(_deflate, block, self._window, self._level))
        self._window = block[-_WINDOW:]
        self._sum = zlib.crc32(block, self._sum)
        self._size += len(block)
        return first + b"".join(self._done(2 * self._threads))

    def flush(self) -> bytes:
        """What is left, and the end."""
        first = b"" if self._size else _HEADER
        sums = self._sum.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")
        return first + b"".join((*self._done(0), _END, sums))

    def _done(self, most: int) -> list[bytes]:
        """What has to be waited for so that only so many blocks are on their way."""
        found = []
        while len(self._pending) > most:
            found.append(self._pending.popleft().result())
        return found


def _deflate(block: bytes, window: bytes, level: int) -> bytes:
    strategy = zlib.Z_DEFAULT_STRATEGY
    if window:
        compressor = zlib.compressobj(level, zlib.DEFLATED, _RAW, _MEMORY, strategy, window)
    else:
        compressor = zlib.compressobj(level, zlib.DEFLATED, _RAW, _MEMORY, strategy)
    return compressor.compress(block) + compressor.flush(zlib.Z_SYNC_FLUSH)
