"""A tar without its compression, as a file."""

from __future__ import annotations

import os
import stat
from contextlib import closing
from typing import Final

from runtime.image.layer.decompression import Growth, open_decompressed
from runtime.image.new_file import write_all

_MAGIC_AT: Final = 257
_MAGIC: Final = b"ustar"


def plain_tar(source: str | int, space: str, growth: Growth | None = None) -> str:
    """The path of the tar without its compression: the source itself, if it has none.

    Anything else (a descriptor, a pipe, what is compressed) is copied to the directory `space`.
    `LayerError` as `open_decompressed`.
    """
    if isinstance(source, str) and _is_tar(source):
        return os.path.realpath(source)
    path = os.path.join(space, "tar")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with closing(open_decompressed(source, growth)) as chunks:
            for chunk in chunks:
                write_all(fd, chunk)
    finally:
        os.close(fd)
    return path


def _is_tar(path: str) -> bool:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return False
        return os.pread(fd, len(_MAGIC), _MAGIC_AT) == _MAGIC
    finally:
        os.close(fd)
