"""Where files are copied from and to: the machine's files, and the files of a container.

A path of a container means what it means to a process that has its root: links are followed
inside it, and none leads out, however they are changed meanwhile (openat2; CVE-2018-15664).
Nothing of ours is ever executed or imported from there (CVE-2019-14271): we do not change root.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol

from runtime.sandbox.mounts import open_in_root
from runtime.sandbox.syscalls import (
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    openat2,
)

DirectoryOpener = Callable[[bytes], int]
"""Opens the directory at a path below some other; the caller closes it."""

_PATH: Final = os.O_PATH | os.O_CLOEXEC
_DIRECTORY: Final = _PATH | os.O_DIRECTORY
_MOST_LINKS: Final = 40


class Place(Protocol):
    """Files that can be copied from and to. Paths are bytes."""

    def open(self, path: bytes, *, follow: bool) -> int:
        """A descriptor (O_PATH) of what is there; `OSError`."""

    def below(self, path: bytes) -> AbstractContextManager[DirectoryOpener]:
        """How directories below the directory at `path` are opened, to write in them."""


class HostPlace:
    """The machine's files, for who runs the command."""

    def open(self, path: bytes, *, follow: bool) -> int:
        return os.open(path, _PATH | (0 if follow else os.O_NOFOLLOW))

    @contextmanager
    def below(self, path: bytes) -> Iterator[DirectoryOpener]:
        """Always below the same directory, whatever becomes of its path; there no link is
        followed: what is copied may bring some."""
        base = os.open(path, _DIRECTORY)
        resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
        try:
            yield lambda relative: openat2(base, relative or b".", _DIRECTORY, resolve=resolve)
        finally:
            os.close(base)


class ContainerPlace:
    """The files below an open root."""

    def __init__(self, root_fd: int) -> None:
        self._root = root_fd

    def open(self, path: bytes, *, follow: bool) -> int:
        return open_in_root(self._root, path, _PATH | (0 if follow else os.O_NOFOLLOW))

    @contextmanager
    def below(self, path: bytes) -> Iterator[DirectoryOpener]:
        yield lambda relative: open_in_root(self._root, path + b"/" + relative, _DIRECTORY)


def mode_at(place: Place, path: bytes, *, follow: bool = True) -> int | None:
    """The `st_mode` of what is at a path; `None` if there is nothing."""
    try:
        fd = place.open(path, follow=follow)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return os.fstat(fd).st_mode
    finally:
        os.close(fd)


def last_place(place: Place, path: bytes) -> bytes:
    """Where a path leads to whose last component may be a link, perhaps to nothing.

    `OSError` (ELOOP) after more than 40 links.
    """
    for _ in range(_MOST_LINKS):
        try:
            fd = place.open(path.rstrip(b"/") or b"/", follow=False)
        except FileNotFoundError:
            return path
        try:
            if not stat.S_ISLNK(os.fstat(fd).st_mode):
                return path
            target = os.readlink(b"", dir_fd=fd)
        finally:
            os.close(fd)
        path = target if target.startswith(b"/") else os.path.dirname(path) + b"/" + target
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
