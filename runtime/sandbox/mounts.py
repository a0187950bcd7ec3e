"""File systems made as detached mounts: a descriptor each, to be attached where it belongs.

A mount that is made before it has a place cannot be made in the wrong one. The descriptors are
the caller's to close; a mount that is nowhere attached is gone with its descriptor.
"""

from __future__ import annotations

import errno
import os
import stat

from runtime.sandbox import syscalls
from runtime.sandbox.syscalls import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    FSCONFIG_CMD_CREATE,
    FSCONFIG_SET_FLAG,
    FSCONFIG_SET_STRING,
    MNT_DETACH,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_RDONLY,
    MOVE_MOUNT_F_EMPTY_PATH,
    MOVE_MOUNT_T_EMPTY_PATH,
    OPEN_TREE_CLONE,
    fsconfig,
    fsmount,
    fsopen,
    mount_setattr,
    move_mount,
    open_tree,
    openat2,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_PAGE = 4096


def filesystem(kind: str, attributes: int = 0, options: str = "", *, source: str = "") -> int:
    """A new file system of a kind; options as for mount(8): `mode=755,size=64k`."""
    context = fsopen(kind)
    try:
        fsconfig(context, FSCONFIG_SET_STRING, "source", source or kind)
        for option in options.split(",") if options else ():
            key, equals, value = option.partition("=")
            if equals:
                fsconfig(context, FSCONFIG_SET_STRING, key, value)
            else:
                fsconfig(context, FSCONFIG_SET_FLAG, key)
        fsconfig(context, FSCONFIG_CMD_CREATE)
        return fsmount(context, attributes)
    finally:
        os.close(context)


def bind(
    source: str | bytes,
    *,
    read_only: bool = False,
    recursive: bool = True,
    subpath: bytes = b"",
    devices: bool = False,
) -> int:
    """What is at a path, once more; with what is mounted below it, unless not `recursive`.

    `subpath` is a path below the source that nothing leads out of: `OSError` (EXDEV) otherwise.
    Without `devices`, device files in it are dead: where no cgroup says which devices a
    container may use, its root could make one for any disk. Only a device that is itself the
    source is not.
    """
    below = AT_RECURSIVE if recursive else 0
    if subpath:
        place = open_beneath(source, subpath)
        try:
            fd = open_tree(place, b"", OPEN_TREE_CLONE | AT_EMPTY_PATH | below)
        finally:
            os.close(place)
    else:
        fd = open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | below)
    try:
        mode = os.fstat(fd).st_mode
        attributes = MOUNT_ATTR_RDONLY if read_only else 0
        if not (devices or stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
            attributes |= MOUNT_ATTR_NODEV
        if attributes:
            mount_setattr(fd, b"", AT_EMPTY_PATH | below, attr_set=attributes)
    except BaseException:
        os.close(fd)
        raise
    return fd


def overlay(
    lower: Sequence[str | bytes],
    upper: str | bytes | None,
    work: str | bytes | None,
    *,
    volatile: bool = False,
    devices: bool = False,
) -> int:
    """The union of directories, the topmost first; changes go to `upper`.

    One that comes twice counts at its upper place, where it puts again all that the lower did:
    overlayfs refuses it twice. Without `upper` (and `work`) it is read-only. Marks of the
    overlay are always `user.*` attributes, as root too: so a tree means the same with and
    without privileges. A single directory without `upper` is simply bound. Without `devices`,
    device files in it are dead, as in `bind`. Needs a mount namespace that no other thread
    uses: kernels before 6.7 only make an overlay by mounting it somewhere.
    """
    lower = tuple(dict.fromkeys(lower))
    if upper is None and len(lower) == 1:
        return bind(lower[0], read_only=True, recursive=False, devices=devices)
    attributes = 0 if devices else MOUNT_ATTR_NODEV
    with _Directories() as directories:
        names = [directories.name(path) for path in lower]
        options = _overlay_options(directories, upper, work, volatile)
        fd = _new_overlay(names, options, attributes)
        if fd is None:
            # What the mount hides, it hides for a moment, and from us only.
            place = lower[-1]
            _mount_overlay(place, names, options, 0 if devices else syscalls.MS_NODEV)
            fd = open_tree(AT_FDCWD, place, OPEN_TREE_CLONE)
            syscalls.umount2(place, MNT_DETACH)
    return fd


def mount_overlay(
    target: str,
    *,
    lower: Sequence[str | bytes],
    upper: str | bytes | None = None,
    work: str | bytes | None = None,
    volatile: bool = False,
) -> None:
    """Mount the union of directories on `target`, as `overlay` makes it; undone by `umount2`."""
    lower = tuple(dict.fromkeys(lower))
    with _Directories() as directories:
        names = [directories.name(path) for path in lower]
        options = _overlay_options(directories, upper, work, volatile)
        if upper is None and len(lower) == 1:
            fd = bind(lower[0], read_only=True, recursive=False)
        elif (new := _new_overlay(names, options, MOUNT_ATTR_NODEV)) is not None:
            fd = new
        else:
            _mount_overlay(target, names, options, syscalls.MS_NODEV)
            return
    try:
        move_mount(fd, b"", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(fd)


def attach(mount_fd: int, target_fd: int) -> None:
    """Attach a detached mount on what a descriptor stands for."""
    move_mount(mount_fd, b"", target_fd, b"", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)


def attach_at(mount_fd: int, path: bytes) -> None:
    """Attach a detached mount on a path of this mount namespace; undone by `umount2`."""
    move_mount(mount_fd, b"", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH)


def open_in_root(root_fd: int, path: str | bytes, flags: int, *, resolve: int = 0) -> int:
    """Open a path as if `root_fd` were `/`, never through a magic link of /proc."""
    resolve |= syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
    for _ in range(100):
        try:
            return openat2(root_fd, path, flags, resolve=resolve)
        except OSError as error:
            # The kernel could not rule out that a rename led out of the root: try again.
            if error.errno != errno.EAGAIN:
                raise
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)


def open_beneath(directory: str | bytes, path: str | bytes) -> int:
    """A descriptor (O_PATH) of what is at a path below a directory; links may not lead out."""
    fd = os.open(directory, _DIRECTORY)
    try:
        return openat2(
            fd,
            path,
            os.O_PATH,
            resolve=syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_MAGICLINKS,
        )
    finally:
        os.close(fd)


class _Directories:
    """Short names for directories: real ones may be longer than the kernel takes for an option."""

    def __init__(self) -> None:
        self._fds: list[int] = []

    def __enter__(self) -> _Directories:
        return self

    def __exit__(self, *exception: object) -> None:
        for fd in self._fds:
            os.close(fd)

    def name(self, path: str | bytes) -> str:
        self._fds.append(os.open(path, _DIRECTORY))
        return f"/proc/self/fd/{self._fds[-1]}"


def _overlay_options(
    directories: _Directories, upper: str | bytes | None, work: str | bytes | None, volatile: bool
) -> list[tuple[str, str | None]]:
    options: list[tuple[str, str | None]] = [("userxattr", None)]
    if upper is not None and work is not None:
        options.append(("upperdir", directories.name(upper)))
        options.append(("workdir", directories.name(work)))
        if volatile:
            options.append(("volatile", None))
    return options


def _new_overlay(
    lower: list[str], options: list[tuple[str, str | None]], attributes: int
) -> int | None:
    """A detached overlay; `None` if the kernel does not take its layers one by one."""
    context = fsopen("overlay")
    try:
        fsconfig(context, FSCONFIG_SET_STRING, "source", "overlay")
        for name in lower:
            fsconfig(context, FSCONFIG_SET_STRING, "lowerdir+", name)
        for key, value in options:
            command = FSCONFIG_SET_FLAG if value is None else FSCONFIG_SET_STRING
            fsconfig(context, command, key, value)
        fsconfig(context, FSCONFIG_CMD_CREATE)
        return fsmount(context, attributes)
    except OSError as error:
        # Before 6.5 options are only looked at when it is created. If it is not that, the other
        # way of mounting it will say so.
        if error.errno == errno.EINVAL:
            return None
        raise
    finally:
        os.close(context)


def _mount_overlay(
    target: str | bytes, lower: list[str], options: list[tuple[str, str | None]], flags: int
) -> None:
    """For kernels whose mount options are one string of one page."""
    data = "lowerdir=" + ":".join(lower)
    data += "".join(f",{key}={value}" if value else f",{key}" for key, value in options)
    if len(data) >= _PAGE:
        raise OSError(errno.E2BIG, f"more layers than this kernel can mount: {len(lower)}")
    syscalls.mount("overlay", target, "overlay", flags, data)
