"""Inodes to entries: what a layer would say of a file that lies on disk."""

from __future__ import annotations

import os
import stat

from runtime.image.layer.entry import Content, Entry, FileSource, Kind
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
    path: bytes, place: bytes | int, status: os.stat_result, mtime: int | None, names: list[str]
) -> Entry:
    """The entry at `path` for the directory at `place`, which has the attributes `names`.

    Here as below, a place is a path or a file descriptor.
    """
    return Entry(
        path=path,
        kind=Kind.DIRECTORY,
        mode=status.st_mode & 0o7777,
        uid=status.st_uid,
        gid=status.st_gid,
        mtime=status.st_mtime_ns // _SECOND if mtime is None else mtime,
        xattrs=kept_xattrs(place, names) if names else (),
    )


def file_entry(path: bytes, real: bytes, status: os.stat_result) -> Entry | None:
    """The entry at `path` for a file, link or device at `real`; `None` for a socket."""
    if stat.S_ISREG(status.st_mode):
        return regular_entry(path, real, status, None, FileSource(real) if status.st_size else b"")
    target = os.readlink(real) if stat.S_ISLNK(status.st_mode) else b""
    return special_entry(path, status, None, target)


def regular_entry(
    path: bytes, place: bytes | int, status: os.stat_result, mtime: int | None, content: Content
) -> Entry:
    """The entry at `path` for a regular file; with several names it has an `inode`."""
    names = xattr_names(place)
    return Entry(
        path=path,
        kind=Kind.REGULAR,
        mode=status.st_mode & 0o7777,
        uid=status.st_uid,
        gid=status.st_gid,
        mtime=status.st_mtime_ns // _SECOND if mtime is None else mtime,
        size=status.st_size,
        xattrs=kept_xattrs(place, names) if names else (),
        content=content,
        inode=(status.st_dev, status.st_ino) if status.st_nlink > 1 else None,
    )


def special_entry(
    path: bytes, status: os.stat_result, mtime: int | None, target: bytes
) -> Entry | None:
    """The entry at `path` for a link to `target`, a device or a fifo; `None` for a socket."""
    match stat.S_IFMT(status.st_mode):
        case stat.S_IFLNK:
            kind = Kind.SYMLINK
        case stat.S_IFCHR:
            kind = Kind.CHARACTER
        case stat.S_IFBLK:
            kind = Kind.BLOCK
        case stat.S_IFIFO:
            kind = Kind.FIFO
        case _:
            return None
    return Entry(
        path=path,
        kind=kind,
        mode=status.st_mode & 0o7777,
        uid=status.st_uid,
        gid=status.st_gid,
        mtime=status.st_mtime_ns // _SECOND if mtime is None else mtime,
        target=target,
        rdev=status.st_rdev,
    )
