"""A layer as a tree on disk, asked about one path at a time."""

from __future__ import annotations

import os
import stat
from typing import Final

from runtime.image.layer.entry import Entry, Kind
from runtime.image.layer.inode_entry import directory_entry, file_entry, is_whiteout
from runtime.image.layer.overlay_marks import (
    has_whiteout_files,
    is_opaque,
    is_whiteout_device,
    is_whiteout_file,
    xattr_names,
)
from runtime.image.layer.owners import KERNEL_OWNERS, Owners, RecordedOwners, recorded_entry

_ABSENT: Final = (FileNotFoundError, NotADirectoryError)


class TreeForm:
    """A layer that lies in a directory, as overlayfs has it; nothing is read before it is asked.

    The paths asked about must have no links on the way in this layer (`View` sees to that).
    """

    def __init__(self, path: str, owners: Owners = KERNEL_OWNERS) -> None:
        self._owners = owners
        self.path = path
        self._real = os.fsencode(path)

    def entry(self, path: bytes) -> Entry | None:
        """What this layer says of a path: an entry, possibly a WHITEOUT, or nothing."""
        real = self._real + b"/" + path if path else self._real
        try:
            status = os.lstat(real)
            if stat.S_ISDIR(status.st_mode):
                names = xattr_names(real)
                entry: Entry | None = directory_entry(path, real, status, None, names)
            elif is_whiteout(real, status):
                return Entry(path=path, kind=Kind.WHITEOUT, mode=0)
            else:
                entry = file_entry(path, real, status)
            if entry is not None and isinstance(self._owners, RecordedOwners):
                return recorded_entry(self._owners, entry, real)
        except _ABSENT:
            return None
        return entry

    def is_opaque(self, path: bytes) -> bool:
        """Whether a directory of this layer hides what the layers below have in it."""
        real = self._real + b"/" + path
        return is_opaque(real, xattr_names(real))

    def names(self, path: bytes) -> list[tuple[bytes, bool]]:
        """The names in a directory of this layer, each with whether it is a whiteout."""
        real = self._real + b"/" + path if path else self._real
        files_too = has_whiteout_files(real)
        with os.scandir(real) as items:
            return [(item.name, _is_whiteout_item(item, files_too)) for item in items]


def _is_whiteout_item(item: os.DirEntry[bytes], files_too: bool) -> bool:
    if item.is_dir(follow_symlinks=False) or item.is_symlink():
        return False
    if item.is_file(follow_symlinks=False):
        return files_too and is_whiteout_file(xattr_names(item.path))
    status = item.stat(follow_symlinks=False)
    return is_whiteout_device(status.st_mode, status.st_rdev)
