"""A folder in which one process at a time changes things.

Imported ahead of every container: it imports next to nothing.
"""

from __future__ import annotations

import fcntl
import os


class locked_folder:
    """A folder, made if it is not there, that nobody else locks until the end of the block."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> None:
        os.makedirs(self._path, mode=0o700, exist_ok=True)
        self._fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        except BaseException:
            os.close(self._fd)
            raise

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
