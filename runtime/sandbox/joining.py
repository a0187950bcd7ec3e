"""Entering namespaces that are there already, instead of making new ones."""

from __future__ import annotations

import errno
import os

from runtime.sandbox import mounts, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.sandbox.wire import Order, WireNamespace

KINDS = {
    "pid": syscalls.CLONE_NEWPID,
    "ipc": syscalls.CLONE_NEWIPC,
    "uts": syscalls.CLONE_NEWUTS,
    "cgroup": syscalls.CLONE_NEWCGROUP,
}


def new_kinds(order: Order) -> int:
    """The kinds of namespaces to be made for a container, as flags of a clone."""
    flags = syscalls.CLONE_NEWNS
    for kind, (how, _, _) in order.namespaces.items():
        if how == "new":
            flags |= KINDS[kind]
    if order.network == "none":
        flags |= syscalls.CLONE_NEWNET
    return flags


def joins_any(order: Order) -> bool:
    """Whether a container is to be in namespaces of others."""
    return any(how == "join" for how, _, _ in order.namespaces.values())


def join_namespaces(order: Order, stage: Callable[[str], None]) -> None:
    """Enter the namespaces of others that a container is to be in."""
    # All are opened before any is entered: a path may not lead there afterwards.
    fds = []
    for kind, namespace in order.namespaces.items():
        if namespace[0] == "join":
            stage(f"join another {kind} namespace")
            fds.append((kind, _open(namespace)))
    how, path, since = order.namespaces["ipc"]
    if how == "join" and since:
        stage("share /dev/shm")
        order.shm_fd = _shm_of((how, path.replace(b"/ns/ipc", b"/ns/mnt"), since))
    for kind, fd in fds:
        stage(f"join another {kind} namespace")
        syscalls.setns(fd, KINDS[kind])
        os.close(fd)


def _open(namespace: WireNamespace) -> int:
    _, path, since = namespace
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        if not since:
            raise
        raise _gone() from None
    # Compared when it is open: whoever has this ID later, it is no longer looked up.
    if since and start_time(path.split(b"/")[2].decode()) != since:
        os.close(fd)
        raise _gone()
    return fd


def _shm_of(namespace: WireNamespace) -> int:
    """The /dev/shm of a process as a detached mount; looked up in its mount namespace."""
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    theirs = _open(namespace)
    syscalls.setns(theirs, syscalls.CLONE_NEWNS)
    # Its container may have put a link there, which would mean something else out here.
    place = mounts.open_in_root(
        syscalls.AT_FDCWD,
        "/dev/shm",
        os.O_PATH | os.O_DIRECTORY,
        resolve=syscalls.RESOLVE_NO_SYMLINKS,
    )
    fd = syscalls.open_tree(place, b"", syscalls.OPEN_TREE_CLONE | syscalls.AT_EMPTY_PATH)
    syscalls.setns(own, syscalls.CLONE_NEWNS)
    for each in (place, theirs, own):
        os.close(each)
    return fd


def start_time(process: str) -> int:
    """When a process was started, in ticks since the boot; 0 if there is none."""
    try:
        fd = os.open(f"/proc/{process}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        return int(os.read(fd, 4096).rpartition(b")")[2].split()[19])
    finally:
        os.close(fd)


def _gone() -> OSError:
    return OSError(errno.ESRCH, "the container whose it is has ended")
