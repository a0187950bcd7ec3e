"""Reading a tree that others may be changing: every file is what it was when it was opened."""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Final

from runtime.copying.items import CopyFailed, Item
from runtime.owner_record import UNCHANGED, has_one_id, read_record

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_Inode = tuple[int, int]


def read_tree(path_fd: int) -> Iterator[Item]:
    """What a descriptor (O_PATH) stands for, and all below it; sockets are left out.

    No link is followed. What disappears meanwhile is not there; what turns into something else
    is `OSError` or `CopyFailed`.
    """
    recorded = has_one_id()
    first: dict[_Inode, bytes] = {}
    status = os.fstat(path_fd)
    if not stat.S_ISDIR(status.st_mode):
        if stat.S_ISREG(status.st_mode):
            fd = os.open(f"/proc/self/fd/{path_fd}", _FILE & ~os.O_NOFOLLOW)
            try:
                yield _owned(_regular(fd, b"", first), fd, recorded)
            finally:
                os.close(fd)
        elif not stat.S_ISSOCK(status.st_mode):
            link = stat.S_ISLNK(status.st_mode)
            target = os.readlink(b"", dir_fd=path_fd) if link else b""
            place = b"/proc/self/fd/%d" % path_fd
            yield _owned(_plain(status, b"", target), place, recorded, follow=True)
        return
    stack = [_Directory(os.open(b".", _DIRECTORY, dir_fd=path_fd), b"")]
    try:
        yield _owned(_plain(os.fstat(stack[0].fd), b"", b""), stack[0].fd, recorded)
        while stack:
            directory = stack[-1]
            name = next(directory.names, None)
            if name is None:
                os.close(stack.pop().fd)
                continue
            try:
                opened = yield from _entry(directory, name, first, recorded)
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
    directory: _Directory, name: bytes, first: dict[_Inode, bytes], recorded: bool
) -> Generator[Item, None, _Directory | None]:
    """The item of a name; gives the directory to go down into."""
    path = directory.prefix + name
    status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
    match stat.S_IFMT(status.st_mode):
        case stat.S_IFDIR:
            fd = os.open(name, _DIRECTORY, dir_fd=directory.fd)
            below = _Directory(fd, path + b"/")
            yield _owned(_plain(os.fstat(fd), path, b""), fd, recorded)
            return below
        case stat.S_IFREG:
            fd = os.open(name, _FILE, dir_fd=directory.fd)
            try:
                yield _owned(_regular(fd, path, first), fd, recorded)
            finally:
                os.close(fd)
        case stat.S_IFSOCK:
            pass
        case kind:
            target = os.readlink(name, dir_fd=directory.fd) if kind == stat.S_IFLNK else b""
            place = b"/proc/self/fd/%d/%b" % (directory.fd, name)
            yield _owned(_plain(status, path, target), place, recorded)
    return None


def _owned(item: Item, place: int | bytes, recorded: bool, *, follow: bool = False) -> Item:
    """The item as its file's record has it, where there is only one id."""
    record = read_record(place, item.mode, follow=follow) if recorded else None
    if record is None:
        return item
    uid = 0 if record.uid == UNCHANGED else record.uid
    gid = 0 if record.gid == UNCHANGED else record.gid
    item = replace(item, uid=uid, gid=gid)
    if not record.kind or not stat.S_ISREG(item.mode):
        return item
    kind = stat.S_IFCHR if record.kind == "c" else stat.S_IFBLK
    mode = kind | stat.S_IMODE(item.mode)
    return replace(item, mode=mode, rdev=record.rdev, size=0, link=None, read=None)


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
