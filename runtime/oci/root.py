"""The root of a container whose config says every mount.

As in `runtime.sandbox.root` all mounts are made detached, while the host's files are around, and
attached after the pivot, onto what is opened inside the new root. What is missing there to mount
on is made in it: a bundle's root is its container's own.
"""

from __future__ import annotations

import os
import stat

from runtime.sandbox import mounts
from runtime.sandbox.devices import STANDARD_LINKS
from runtime.sandbox.mounts import open_in_root
from runtime.sandbox.root import Root, make_read_only, null_device
from runtime.sandbox.syscalls import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    MS_REC,
    MS_SLAVE,
    OPEN_TREE_CLONE,
    mount,
    mount_setattr,
    open_tree,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_INERT = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV
_NO_FOLLOW = os.O_PATH | os.O_NOFOLLOW
_TYPES = {"c": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


class BundleRoot(Root):
    """The mounts of a bundle's container, on their way."""

    def make(self) -> None:
        order: Any = self._order
        self._stage("make mounts private")
        # What the host mounts later may be wanted to come in.
        mount(None, "/", None, MS_REC | (MS_SLAVE if order.propagation else MS_PRIVATE))
        self._stage("make the root")
        self._overlay = open_tree(AT_FDCWD, order.root, OPEN_TREE_CLONE | AT_RECURSIVE)
        self._stage("make what hides masked paths")
        if order.masked_paths:
            self._null = null_device()
            self._empty = mounts.filesystem("tmpfs", _INERT | MOUNT_ATTR_RDONLY, "size=0k,mode=755")
        self._sysctls = mounts.filesystem("proc", _INERT) if order.sysctls else -1
        self._made = [(wanted, self._make(wanted)) for wanted in order.mounts]
        self._nodes = self._host_nodes()

    def attach(self, root_fd: int) -> None:
        order: Any = self._order
        for wanted, fd in self._made:
            self._stage(f"mount {os.fsdecode(wanted[2])}")
            self._attach_one(root_fd, wanted, fd)
        self._stage("make devices")
        self._make_devices(root_fd)
        for path, value in order.sysctls:
            self._stage(f"set {os.fsdecode(path)}")
            fd = os.open(b"sys/" + path, os.O_WRONLY | os.O_NOFOLLOW, dir_fd=self._sysctls)
            os.write(fd, value)
            os.close(fd)
        if self._sysctls >= 0:
            os.close(self._sysctls)
        self._stage("hide masked paths")
        for path in order.masked_paths:
            self._mask(root_fd, path)
        self._stage("make paths read-only")
        for path in order.read_only_paths:
            make_read_only(root_fd, path)
        self._stage("finish the root")
        if order.propagation:
            propagation, recursive = order.propagation
            flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
            mount_setattr(root_fd, b"", flags, propagation=propagation)
        if order.read_only_root:
            mount_setattr(root_fd, b"", AT_EMPTY_PATH, attr_set=MOUNT_ATTR_RDONLY)

    def _make(self, wanted: tuple[Any, ...]) -> int:
        kind, source, target, data, bind, recursive, attributes, clear, _, _, _ = wanted
        self._stage(f"make the mount of {os.fsdecode(target)}")
        if bind:
            below = AT_RECURSIVE if recursive else 0
            fd = open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | below)
            if attributes or clear:
                mount_setattr(fd, b"", AT_EMPTY_PATH, attr_set=attributes, attr_clr=clear)
            return fd
        if kind == "cgroup":
            return self._cgroups(attributes)
        try:
            return mounts.filesystem(
                kind, attributes, ",".join(data), source=os.fsdecode(source) or kind
            )
        except PermissionError:
            if kind != "sysfs":
                raise
            # In a user namespace with the host's network there is no sysfs of one's own.
            return mounts.bind("/sys", read_only=True)

    def _cgroups(self, attributes: int) -> int:
        """The container's own cgroups: of version 2, or a folder with those of version 1."""
        groups: Any = self._order.cgroups
        if len(groups) == 1 and not groups[0][0]:
            fd = mounts.bind(groups[0][1], recursive=False)
        else:
            fd = mounts.filesystem("tmpfs", _INERT, "mode=755")
            for name, _ in groups:
                os.mkdir(name, 0o755, dir_fd=fd)
        if attributes and len(groups) == 1 and not groups[0][0]:
            mount_setattr(fd, b"", AT_EMPTY_PATH, attr_set=attributes)
        self._groups = [
            (
                name,
                mounts.bind(path, read_only=bool(attributes & MOUNT_ATTR_RDONLY), recursive=False),
            )
            for name, path in groups
            if name
        ]
        return fd

    def _attach_one(self, root_fd: int, wanted: tuple[Any, ...], fd: int) -> None:
        kind, _, path, _, _, _, attributes, _, set_below, clear_below, propagations = wanted
        is_folder = stat.S_ISDIR(os.fstat(fd).st_mode)
        target = make_target(root_fd, path, is_folder=is_folder)
        mounts.attach(fd, target)
        os.close(target)
        if kind == "cgroup":
            for name, group in self._groups:
                place = os.open(name, _NO_FOLLOW | os.O_DIRECTORY, dir_fd=fd)
                mounts.attach(group, place)
                os.close(place)
                os.close(group)
            if attributes:
                mount_setattr(fd, b"", AT_EMPTY_PATH, attr_set=attributes)
        if set_below or clear_below:
            flags = AT_EMPTY_PATH | AT_RECURSIVE
            mount_setattr(fd, b"", flags, attr_set=set_below, attr_clr=clear_below)
        for propagation, recursive in propagations:
            flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
            mount_setattr(fd, b"", flags, propagation=propagation)
        os.close(fd)

    def _host_nodes(self) -> dict[bytes, int]:
        """The host's devices, where none can be made: in a user namespace."""
        order: Any = self._order
        nodes = {}
        if order.user_namespace or not _can_make_devices():
            for path, kind, *_ in order.devices:
                if kind != "p" and os.path.exists(path):
                    nodes[path] = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE)
        return nodes

    def _make_devices(self, root_fd: int) -> None:
        order: Any = self._order
        if any(_is_dev(wanted[2]) and wanted[4] for wanted in order.mounts):
            return  # /dev is the host's, or somebody's who has filled it
        umask = os.umask(0)
        for path, kind, major, minor, mode, uid, gid in order.devices:
            above, _, name = path.rpartition(b"/")
            folder = make_target(root_fd, above or b"/", is_folder=True)
            try:
                _remove(folder, name)
                if path in self._nodes:
                    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, dir_fd=folder))
                    target = os.open(name, _NO_FOLLOW, dir_fd=folder)
                    mounts.attach(self._nodes[path], target)
                    os.close(target)
                else:
                    device = os.makedev(major, minor)
                    os.mknod(name, _TYPES[kind] | mode, device, dir_fd=folder)
                    os.chown(name, uid, gid, dir_fd=folder, follow_symlinks=False)
            finally:
                os.close(folder)
        os.umask(umask)
        dev = make_target(root_fd, b"/dev", is_folder=True)
        for name, to in STANDARD_LINKS:
            _link(dev, name, to)
        if any(os.path.normpath(wanted[2]) == b"/dev/pts" for wanted in order.mounts):
            _remove(dev, b"ptmx")
            os.symlink("pts/ptmx", "ptmx", dir_fd=dev)
        os.close(dev)


def make_target(root_fd: int, path: bytes, *, is_folder: bool) -> int:
    """A descriptor of a place in the root, which is made if it is missing."""
    try:
        return open_in_root(root_fd, path, os.O_PATH)
    except FileNotFoundError:
        pass
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    fd = os.dup(root_fd)
    for number, part in enumerate(parts):
        # From the root each time: a link or `..` in the middle means what it means there.
        so_far = b"/" + b"/".join(parts[: number + 1])
        try:
            below = open_in_root(root_fd, so_far, os.O_PATH)
        except FileNotFoundError:
            if number == len(parts) - 1 and not is_folder:
                os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=fd))
            else:
                os.mkdir(part, 0o755, dir_fd=fd)
            below = os.open(part, _NO_FOLLOW, dir_fd=fd)
        os.close(fd)
        fd = below
    return fd


def _is_dev(path: bytes) -> bool:
    return os.path.normpath(path) == b"/dev"


def _link(folder: int, name: str, target: str) -> None:
    try:
        os.symlink(target, name, dir_fd=folder)
    except FileExistsError:
        return


def _remove(folder: int, name: bytes) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return


def _can_make_devices() -> bool:
    """Whether this process's user namespace is the one that may: the first."""
    fd = os.open("/proc/self/uid_map", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096).split() == [b"0", b"0", b"4294967295"]
    finally:
        os.close(fd)
