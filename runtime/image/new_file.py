"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def new_file(path: str) -> Iterator[int]:
    """A descriptor to write to; afterwards the file is at `path`, in place of what was there.

    On failure, and if we are killed, what was there stays, and nothing new is left (where the
    file system knows O_TMPFILE). What is no regular file (a terminal, a pipe) is written to as
    it is. Links are followed, the mode is the umask's.
    """
    path = os.path.realpath(path)
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(path).st_mode):
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                yield fd
            finally:
                os.close(fd)
            return
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name[:200]}.{os.urandom(6).hex()}")
    named = False
    try:
        fd = os.open(directory, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o666)
    except (IsADirectoryError, OSError):
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        named = True
    try:
        yield fd
        if not named:
            # With src_dir_fd CPython calls linkat(2), which can follow /proc's magic link.
            os.link(f"/proc/self/fd/{fd}", temporary, src_dir_fd=fd, follow_symlinks=True)
            named = True
        os.rename(temporary, path)
        named = False
    finally:
        os.close(fd)
        if named:
            with suppress(FileNotFoundError):
                os.unlink(temporary)


def write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    """Write every byte: write(2) may take fewer at a time."""
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]
