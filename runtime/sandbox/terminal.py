"""A terminal for a container's process, from the container's own devpts.

The process itself makes it, in the container, and hands out the side that is for us. The path
of its own side is never looked up (TIOCGPTPEER): an image could have put something else there.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import stat
import sys

from runtime.sandbox import mounts
from runtime.sandbox.mounts import open_in_root
from runtime.sandbox.syscalls import (
    AT_EMPTY_PATH,
    OPEN_TREE_CLONE,
    RESOLVE_NO_SYMLINKS,
    open_tree,
)

_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_TIOCSCTTY = 0x540E
_TIOCSWINSZ = 0x5414
_PTMX = os.makedev(5, 2)
_FLAGS = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC


def take_terminal(
    root_fd: int, report_fd: int, size: tuple[int, int], owner: int, *, console: bool
) -> None:
    """Make a terminal this process's: its standard streams, and what controls its session.

    The other side is sent over the socket `report_fd`. It has so many rows and columns, unless
    these are 0. It belongs to the user `owner`. With `console` it is /dev/console, too.
    """
    path = b"/dev/pts/ptmx"
    ours = open_in_root(root_fd, path, _FLAGS, resolve=RESOLVE_NO_SYMLINKS)
    status = os.fstat(ours)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _PTMX:
        raise OSError(errno.ENODEV, "is not the maker of terminals", path)
    fcntl.ioctl(ours, _TIOCSPTLCK, (0).to_bytes(4, sys.byteorder))
    theirs = fcntl.ioctl(ours, _TIOCGPTPEER, _FLAGS)
    set_size(ours, *size)
    os.fchown(theirs, owner, os.fstat(theirs).st_gid)
    fcntl.ioctl(theirs, _TIOCSCTTY, 0)
    for number in range(3):
        os.dup2(theirs, number)
    if console:
        _make_console(root_fd, theirs)
    os.close(theirs)
    socket = _socket.socket(fileno=os.dup(report_fd))
    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, ours.to_bytes(4, sys.byteorder))
    socket.sendmsg([b"!"], [rights])
    socket.close()
    os.close(ours)


def set_size(fd: int, rows: int, columns: int) -> None:
    """Say how large a terminal is; nothing happens if that is not known."""
    if rows and columns:
        size = rows.to_bytes(2, sys.byteorder) + columns.to_bytes(2, sys.byteorder)
        fcntl.ioctl(fd, _TIOCSWINSZ, size + bytes(4))


def _make_console(root_fd: int, terminal: int) -> None:
    folder = open_in_root(root_fd, b"/dev", os.O_PATH | os.O_DIRECTORY, resolve=RESOLVE_NO_SYMLINKS)
    name = "console"
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
    os.close(os.open(name, flags, 0o600, dir_fd=folder))
    target = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    mount = open_tree(terminal, b"", OPEN_TREE_CLONE | AT_EMPTY_PATH)
    mounts.attach(mount, target)
    for fd in (mount, target, folder):
        os.close(fd)
