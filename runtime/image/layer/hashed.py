"""A layer's bytes on their way, and their name."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from types import TracebackType
from typing import Final, Self

from runtime.image.digest import DiffID

_AHEAD: Final = 16


class Hashed:
    """Chunks on their way, their digest taken in a thread; used in a `with` statement.

    On leaving it the thread is gone and the chunks are closed; `diff_id` and `size` are then
    those of what has come by.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._given = chunks
        self._chunks = iter(chunks)
        self._sum = hashlib.sha256()
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()  # a semaphore, at a tenth of the price
        for _ in range(_AHEAD):
            self._room.put(None)
        self._thread: threading.Thread | None = None
        self.size = 0

    @property
    def diff_id(self) -> DiffID:
        return DiffID("sha256:" + self._sum.hexdigest())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join()
        close = getattr(self._given, "close", None)
        if close is not None:
            close()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        if self._thread is None:
            self._thread = threading.Thread(target=self._hash)
            self._thread.start()
        self._room.get()
        self._queue.put(chunk)
        self.size += len(chunk)
        return chunk

    def _hash(self) -> None:
        while (chunk := self._queue.get()) is not None:
            self._sum.update(chunk)
            self._room.put(None)
