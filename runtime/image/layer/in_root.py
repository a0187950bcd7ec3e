"""Opening directories inside a tree that somebody else has filled.

Links in a tree mean what they mean to a process that has the tree as its root: absolute ones
start at its top and `..` stops there. A path without links is opened by the kernel, which is
told to accept none (openat2, Linux 5.6). Any other, and where a directory has to be made on the
way, is walked here, one component at a time, nothing followed but what is read and understood:
so it is known where a path really leads.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from typing import Any, Final

DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SYS_OPENAT2: Final = 437  # the same on every architecture
RESOLVE_NO_SYMLINKS: Final = 0x04
RESOLVE_IN_ROOT: Final = 0x10
_MOST_LINKS: Final = 40  # MAXSYMLINKS
_KEPT_OPEN: Final = 32
# It is too old, a filter forbids it, or the path is longer than it takes.
_NOT_THE_KERNEL: Final = frozenset((errno.ENOSYS, errno.EPERM, errno.ENAMETOOLONG))


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def _prototype() -> Any:
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    function.argtypes = (
        ctypes.c_long,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_void_p,
        ctypes.c_size_t,
    )
    return function


_syscall: Final = _prototype()


def open_how(flags: int, resolve: int) -> _OpenHow:
    """A `struct open_how` for `openat2`."""
    return _OpenHow(flags, 0, resolve)


_PLAIN: Final = open_how(DIRECTORY_FLAGS, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)


def openat2(root: int, path: bytes, how: _OpenHow) -> int:
    """openat2(2)."""
    fd: int = _syscall(_SYS_OPENAT2, root, path, ctypes.addressof(how), ctypes.sizeof(how))
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return fd


def open_plain(root: int, path: bytes) -> int:
    """Open the directory at a path without `..` on which no link lies; the caller closes it.

    `OSError` with ENOENT, ENOTDIR or ELOOP if there is none.
    """
    try:
        return openat2(root, path or b".", _PLAIN)
    except OSError as error:
        if error.errno not in _NOT_THE_KERNEL:
            raise
    return _descend(root, path.split(b"/"))


def walk_directory(
    root: int, path: bytes, create: Callable[[int, bytes, bytes], bool] | None = None
) -> tuple[int, bytes]:
    """Open the directory to which a path leads, and say where that is: a path without links.

    `create` is called with a directory, a name in it that is missing or not a directory, and
    its path without links; true says that it is a directory now. The caller closes the
    descriptor. `OSError` as open(2) raises it: ENOENT, ENOTDIR, ELOOP.
    """
    walk = _Walk(root)
    pending = path.split(b"/")[::-1]
    links = 0
    try:
        while pending:
            name = pending.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                walk.up()
                continue
            here = walk.here()
            try:
                fd = os.open(name, DIRECTORY_FLAGS, dir_fd=here)
            except OSError as error:
                target = _link_at(name, here)
                if target is not None:
                    links += 1
                    if links > _MOST_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path) from error
                    if target.startswith(b"/"):
                        walk.to_top()
                    pending += target.split(b"/")[::-1]
                    continue
                if create is None or not create(here, name, walk.path(name)):
                    raise
                fd = os.open(name, DIRECTORY_FLAGS, dir_fd=here)
            walk.down(name, fd)
        return os.dup(walk.here()), walk.path()
    finally:
        walk.to_top()


class _Walk:
    """A place in a tree: the names that lead there, and the last few of the directories, open."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._names: list[bytes] = []
        self._opened: list[int] = []  # -1 for those that are too far up

    def path(self, *more: bytes) -> bytes:
        return b"/".join((*self._names, *more))

    def here(self) -> int:
        if not self._names:
            return self._root
        if self._opened[-1] < 0:
            self._opened[-1] = _descend(self._root, self._names)
        return self._opened[-1]

    def down(self, name: bytes, fd: int) -> None:
        self._names.append(name)
        self._opened.append(fd)
        if len(self._opened) > _KEPT_OPEN and (above := self._opened[-_KEPT_OPEN]) >= 0:
            self._opened[-_KEPT_OPEN] = -1
            os.close(above)

    def up(self) -> None:
        if self._names:
            self._names.pop()
            fd = self._opened.pop()
            if fd >= 0:
                os.close(fd)

    def to_top(self) -> None:
        while self._names:
            self.up()


def _descend(root: int, names: list[bytes]) -> int:
    fd = os.dup(root)
    try:
        for name in names:
            if name:
                below = os.open(name, DIRECTORY_FLAGS, dir_fd=fd)
                os.close(fd)
                fd = below
    except BaseException:
        os.close(fd)
        raise
    return fd


def _link_at(name: bytes, dir_fd: int) -> bytes | None:
    try:
        return os.readlink(name, dir_fd=dir_fd)
    except OSError:
        return None


def remove(name: bytes, dir_fd: int) -> None:
    """Remove whatever has this name in a directory, with all below it; links are not followed.

    Stops with EXDEV at a mount point.
    """
    try:
        os.unlink(name, dir_fd=dir_fd)
        return
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.EPERM):
            raise
    _remove_directory(name, dir_fd)


def _remove_directory(name: bytes, dir_fd: int) -> None:
    device = os.fstat(dir_fd).st_dev
    stack: list[tuple[int, bytes]] = [(dir_fd, name)]  # a directory and the name to remove in it
    try:
        while stack:
            parent, name = stack[-1]
            try:
                os.rmdir(name, dir_fd=parent)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            else:
                stack.pop()
                if stack and stack[-1][0] != parent:
                    os.close(parent)
                continue
            fd = os.open(name, DIRECTORY_FLAGS, dir_fd=parent)
            if os.fstat(fd).st_dev != device:
                os.close(fd)
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), name)
            below = _remove_files(fd)
            if below:
                stack += ((fd, child) for child in below)
            else:
                os.close(fd)
    finally:
        for fd in {fd for fd, _ in stack} - {dir_fd}:
            os.close(fd)


def _remove_files(directory: int) -> list[bytes]:
    """Remove what is not a directory; returns the names of the directories."""
    with os.scandir(directory) as found:
        items = [(os.fsencode(item.name), item.is_dir(follow_symlinks=False)) for item in found]
    for name, is_directory in items:
        if not is_directory:
            os.unlink(name, dir_fd=directory)
    return [name for name, is_directory in items if is_directory]
