"""One entry of a layer, as a value: what a tar member and an inode have in common.

Paths are bytes, relative to the root, without a leading or trailing slash and without `.` or
`..` components; the root itself is `b""` and is never an entry of a layer.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Kind(Enum):
    """What an entry is. The values are the letters that `ls -l` shows, where it has one."""

    REGULAR = "-"
    DIRECTORY = "d"
    SYMLINK = "l"
    HARDLINK = "h"
    CHARACTER = "c"
    BLOCK = "b"
    FIFO = "p"
    WHITEOUT = "w"
    """The path is removed from the layers below (image-spec, layer.md, "Whiteouts")."""
    OPAQUE = "o"
    """The directory's content in the layers below is hidden."""


FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""To read a regular file: never through a link, never waiting for what is no such file."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """Where a regular file's bytes are: `path` from `offset`.

    `fd` is the file, open at its first byte, if who gave this has it open just now.
    """

    path: bytes
    offset: int = 0
    fd: int | None = None

    def open(self) -> int:
        """A file descriptor at the first byte; the caller closes it. Never follows a link."""
        fd = os.open(self.path, FILE_FLAGS)
        if self.offset:
            os.lseek(fd, self.offset, os.SEEK_SET)
        return fd


Content = bytes | FileSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry of a layer.

    `mode` is the permission bits (07777); `mtime` whole seconds; `target` a symlink's text, or
    the path of the entry a hard link refers to; `inode` equal and not `None` for entries that
    are the same file.
    """

    path: bytes
    kind: Kind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    target: bytes = b""
    rdev: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()
    content: Content = b""
    inode: tuple[int, int] | None = None
