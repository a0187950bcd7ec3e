"""Blobs on their way in: what has come of them is kept, also for the process after this one.

A file is named after the digest that it is to have, and locked while somebody adds to it. What
nobody has added to for a while is removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Final

from runtime.image.digest import Digest, encoded
from runtime.image.errors import StoreError
from runtime.image.new_file import write_all

_CHUNK: Final = 1 << 20
_LOCK_SECONDS: Final = 0.05
_KEPT_SECONDS: Final = 3 * 86400


class PartialBlob:
    """The beginning of a blob; one thread adds to it, others read along."""

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd
        self._grown = threading.Condition()
        self._hasher = hashlib.sha256()
        self._size = 0
        self._ended = False
        self._error: BaseException | None = None

    def read_up(self) -> None:
        """Find out what there is already."""
        while data := os.read(self._fd, _CHUNK):
            self._hasher.update(data)
            self._size += len(data)

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return self._size

    @property
    def digest(self) -> Digest:
        """The digest of what there is."""
        return Digest("sha256:" + self._hasher.hexdigest())

    def append(self, data: bytes) -> None:
        """Add bytes at the end; `StoreError` once it is closed."""
        self._hasher.update(data)
        with self._grown:
            if self._fd < 0:
                raise StoreError(f"{self.path} is closed")
            write_all(self._fd, data)
            self._size += len(data)
            self._grown.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """No more bytes will come; with an error, readers get that instead of the end."""
        with self._grown:
            self._ended, self._error = True, error
            self._grown.notify_all()

    def head(self, size: int) -> bytes:
        """The first bytes."""
        return os.pread(self._fd, size, 0)

    def start_again(self) -> None:
        """Throw away what there is. Nobody may be reading."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._hasher = hashlib.sha256()
        self._size, self._ended, self._error = 0, False, None

    def discard(self) -> None:
        """Remove the file."""
        with suppress(FileNotFoundError):
            os.unlink(self.path)

    def close(self) -> None:
        """Let go of the file. A thread that still wants to add to it is refused."""
        with self._grown:
            os.close(self._fd)
            self._fd = -1

    def reader(self, check: Callable[[], None]) -> Callable[[int], bytes]:
        """A function that reads from the beginning on and waits for bytes that have not come yet.

        `check` is called each time, and may raise.
        """
        position = 0

        def read(size: int) -> bytes:
            nonlocal position
            check()
            with self._grown:
                while self._size == position and not self._ended:
                    self._grown.wait()
                if self._error is not None:
                    raise self._error
            data = os.pread(self._fd, size, position)
            position += len(data)
            return data

        return read


@contextmanager
def partial_blob(
    directory: str, digest: Digest, pause: Callable[[float], None]
) -> Iterator[PartialBlob]:
    """What there is of a blob, for us alone: `pause` is called while another has it.

    It stays there afterwards, unless it was moved away.
    """
    os.makedirs(directory, mode=0o700, exist_ok=True)
    path = os.path.join(directory, encoded(digest))
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with closing(PartialBlob(path, fd)) as partial:
            if _lock(fd, path):
                partial.read_up()
                yield partial
                return
        pause(_LOCK_SECONDS)


def sweep_partial(directory: str, kept_seconds: float = _KEPT_SECONDS) -> int:
    """Remove what nobody has added to for days, or so long; how many bytes that were."""
    freed = 0
    with suppress(FileNotFoundError):
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            with suppress(FileNotFoundError):
                fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    status = os.fstat(fd)
                    if time.time() - status.st_mtime >= kept_seconds and _lock(fd, path):
                        os.unlink(path)
                        freed += status.st_size
                finally:
                    os.close(fd)
    return freed


def _lock(fd: int, path: str) -> bool:
    """Whether the file is ours now, and still the one of that name."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except (BlockingIOError, FileNotFoundError):
        return False
