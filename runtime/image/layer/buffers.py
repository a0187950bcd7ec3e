"""One producer, several consumers, a fixed set of large buffers between them.

Hashing, compressing and writing release the interpreter's lock, so each gets a thread; the
producer fills one buffer while they work on the earlier ones. Every consumer gets the same
bytes, always in full buffers except for the last: a compressor's output may depend on how it is
fed (isal's does), so that must not depend on who produced the bytes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Final, Self

SIZE: Final = 1 << 20
"""The size of a buffer, and with it how much a consumer is fed at once."""
_COUNT: Final = 12
_ZEROS: Final = bytes(512)

Consumer = Callable[[memoryview], object]


class _Buffer:
    __slots__ = ("data", "filled", "holders")

    def __init__(self) -> None:
        self.data = memoryview(bytearray(SIZE))
        self.filled = 0
        self.holders = 0


class Fanout:
    """A stream of bytes to several consumers; used in a `with` statement.

    On leaving it normally everything has been consumed. If a consumer fails, its exception is
    raised here, by the next call or on leaving. Whichever way it is left, no thread remains. As
    long as one buffer holds everything there is no thread at all.
    """

    def __init__(self, *consumers: Consumer) -> None:
        self._consumers = consumers
        self._free: SimpleQueue[_Buffer] = SimpleQueue()
        self._inboxes: list[SimpleQueue[_Buffer | None]] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._made = 1
        self._buffer = _Buffer()
        self._data = self._buffer.data
        self._position = 0
        self.size = 0
        """Bytes in the buffers passed on so far; all of them once the `with` is left."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exc is None:
                self._finish()
        finally:
            for inbox in self._inboxes:
                inbox.put(None)
            for thread in self._threads:
                thread.join()
        if exc is None and self._error is not None:
            raise self._error

    def put(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        end = self._position + len(data)
        if end <= SIZE:
            self._data[self._position : end] = data
            self._position = end
            return
        view = memoryview(data)
        while view:
            if self._position == SIZE:
                self._hand_over()
            count = min(SIZE - self._position, len(view))
            self._data[self._position : self._position + count] = view[:count]
            self._position += count
            view = view[count:]

    def pad(self, size: int) -> None:
        """Append zeros as they follow `size` bytes in a tar."""
        count = -size % 512
        if count:
            self.put(_ZEROS[:count])

    def put_file(self, header: bytes, fd: int, size: int) -> int:
        """Append a header and a file of `size` bytes, padded, if one read can do it.

        Returns what there was of the file: `size`, or fewer, or more (then `size` plus one).
        Nothing has been appended unless it is `size`. -1 if it does not fit in the current
        buffer.
        """
        start = self._position + len(header)
        end = start + size
        if end + 512 > SIZE:
            return -1
        data = self._data
        count = os.readv(fd, (data[start : end + 1],))
        if count == size:
            data[self._position : start] = header
            padding = -size % 512
            data[end : end + padding] = _ZEROS[:padding]
            self._position = end + padding
        return count

    def read(self, fd: int, size: int) -> int:
        """Append the next `size` bytes of a file; returns how many there were."""
        left = size
        while left:
            if self._position == SIZE:
                self._hand_over()
            start = self._position
            count = os.readv(fd, (self._data[start : min(SIZE, start + left)],))
            if not count:
                break
            self._position = start + count
            left -= count
        return size - left

    def _finish(self) -> None:
        if self._threads:
            if self._position:
                self._hand_over()
        elif self._position:
            self.size += self._position
            last = self._data[: self._position]
            for consume in self._consumers:
                consume(last)

    def _hand_over(self) -> None:
        if self._error is not None:
            raise self._error
        if not self._threads:
            self._start()
        buffer = self._buffer
        buffer.filled = self._position
        buffer.holders = len(self._inboxes)
        self.size += buffer.filled
        for inbox in self._inboxes:
            inbox.put(buffer)
        if self._made < _COUNT and self._free.empty():
            self._made += 1
            self._buffer = _Buffer()
        else:
            self._buffer = self._free.get()
        self._data = self._buffer.data
        self._position = 0

    def _start(self) -> None:
        for consume in self._consumers:
            inbox: SimpleQueue[_Buffer | None] = SimpleQueue()
            thread = threading.Thread(target=self._consume, args=(consume, inbox))
            thread.start()
            self._inboxes.append(inbox)
            self._threads.append(thread)

    def _consume(self, consume: Consumer, inbox: SimpleQueue[_Buffer | None]) -> None:
        # After an error the buffers still go round, so that the producer is never left waiting.
        while (buffer := inbox.get()) is not None:
            if self._error is None:
                try:
                    consume(buffer.data[: buffer.filled])
                except BaseException as error:
                    self._error = error
            with self._lock:
                buffer.holders -= 1
                done = not buffer.holders
            if done:
                self._free.put(buffer)


def writer(fd: int) -> Consumer:
    """A consumer that writes everything to a file descriptor."""

    def write(data: memoryview) -> None:
        while data:
            data = data[os.write(fd, data) :]

    return write
