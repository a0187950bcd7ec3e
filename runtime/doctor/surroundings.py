"""The kernel, the store's file system, and programs that some builds call."""

from __future__ import annotations

import errno
import os
import shutil

from runtime.doctor.findings import Finding

_OLDEST_KERNEL = (5, 14)
_LITTLE_SPACE = 2 << 30
_LITTLE_INODES = 100_000
_BINFMT = "/proc/sys/fs/binfmt_misc"
_TRIED = "user.lamina.doctor"


def probe_kernel() -> Finding:
    """Whether the kernel has what containers are made with."""
    release = os.uname().release
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    if numbers >= _OLDEST_KERNEL:
        return Finding(name="kernel", state="works", detail=f"Linux {release}", needed=True)
    oldest = ".".join(map(str, _OLDEST_KERNEL))
    return Finding(
        name="kernel",
        state="missing",
        detail=f"Linux {release} is older than {oldest}",
        remedy=f"boot Linux {oldest} or later",
        needed=True,
    )


def nearest_folder(path: str) -> str:
    """The store's directory, or the nearest one above it that is there."""
    path = os.path.abspath(path)
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def probe_store(root: str) -> Finding:
    """Whether the store's place can be written to, keeps attributes, and has room."""
    folder = nearest_folder(root)
    name = "store"
    try:
        keeps = _keeps_attributes(folder)
    except OSError as error:
        return Finding(
            name=name,
            state="missing",
            detail=f"{folder} cannot be written to: {(error.strerror or '').lower()}",
            remedy="choose another place with --root or LAMINA_ROOT",
            needed=True,
        )
    if not keeps:
        return Finding(
            name=name,
            state="missing",
            detail=f"the file system of {folder} keeps no extended attributes of users",
            remedy="put the store (--root, LAMINA_ROOT) on ext4, xfs or btrfs",
            needed=True,
        )
    space = os.statvfs(folder)
    free, inodes = space.f_bavail * space.f_frsize, space.f_favail
    detail = f"{root}: {free / 1e9:.1f} GB free"
    scarce = space.f_files and inodes < _LITTLE_INODES
    if free < _LITTLE_SPACE or scarce:
        what = f"{detail}, {inodes:,} inodes free" if scarce else detail
        return Finding(
            name=name, state="limited", detail=what, remedy="make room, or `lamina prune`"
        )
    return Finding(name=name, state="works", detail=detail)


def _keeps_attributes(folder: str) -> bool:
    path = os.path.join(folder, f".lamina-doctor-{os.urandom(6).hex()}")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.setxattr(fd, _TRIED, b"1")
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EPERM):
            raise
        return False
    else:
        return True
    finally:
        os.close(fd)
        os.unlink(path)


def probe_git() -> Finding:
    """Whether builds can take contexts and files from repositories."""
    path = shutil.which("git")
    if path is not None:
        return Finding(name="git", state="works", detail=path)
    return Finding(
        name="git",
        state="limited",
        detail="not installed: no contexts and no ADD from repositories",
        remedy="install the package git",
    )


def probe_platforms() -> Finding:
    """Which other machines' programs the kernel hands to an emulator."""
    try:
        found = sorted(set(os.listdir(_BINFMT)) - {"register", "status"})
    except OSError:
        found = []
    emulated = [name.removeprefix("qemu-") for name in found if name.startswith("qemu-")]
    if emulated:
        return Finding(name="platforms", state="works", detail=", ".join(emulated))
    return Finding(
        name="platforms",
        state="limited",
        detail="no emulators: RUN only for this machine's platform",
        remedy="install the packages qemu-user-static and binfmt-support",
    )
