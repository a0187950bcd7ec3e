"""A lock on a directory, which says that somebody has it.

Imported ahead of every container: it imports next to nothing.
"""

from __future__ import annotations

import fcntl
import os


def try_lock_directory(path: str) -> int | None:
    """A descriptor that locks a directory; `None` if somebody has it, or it has been removed."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), os.lstat(path)):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None
