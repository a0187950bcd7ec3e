"""Reading a tree that others may be changing: every file is what it was when it was opened."""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Generator, Iterator
from typing import Final

from runtime.copying.items import CopyFailed, Item

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_Inode = tuple[int, int]


def read_tree(path_fd: int) -> Iterator[Item]:
    """What a descriptor (O_PATH) stands for, and all below it; sockets are left out.

    No link is followed. What disappears meanwhile is not there; what turns into something else
    is `OSError` or `CopyFailed`.
    """
    first: dict[_Inode, bytes] = {}
    status = os.fstat(path_fd)
    if not stat.S_ISDIR(status.st_mode):
        if stat.S_ISREG(status.st_mode):
            fd = os.open(f"/proc/self/fd/{path_fd}", _FILE & ~os.O_NOFOLLOW)
            try:
                yield _regular(fd, b"", first)
            finally:
                os.close(fd)
        elif not stat.S_ISSOCK(status.st_mode):
            link = stat.S_ISLNK(status.st_mode)
            yield _plain(status, b"", os.readlink(b"", dir_fd=path_fd) if link else b"")
        return
    stack = [_Directory(os.open(b".", _DIRECTORY, dir_fd=path_fd), b"")]
    try:
        yield _plain(os.fstat(stack[0].fd), b"", b"")
        while stack:
            directory = stack[-1]
            name = next(directory.names, None)
            if name is None:
                os.close(stack.pop().fd)
                continue
            try:
                opened = yield from _entry(directory, name, first)
            except FileNotFoundError:
                continue
            if opened is not None:
                stack.append(opened)
    finally:
        for directory in stack:
            os.close(directory.fd)


class _Directory:
    def __init__(self, fd: int, prefix: bytes) -> None:
        self.fd = fd
        self.prefix = prefix
        self.names = iter(sorted(map(os.fsencode, os.listdir(fd))))


def _entry(
    directory: _Directory, name: bytes, first: dict[_Inode, bytes]
) -> Generator[Item, None, _Directory | None]:
    """The item of a name; gives the directory to go down into."""
    path = directory.prefix + name
    status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
    match stat.S_IFMT(status.st_mode):
        case stat.S_IFDIR:
            fd = os.open(name, _DIRECTORY, dir_fd=directory.fd)
            below = _Directory(fd, path + b"/")
            yield _plain(os.fstat(fd), path, b"")
            return below
        case stat.S_IFREG:
            fd = os.open(name, _FILE, dir_fd=directory.fd)
            try:
                yield _regular(fd, path, first)
            finally:
                os.close(fd)
        case stat.S_IFSOCK:
            pass
        case stat.S_IFLNK:
            yield _plain(status, path, os.readlink(name, dir_fd=directory.fd))
        case _:
            yield _plain(status, path, b"")
    return None


def _regular(fd: int, path: bytes, first: dict[_Inode, bytes]) -> Item:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise CopyFailed(f"{os.fsdecode(path)}: was changed while it was read")
    link = None
    if status.st_nlink > 1:
        place = first.setdefault((status.st_dev, status.st_ino), path)
        link = place if place != path else None
    return Item(
        path=path,
        mode=status.st_mode,
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
        size=status.st_size,
        link=link,
        read=functools.partial(os.read, fd),
    )


def _plain(status: os.stat_result, path: bytes, target: bytes) -> Item:
    return Item(
        path=path,
        mode=status.st_mode,
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
        rdev=status.st_rdev,
        target=target,
    )
