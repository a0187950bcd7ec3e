"""A container's root: made beside the host's, then put in its place.

Runs in the new process, alone in its mount namespace. Everything that is mounted is made as a
detached mount while the host's files are still there (a user namespace gets no new procfs
afterwards), and attached after the pivot, onto descriptors opened inside the root. So no link
in an image can lead a mount, or a file that is made for one, out of it.
"""

from __future__ import annotations

import errno
import os
import stat

from runtime.sandbox import mounts
from runtime.sandbox.mounts import open_in_root
from runtime.sandbox.syscalls import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    MNT_DETACH,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MOVE_MOUNT_F_EMPTY_PATH,
    MS_PRIVATE,
    MS_REC,
    OPEN_TREE_CLONE,
    RESOLVE_NO_SYMLINKS,
    mount,
    mount_setattr,
    move_mount,
    open_tree,
    pivot_root,
    umount2,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.sandbox.wire import Order, WireMount

_NODES = (
    ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9),
    ("tty", 5, 0),
)  # fmt: skip
_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
)
_INERT = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV
_PATH = os.O_PATH | os.O_NOFOLLOW
_FOLDER = _PATH | os.O_DIRECTORY


class Root:
    """The mounts of a container, on their way. `stage` is told what is being done."""

    def __init__(self, order: Order, stage: Callable[[str], None]) -> None:
        self._order = order
        self._stage = stage
        self._standard: list[tuple[bytes, int]] = []
        self._devices: list[tuple[str, int]] = []
        self._wanted: list[tuple[WireMount, int]] = []
        self._overlay = -1
        self._null = -1
        self._empty = -1

    def make(self) -> None:
        """Make every mount there will be, attached nowhere."""
        order = self._order
        # While what is mounted on the host still comes in: they want that to go on.
        slaves = {wanted: self._make_wanted(wanted) for wanted in order.mounts if wanted[6]}
        self._stage("make mounts private")
        mount(None, "/", None, MS_REC | MS_PRIVATE)
        self._stage("make the overlay of the root")
        self._overlay = mounts.overlay(
            order.lower, order.upper, order.work, volatile=order.volatile
        )
        self._stage("make /proc")
        self._add(b"/proc", mounts.filesystem("proc", _INERT))
        self._stage("make /sys")
        self._add(b"/sys", _sysfs())
        self._stage("make /dev")
        dev = mounts.filesystem("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, "mode=755,size=64m")
        self._add(b"/dev", dev)
        self._fill_dev(dev)
        self._add(b"/dev/pts", _devpts())
        size = f"mode=1777,size={order.shm_size}"
        self._add(b"/dev/shm", mounts.filesystem("tmpfs", _INERT, size, source="shm"))
        self._add(b"/dev/mqueue", mounts.filesystem("mqueue", _INERT))
        self._stage("make what hides masked paths")
        self._null = _null_device()
        self._empty = mounts.filesystem("tmpfs", _INERT | MOUNT_ATTR_RDONLY, "size=0k,mode=755")
        for wanted in order.mounts:
            fd = slaves[wanted] if wanted in slaves else self._make_wanted(wanted)
            self._wanted.append((wanted, fd))

    def enter(self) -> int:
        """Make it the root of this process and its namespace; gives a descriptor of it."""
        self._stage("enter the new root")
        # On top of the old root, which is needed no longer.
        move_mount(self._overlay, b"", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH)
        os.fchdir(self._overlay)
        pivot_root(".", ".")
        umount2(".", MNT_DETACH)
        os.chdir("/")
        return os.open("/", os.O_PATH | os.O_DIRECTORY)

    def attach(self, root_fd: int) -> None:
        """Attach the rest, and hide what must not be seen."""
        for path, fd in self._standard:
            self._stage(f"mount {path.decode()}")
            # Not through a link: an image could have the others mounted where it likes.
            target = _open_directory(root_fd, path)
            mounts.attach(fd, target)
            os.close(target)
        self._stage("mount devices")
        dev = _open_directory(root_fd, b"/dev")
        for name, fd in self._devices:
            target = os.open(name, _PATH, dir_fd=dev)
            mounts.attach(fd, target)
            os.close(target)
        os.close(dev)
        for wanted, fd in self._wanted:
            self._stage(f"mount {os.fsdecode(wanted[2])}")
            self._attach_wanted(root_fd, wanted, fd)
        self._stage("hide masked paths")
        for path in self._order.masked_paths:
            self._mask(root_fd, path)
        self._stage("make paths read-only")
        for path in self._order.read_only_paths:
            _make_read_only(root_fd, path)
        if self._order.read_only_root or self._order.upper is None:
            self._stage("make the root read-only")
            mount_setattr(root_fd, b"", AT_EMPTY_PATH, attr_set=MOUNT_ATTR_RDONLY)

    def _add(self, path: bytes, fd: int) -> None:
        self._standard.append((path, fd))

    def _fill_dev(self, dev: int) -> None:
        """What /dev holds, while it is still detached and nobody else's.

        Devices are bound one by one from a file system that is mounted nowhere, so that no
        others made in /dev work; in a user namespace, where none can be made, from the host's.
        """
        umask = os.umask(0)
        nodes = mounts.filesystem("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, "size=64k")
        try:
            for name in ("pts", "shm", "mqueue"):
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
                    fd = open_tree(nodes, name, OPEN_TREE_CLONE)
                self._devices.append((name, fd))
        finally:
            os.close(nodes)
            os.umask(umask)

    def _make_wanted(self, wanted: WireMount) -> int:
        kind, what, target, attributes, recursive, subpath, _ = wanted
        self._stage(f"make the mount of {os.fsdecode(target)}")
        if kind == "tmpfs":
            return mounts.filesystem("tmpfs", attributes, what.decode())
        read_only = bool(attributes & MOUNT_ATTR_RDONLY)
        return mounts.bind(what, read_only=read_only, recursive=recursive, subpath=subpath)

    def _attach_wanted(self, root_fd: int, wanted: WireMount, fd: int) -> None:
        path = wanted[2]
        try:
            target = open_in_root(root_fd, path, os.O_PATH)
        except FileNotFoundError:
            is_folder = stat.S_ISDIR(os.fstat(fd).st_mode)
            target = _make_target(root_fd, path, is_folder=is_folder)
        mounts.attach(fd, target)
        os.close(target)
        os.close(fd)

    def _mask(self, root_fd: int, path: bytes) -> None:
        """Have something empty in place of a path, if it exists."""
        try:
            target = open_in_root(root_fd, path, _PATH)
        except (FileNotFoundError, NotADirectoryError):
            return
        is_folder = stat.S_ISDIR(os.fstat(target).st_mode)
        cover = open_tree(
            self._empty if is_folder else self._null, b"", OPEN_TREE_CLONE | AT_EMPTY_PATH
        )
        mounts.attach(cover, target)
        os.close(cover)
        os.close(target)


def _sysfs() -> int:
    try:
        return mounts.filesystem("sysfs", _INERT | MOUNT_ATTR_RDONLY)
    except PermissionError:
        # In a user namespace with the host's network there is no sysfs of one's own.
        return mounts.bind("/sys", read_only=True)


def _devpts() -> int:
    options = "newinstance,ptmxmode=0666,mode=0620"
    attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC
    try:
        return mounts.filesystem("devpts", attributes, options + ",gid=5")
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # The group tty may not be mapped in a user namespace.
        return mounts.filesystem("devpts", attributes, options)


def _null_device() -> int:
    """The host's /dev/null, made sure to be that (CVE-2025-31133)."""
    # Read-only: a container's root could otherwise change the mode of the host's.
    fd = mounts.bind("/dev/null", read_only=True, recursive=False)
    status = os.fstat(fd)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != os.makedev(1, 3):
        raise OSError(errno.ENODEV, "/dev/null of the host is not the null device")
    return fd


def _open_directory(root_fd: int, path: bytes) -> int:
    try:
        return open_in_root(root_fd, path, _FOLDER, resolve=RESOLVE_NO_SYMLINKS)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise OSError(errno.ENOTDIR, "is not a directory in the image", path) from None
        raise


def _make_target(root_fd: int, path: bytes, *, is_folder: bool) -> int:
    """Make what a mount goes on, where the root is already covered by another mount.

    In the root itself it must be there: whatever is made there would be in a layer.
    """
    root_device = os.fstat(root_fd).st_dev
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    fd = os.dup(root_fd)
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        try:
            below = open_in_root(root_fd, b"/" + b"/".join(parts[: number + 1]), os.O_PATH)
        except FileNotFoundError:
            if os.fstat(fd).st_dev == root_device:
                raise
            if last and not is_folder:
                os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=fd))
            else:
                os.mkdir(part, 0o755, dir_fd=fd)
            below = os.open(part, _PATH, dir_fd=fd)
        os.close(fd)
        fd = below
    return fd


def _make_read_only(root_fd: int, path: bytes) -> None:
    """Have a path once more, read-only, on top of itself, if it exists."""
    try:
        target = open_in_root(root_fd, path, _PATH)
    except (FileNotFoundError, NotADirectoryError):
        return
    again = open_tree(target, b"", OPEN_TREE_CLONE | AT_EMPTY_PATH | AT_RECURSIVE)
    mount_setattr(again, b"", AT_EMPTY_PATH | AT_RECURSIVE, attr_set=MOUNT_ATTR_RDONLY)
    mounts.attach(again, target)
    os.close(again)
    os.close(target)
