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
from runtime.sandbox.cgroup_view import cgroup_mounts
from runtime.sandbox.devices import fill_dev
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
    RESOLVE_BENEATH,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    mount,
    mount_setattr,
    move_mount,
    open_tree,
    openat2,
    pivot_root,
    umount2,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.sandbox.wire import Order, WireMount

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
        self._covering: set[int] = set()

    def make(self) -> None:
        """Make every mount there will be, attached nowhere."""
        order = self._order
        # While what is mounted on the host still comes in: they want that to go on.
        made = dict(order.made or {})
        for wanted in order.mounts:
            if wanted[6] and wanted not in made:
                made[wanted] = self._make_wanted(wanted)
        self._stage("make mounts private")
        mount(None, "/", None, MS_REC | MS_PRIVATE)
        self._stage("make the overlay of the root")
        self._overlay = mounts.overlay(
            order.lower,
            order.upper,
            order.work,
            volatile=order.volatile,
            devices=order.all_devices or order.live_devices,
        )
        self._stage("make /proc")
        proc = _procfs(own=order.namespaces["pid"][0] == "new")
        self._add(b"/proc", proc)
        for name, value in order.sysctls:
            self._stage(f"set the kernel parameter {name.decode()}")
            set_parameter(proc, name, value)
        self._stage("make /sys")
        self._add(b"/sys", _sysfs(read_only=not order.all_devices))
        self._standard += cgroup_mounts(order)
        self._make_dev()
        self._stage("make what hides masked paths")
        self._null = null_device()
        self._empty = mounts.filesystem("tmpfs", _INERT | MOUNT_ATTR_RDONLY, "size=0k,mode=755")
        for wanted in order.mounts:
            fd = made[wanted] if wanted in made else self._make_wanted(wanted)
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
            make_read_only(root_fd, path)
        if self._order.read_only_root or self._order.upper is None:
            self._stage("make the root read-only")
            mount_setattr(root_fd, b"", AT_EMPTY_PATH, attr_set=MOUNT_ATTR_RDONLY)

    def _add(self, path: bytes, fd: int) -> None:
        self._standard.append((path, fd))

    def _make_dev(self) -> None:
        order = self._order
        self._stage("make /dev")
        attributes = MOUNT_ATTR_NOSUID | (0 if order.all_devices else MOUNT_ATTR_NODEV)
        dev = mounts.filesystem("tmpfs", attributes, "mode=755,size=64m")
        self._add(b"/dev", dev)
        ipc = order.namespaces["ipc"][0]
        shm = order.shm_size > 0
        self._devices = fill_dev(dev, order.lower[-1], shm=shm, every=order.all_devices)
        self._add(b"/dev/pts", _devpts())
        if shm:
            size = f"mode=1777,size={order.shm_size}"
            if order.shm_fd >= 0:
                self._add(b"/dev/shm", order.shm_fd)
            elif ipc == "host":
                self._add(b"/dev/shm", mounts.bind("/dev/shm"))
            else:
                self._add(b"/dev/shm", mounts.filesystem("tmpfs", _INERT, size, source="shm"))
        mqueue = _mqueue(own=ipc == "new")
        if mqueue >= 0:
            self._add(b"/dev/mqueue", mqueue)

    def _make_wanted(self, wanted: WireMount) -> int:
        kind, what, target, attributes, recursive, subpath, _ = wanted
        self._stage(f"make the mount of {os.fsdecode(target)}")
        if kind == "tmpfs":
            return mounts.filesystem("tmpfs", attributes, what.decode())
        read_only = bool(attributes & MOUNT_ATTR_RDONLY)
        return mounts.bind(
            what,
            read_only=read_only,
            recursive=recursive,
            subpath=subpath,
            devices=self._order.all_devices,
        )

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
        cover = self._empty if is_folder else self._null
        if cover in self._covering:
            again = open_tree(cover, b"", OPEN_TREE_CLONE | AT_EMPTY_PATH)
            mounts.attach(again, target)
            os.close(again)
        else:
            # Itself at first: kernels before 6.15 do not clone what is mounted nowhere.
            mounts.attach(cover, target)
            self._covering.add(cover)
        os.close(target)


def _procfs(*, own: bool) -> int:
    try:
        return mounts.filesystem("proc", _INERT)
    except PermissionError:
        if own:
            raise
        # A user namespace gets none for processes that are not its own.
        return mounts.bind("/proc")


def _sysfs(*, read_only: bool) -> int:
    try:
        return mounts.filesystem("sysfs", _INERT | (MOUNT_ATTR_RDONLY if read_only else 0))
    except PermissionError:
        # In a user namespace with the host's network there is no sysfs of one's own.
        return mounts.bind("/sys", read_only=read_only)


def _mqueue(*, own: bool) -> int:
    """The message queues; the host's as it has them mounted, where it is not to be made anew."""
    try:
        return mounts.filesystem("mqueue", _INERT)
    except PermissionError:
        if own:
            raise
    try:
        return mounts.bind("/dev/mqueue")
    except FileNotFoundError:
        return -1  # The host has none mounted.


def set_parameter(proc: int, name: bytes, value: bytes) -> None:
    """Set a kernel parameter through a procfs of one's own: nobody has put another file there."""
    path = b"sys/" + (name if b"/" in name else name.replace(b".", b"/"))
    resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV
    fd = openat2(proc, path, os.O_WRONLY, resolve=resolve)
    try:
        os.write(fd, value)
    finally:
        os.close(fd)


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


def null_device() -> int:
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


def make_read_only(root_fd: int, path: bytes) -> None:
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
