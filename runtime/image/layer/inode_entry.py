"""Inodes to entries: what a layer would say of a file that lies on disk."""

from __future__ import annotations

import os
import stat

from runtime.image.layer.entry import Entry, FileSource, Kind
from runtime.image.layer.overlay_marks import (
    is_whiteout_device,
    is_whiteout_file,
    kept_xattrs,
    xattr_names,
)

_SECOND = 10**9


def is_whiteout(real: bytes, status: os.stat_result) -> bool:
    """Whether the file at `real` says that its path is removed."""
    if stat.S_ISREG(status.st_mode):
        return not status.st_size and is_whiteout_file(xattr_names(real))
    return is_whiteout_device(status.st_mode, status.st_rdev)


def directory_entry(
    path: bytes, real: bytes, status: os.stat_result, mtime: int | None, names: list[str]
) -> Entry:
    """The entry at `path` for the directory at `real`, which has the attributes `names`."""
    return Entry(
        path=path,
        kind=Kind.DIRECTORY,
        mode=status.st_mode & 0o7777,
        uid=status.st_uid,
        gid=status.st_gid,
        mtime=status.st_mtime_ns // _SECOND if mtime is None else mtime,
        xattrs=kept_xattrs(real, names) if names else (),
    )


def file_entry(
    path: bytes, real: bytes, status: os.stat_result, mtime: int | None = None
) -> Entry | None:
    """The entry at `path` for a file, link or device at `real`; `None` for a socket.

    A regular file with several names has an `inode`.
    """
    mode = status.st_mode
    kind, size, target = Kind.REGULAR, 0, b""
    content: bytes | FileSource = b""
    names: list[str] = []
    if stat.S_ISREG(mode):
        size = status.st_size
        if size:
            content = FileSource(real)
        names = xattr_names(real)
    elif stat.S_ISLNK(mode):
        kind, target = Kind.SYMLINK, os.readlink(real)
    elif stat.S_ISCHR(mode):
        kind = Kind.CHARACTER
    elif stat.S_ISBLK(mode):
        kind = Kind.BLOCK
    elif stat.S_ISFIFO(mode):
        kind = Kind.FIFO
    else:
        return None
    regular = kind is Kind.REGULAR
    return Entry(
        path=path,
        kind=kind,
        mode=mode & 0o7777,
        uid=status.st_uid,
        gid=status.st_gid,
        mtime=status.st_mtime_ns // _SECOND if mtime is None else mtime,
        size=size,
        target=target,
        rdev=0 if regular else status.st_rdev,
        xattrs=kept_xattrs(real, names) if names else (),
        content=content,
        inode=(status.st_dev, status.st_ino) if regular and status.st_nlink > 1 else None,
    )
