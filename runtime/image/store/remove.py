"""Removing a directory tree that somebody else filled.

Images and containers put into a tree what they like, and a mount may have been left in it. So
nothing is removed through a link or beyond a mount point, and a name that is exchanged for
another while we work leads to an error, not out of the tree.
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _Level:
    """A directory on the way down: who it is, and which of its directories are still to do."""

    __slots__ = ("directories", "identity", "name")

    def __init__(self, name: str, identity: tuple[int, int], directories: list[str]) -> None:
        self.name = name
        self.identity = identity
        self.directories = directories


def remove_tree(path: str) -> None:
    """Remove a file, or a directory and all below it; nothing there is fine.

    Never follows a link, never enters another file system or a mount: meeting one is `OSError`
    (EBUSY) with its path, and what lies beyond it is untouched. Depth costs no descriptors.
    """
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
    except FileNotFoundError:
        return
    path = os.path.join(os.path.realpath(os.path.dirname(path) or "."), os.path.basename(path))
    refuse_mounts(path)
    parent, name = os.path.split(path)
    parent_fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _remove(parent_fd, name, path)
    finally:
        os.close(parent_fd)


def _remove(parent_fd: int, name: str, path: str) -> None:
    """Depth first with one descriptor: down by name, up by `..`, each checked for identity."""
    fd = _open_directory(name, parent_fd)
    try:
        device = os.fstat(fd).st_dev
        levels = [_Level(name, _identity(fd), _remove_files(fd))]
        while levels:
            level = levels[-1]
            if level.directories:
                child = level.directories.pop()
                below = _open_directory(child, fd)
                os.close(fd)
                fd = below
                if os.fstat(fd).st_dev != device:
                    raise OSError(errno.EBUSY, "another file system is mounted here", path)
                levels.append(_Level(child, _identity(fd), _remove_files(fd)))
                continue
            levels.pop()
            if not levels:
                os.rmdir(name, dir_fd=parent_fd)
                return
            above = os.open("..", _DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = above
            if _identity(fd) != levels[-1].identity:
                raise OSError(errno.EBUSY, "moved while it was being removed", path)
            os.rmdir(level.name, dir_fd=fd)
    finally:
        os.close(fd)


def _remove_files(fd: int) -> list[str]:
    """Unlink all that is no directory; gives the names of the directories."""
    directories = []
    with os.scandir(fd) as entries:
        found = list(entries)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            directories.append(entry.name)
            continue
        try:
            os.unlink(entry.name, dir_fd=fd)
        except PermissionError:
            os.fchmod(fd, 0o700)
            os.unlink(entry.name, dir_fd=fd)
    if directories:
        # A directory below can only be removed from one that may be written.
        _make_writable(fd)
    return directories


def _open_directory(name: str, parent_fd: int) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent_fd)
    except PermissionError:
        # Its owner may, whatever its mode says; O_PATH keeps a link from being followed.
        path_fd = os.open(
            name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd
        )
        try:
            os.chmod(f"/proc/self/fd/{path_fd}", 0o700)
        finally:
            os.close(path_fd)
        return os.open(name, _DIRECTORY, dir_fd=parent_fd)


def _make_writable(fd: int) -> None:
    if os.fstat(fd).st_mode & 0o700 != 0o700:
        os.fchmod(fd, 0o700)


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def refuse_mounts(path: str) -> None:
    """`OSError` (EBUSY) if something is mounted at a path or below it.

    A bind mount has the device of its surroundings: only the kernel's list knows it.
    """
    below = os.fsencode(path)
    try:
        with open("/proc/self/mountinfo", "rb") as mounts:
            for line in mounts:
                point = line.split(b" ", 5)[4]
                if b"\\" in point:
                    point = point.decode("unicode_escape").encode("latin-1")
                if point == below or point.startswith(below + b"/"):
                    raise OSError(errno.EBUSY, "a file system is mounted here", os.fsdecode(point))
    except FileNotFoundError:
        return  # No /proc: the device check remains.
