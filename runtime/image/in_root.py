"""Opening directories inside a tree that somebody else has filled.

Links in a tree mean what they mean to a process that has the tree as its root: absolute ones
start at its top and `..` stops there. The kernel does that itself (openat2, RESOLVE_IN_ROOT,
Linux 5.6); where it cannot, because it is old or a filter forbids it, or where directories have
to be created on the way, the path is walked here, one component at a time, following nothing.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable
from typing import Any, Final

DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SYS_OPENAT2: Final = 437  # the same on every architecture
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_IN_ROOT: Final = 0x10
_MOST_LINKS: Final = 40  # MAXSYMLINKS
_UNAVAILABLE: Final = frozenset((errno.ENOSYS, errno.EPERM))


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
_FOLLOW: Final = _OpenHow(
    DIRECTORY_FLAGS & ~os.O_NOFOLLOW, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS
)
_NO_FOLLOW: Final = _OpenHow(DIRECTORY_FLAGS, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)


def openat2(root: int, path: bytes, how: _OpenHow) -> int:
    """openat2(2)."""
    fd: int = _syscall(_SYS_OPENAT2, root, path, ctypes.addressof(how), ctypes.sizeof(how))
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return fd


def open_directory(root: int, path: bytes, *, follow_last: bool = True) -> int:
    """Open the directory at `path` inside `root`; the caller closes it.

    `OSError` as open(2) raises it: ENOENT, ENOTDIR (also for a link that is not followed), ELOOP.
    """
    try:
        return openat2(root, path or b".", _FOLLOW if follow_last else _NO_FOLLOW)
    except OSError as error:
        if error.errno not in _UNAVAILABLE:
            raise
    return walk_directory(root, path, follow_last=follow_last)


def walk_directory(
    root: int,
    path: bytes,
    *,
    follow_last: bool = True,
    create: Callable[[int, bytes, bytes], bool] | None = None,
) -> int:
    """As `open_directory`, component by component.

    `create` is called with a directory, a name in it that is missing or not a directory, and
    its path inside the root with all links resolved; true says that it is a directory now.
    """
    opened = [os.dup(root)]
    trail: list[bytes] = []
    pending = path.split(b"/")[::-1]
    links = 0
    try:
        while pending:
            name = pending.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                if trail:
                    trail.pop()
                    os.close(opened.pop())
                continue
            try:
                fd = os.open(name, DIRECTORY_FLAGS, dir_fd=opened[-1])
            except OSError as error:
                target = _link_at(name, opened[-1]) if pending or follow_last else None
                if target is not None:
                    links += 1
                    if links > _MOST_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path) from error
                    if target.startswith(b"/"):
                        trail.clear()
                        while len(opened) > 1:
                            os.close(opened.pop())
                    pending += target.split(b"/")[::-1]
                    continue
                real = b"/".join((*trail, name))
                if create is None or not create(opened[-1], name, real):
                    raise
                fd = os.open(name, DIRECTORY_FLAGS, dir_fd=opened[-1])
            opened.append(fd)
            trail.append(name)
        return opened.pop()
    finally:
        for fd in opened:
            os.close(fd)


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


def is_directory_at(name: bytes, dir_fd: int) -> bool:
    """Whether a directory has this name; links are not followed."""
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False
