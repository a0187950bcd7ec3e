"""Locks between processes and threads, as byte ranges of one file.

Open file description locks (fcntl(2), F_OFD_SETLK): the kernel frees them however a process
ends, threads of one process exclude each other as well, a shared lock becomes an exclusive one
without a gap (flock(2) lets go in between, and has lost the lock when it fails), and no file per
lock is left behind. A child does not inherit them across exec.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_FLOCK: Final = "hhqqi4x"
"""`struct flock`: type, whence, start, length, pid (which has to be 0)."""


class LockFile:
    """A lock on one file opened on its own; closing it frees all it holds."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def share(self, position: int) -> None:
        """Take or keep the byte together with others; waits for who has it alone."""
        fcntl.fcntl(self._fd, fcntl.F_OFD_SETLKW, _flock(fcntl.F_RDLCK, position))

    def take(self, position: int) -> None:
        """Take the byte alone; waits for all others."""
        fcntl.fcntl(self._fd, fcntl.F_OFD_SETLKW, _flock(fcntl.F_WRLCK, position))

    def try_take(self, position: int) -> bool:
        """Take the byte alone, if nobody else has it; a shared lock we have is kept otherwise."""
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK, position))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def let_go(self, position: int) -> None:
        """Free the byte."""
        fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK, position))

    def close(self) -> None:
        os.close(self._fd)


class locked:
    """Hold one byte of a lock file alone; waits for whoever has it."""

    def __init__(self, path: str, position: int) -> None:
        self._path = path
        self._position = position

    def __enter__(self) -> None:
        self._lock = LockFile(self._path)
        try:
            self._lock.take(self._position)
        except BaseException:
            self._lock.close()
            raise

    def __exit__(self, *_: object) -> None:
        self._lock.close()


def _flock(kind: int, position: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, position, 1, 0)
