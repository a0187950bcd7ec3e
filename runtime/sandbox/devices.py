"""What a container's /dev holds, made while it is still detached and nobody else's."""

from __future__ import annotations

import errno
import os
import stat

from runtime.sandbox import mounts
from runtime.sandbox.syscalls import (
    MNT_DETACH,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    OPEN_TREE_CLONE,
    open_tree,
    umount2,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_NODES = (
    ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9),
    ("tty", 5, 0),
)  # fmt: skip
STANDARD_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
)
"""Names in /dev that every container has, and where they lead."""
_LINKS = (*STANDARD_LINKS, ("ptmx", "pts/ptmx"))
_FOLDERS = ("pts", "shm", "mqueue")
# Those are of file systems and terminals of the container's own.
_NOT_THE_HOSTS = frozenset((*_FOLDERS, "console", "fd", "ptmx", *(name for name, _, _ in _NODES)))
_DEEPEST = 8


def fill_dev(dev: int, place: bytes, *, shm: bool, every: bool) -> list[tuple[str, int]]:
    """Make what a /dev holds; gives the devices to be attached in it, and where.

    They are bound one by one from a file system that is mounted nowhere, so that no others made
    in /dev work; in a user namespace, where none can be made, from the host's. With `every` the
    host's other devices are there as well. `place` is a directory of the host's on which that
    file system is mounted for a moment if it must be.
    """
    umask = os.umask(0)
    nodes = mounts.filesystem("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, "size=64k")
    devices: list[tuple[str, int]] = []
    attached = False

    def cloned(nodes: int, name: str) -> int:
        nonlocal attached
        try:
            return open_tree(nodes, name, OPEN_TREE_CLONE)
        except OSError as error:
            if error.errno != errno.EINVAL or attached:
                raise
        # Before 6.15 only what is mounted in our namespace can be mounted once more.
        mounts.attach_at(nodes, place)
        attached = True
        return open_tree(nodes, name, OPEN_TREE_CLONE)

    try:
        for name in _FOLDERS:
            if name != "shm" or shm:
                os.mkdir(name, 0o755, dir_fd=dev)
        for name, target in _LINKS:
            os.symlink(target, name, dir_fd=dev)
        for name, major, minor in _NODES:
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o666, dir_fd=dev))
            try:
                device = os.makedev(major, minor)
                os.mknod(name, stat.S_IFCHR | 0o666, device, dir_fd=nodes)
            except PermissionError:
                fd = mounts.bind(f"/dev/{name}", recursive=False)
            else:
                fd = cloned(nodes, name)
            devices.append((name, fd))
        if every:
            devices += _others(dev)
    finally:
        if attached:
            umount2(place, MNT_DETACH)
        os.close(nodes)
        os.umask(umask)
    return devices


def _others(dev: int) -> list[tuple[str, int]]:
    """Make the host's devices; those that cannot be made are to be attached."""
    attached = []
    for name, status in _host_devices("/dev", "", 0):
        folder = os.path.dirname(name)
        for end in [n for n, letter in enumerate(folder) if letter == "/"] + [len(folder)]:
            if end:
                try:
                    os.mkdir(folder[:end], 0o755, dir_fd=dev)
                except FileExistsError:
                    continue
        try:
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=dev)
            os.chown(name, status.st_uid, status.st_gid, dir_fd=dev, follow_symlinks=False)
        except PermissionError:
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o666, dir_fd=dev))
            attached.append((name, mounts.bind(f"/dev/{name}", recursive=False)))
    return attached


def _host_devices(folder: str, prefix: str, depth: int) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if depth == 0 and entry.name in _NOT_THE_HOSTS:
                continue
            status = entry.stat(follow_symlinks=False)
            name = f"{prefix}{entry.name}"
            if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                yield name, status
            elif stat.S_ISDIR(status.st_mode) and depth < _DEEPEST:
                try:
                    yield from _host_devices(entry.path, f"{name}/", depth + 1)
                except PermissionError:
                    continue  # A folder in it that this user may not read.
