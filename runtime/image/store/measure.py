"""How much a directory takes on its disk."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_BLOCK: Final = 512
"""Of `st_blocks`, whatever the file system's own block is (inode(7))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """Bytes as allocated, and inodes."""

    bytes: int = 0
    inodes: int = 0

    def __sub__(self, other: Amount) -> Amount:
        return Amount(bytes=self.bytes - other.bytes, inodes=self.inodes - other.inodes)

    def __add__(self, other: Amount) -> Amount:
        return Amount(bytes=self.bytes + other.bytes, inodes=self.inodes + other.inodes)


def total_of(amounts: Iterable[Amount]) -> Amount:
    """All of them together."""
    total = Amount()
    for amount in amounts:
        total += amount
    return total


def measure(path: str) -> Amount:
    """What a file, or a directory with all below it, takes; hard links count once.

    What disappears meanwhile counts nothing. No link is followed.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return Amount()
    blocks, inodes = status.st_blocks, 1
    linked: set[int] = set()
    folders = [path]
    while folders:
        try:
            entries = os.scandir(folders.pop())
        except (FileNotFoundError, NotADirectoryError):
            continue
        with entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif status.st_nlink > 1:
                    if status.st_ino in linked:
                        continue
                    linked.add(status.st_ino)
                blocks += status.st_blocks
                inodes += 1
    return Amount(bytes=blocks * _BLOCK, inodes=inodes)
