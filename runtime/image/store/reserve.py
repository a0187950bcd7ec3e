"""A little room that is kept for a full disk: even removing takes some, for the database.

A file of the store that holds nothing. Who makes room on a disk that is full takes it away first,
and puts it back when there is room again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from runtime.image.store.blobs import unlink_if_there
from runtime.image.store.paths import Paths

_BYTES: Final = 1 << 20


def keep_reserve(paths: Paths) -> None:
    """Have the reserve, if there is room for it."""
    with suppress(FileExistsError):
        fd = os.open(paths.reserve, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, _BYTES)
        except OSError:
            os.unlink(paths.reserve)  # There is none, then: nothing else depends on it.
        finally:
            os.close(fd)


@contextmanager
def spent_reserve(paths: Paths) -> Iterator[None]:
    """On a full disk, have the reserve's room meanwhile."""
    disk = os.statvfs(paths.root)
    if disk.f_bavail * disk.f_frsize < _BYTES:
        unlink_if_there(paths.reserve)
    try:
        yield
    finally:
        with suppress(OSError):  # Still full.
            keep_reserve(paths)
