"""The directories of `RUN --mount=type=cache`: `caches/NAME`, each with a lock `NAME.lock`.

Who uses one holds an flock(2) on its lock, whose time is when it was used last. Who removes one
holds the lock alone and removes it too: who has waited for it sees that it has no name any more,
and takes the next.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import Final

from runtime.image.store.measure import Amount

CACHE_MEMO: Final = "cache mount"
"""The kind of the memo that says what the `id=` of a cache is."""
_LOCK: Final = ".lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUsage:
    """One cache: its directory's name, its `id=`, what it takes, when it was used last."""

    name: str
    id: str
    amount: Amount
    last_used: int


@contextmanager
def cache_directory(folder: str, base: str, sharing: str) -> Iterator[str]:
    """The path of a cache's directory, which may not exist yet.

    `shared`: any number use it at once. `locked`: one after the other. `private`: the first
    directory of this cache that nobody else uses.
    """
    os.makedirs(folder, mode=0o700, exist_ok=True)
    how = fcntl.LOCK_SH if sharing == "shared" else fcntl.LOCK_EX
    if sharing == "private":
        how |= fcntl.LOCK_NB
    for number in count():
        path = f"{folder}/{base}" if number == 0 else f"{folder}/{base}.{number}"
        fd = _locked(path, how)
        if fd is not None:
            try:
                os.utime(fd)
                yield path
                os.utime(fd)  # What was measured meanwhile is not what it holds now.
                return
            finally:
                os.close(fd)


@contextmanager
def taken_cache(path: str) -> Iterator[bool]:
    """Whether nobody uses a cache; then nobody does until the end of the block.

    Its lock goes if the directory has gone by then.
    """
    fd = _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if fd is None:
        yield False
        return
    try:
        yield True
        if not os.path.lexists(path):
            os.unlink(path + _LOCK)
    finally:
        os.close(fd)


def cache_names(folder: str) -> list[str]:
    """The caches there are."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.endswith(_LOCK))
    except FileNotFoundError:
        return []


def last_used_ns(path: str) -> int:
    """When the use of a cache began or ended last, in nanoseconds since 1970."""
    for known in (path + _LOCK, path):
        with suppress(FileNotFoundError):
            return os.lstat(known).st_mtime_ns
    return 0


def _locked(path: str, how: int) -> int | None:
    """A descriptor that holds a cache's lock; `None` if others have it and `how` is not to wait."""
    while True:
        fd = os.open(path + _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, how)
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        if os.fstat(fd).st_nlink:
            return fd
        os.close(fd)  # Removed while we waited.
