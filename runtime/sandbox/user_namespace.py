"""A user namespace for one container of root's, with IDs of the host's that no other has.

Its files keep their owners on disk: its root's layers, and what is mounted from the host, are
seen through mounts that map IDs (mount_setattr(2), MOUNT_ATTR_IDMAP). Those can only be made
outside of the namespace, so a helper makes them, and then enters it.

Which container has which IDs is recorded in a directory: a file for each range, with the process
that has it. A record of a process that has ended, killed or not, is no record.
"""

from __future__ import annotations

import errno
import fcntl
import os

from runtime.sandbox import mounts, syscalls
from runtime.sandbox.joining import start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from runtime.sandbox.wire import Order, WireMount

RANGE = 65536
"""How many IDs a container has."""
_WALL = 0x4000_0000  # waitid(2): for a child that sends no SIGCHLD, too


def enter_user_namespace(order: Order, stage: Callable[[str], None]) -> Callable[[int], None]:
    """Enter a new one, with the mounts that its container needs; as a helper with one thread.

    What `order` says of directories and mounts is then true of this process's current directory
    and descriptors. The result is to be told the container's first process.
    """
    # While what is mounted on the host still comes in, where that is to go on.
    made = {wanted: _bind(wanted, stage) for wanted in order.mounts if _is_bind(wanted, slave=True)}
    stage("make mounts private")
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    for wanted in order.mounts:
        if _is_bind(wanted, slave=False):
            made[wanted] = _bind(wanted, stage)
    stage("take IDs of the host's")
    assert order.user_namespace is not None
    directory, pools = order.user_namespace
    first, record = take_range(directory, pools)
    stage("make a user namespace")
    namespace = _new_namespace(first)
    stage("map the owners of the layers' files")
    _map_layers(order, namespace)
    for fd in made.values():
        _map_bind(fd, namespace)
    order.made = made
    stage("enter the user namespace")
    syscalls.setns(namespace, syscalls.CLONE_NEWUSER)
    os.close(namespace)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    os.setgroups([])

    def record_process(pid: int) -> None:
        _write(record, pid)

    return record_process


def take_range(directory: bytes, pools: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The first ID of a range that nobody has, and a descriptor of its record: it is ours.

    `pools` are first IDs and counts. `OSError` (EUSERS) if all are taken.
    """
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for start, count in pools:
            for first in range(start, start + count - RANGE + 1, RANGE):
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                record = os.open(b"%d" % first, flags, 0o600, dir_fd=lock)
                if not _is_taken(record):
                    _write(record, os.getpid())
                    return first, record
                os.close(record)
    finally:
        os.close(lock)
    raise OSError(errno.EUSERS, "all are taken by other containers")


def _is_taken(record: int) -> bool:
    fields = os.pread(record, 64, 0).split()
    if len(fields) != 2:
        return False
    pid, since = map(int, fields)
    return start_time(str(pid)) == since


def _write(record: int, pid: int) -> None:
    # In one call, over what was there: whoever reads it has one or the other.
    os.pwrite(record, b"%10d %20d\n" % (pid, start_time(str(pid))), 0)


def _new_namespace(first: int) -> int:
    """A descriptor of a new namespace, in which `RANGE` IDs from `first` on are 0 and so on."""
    pid, pidfd = syscalls.clone3(syscalls.CLONE_NEWUSER, 0)
    if pid == 0:
        _wait_for_end()
    try:
        for kind in ("uid_map", "gid_map"):
            fd = os.open(f"/proc/{pid}/{kind}", os.O_WRONLY | os.O_CLOEXEC)
            os.write(fd, b"0 %d %d\n" % (first, RANGE))
            os.close(fd)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        # It has nothing to do but to be there.
        os.kill(pid, 9)
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | _WALL)
        os.close(pidfd)


def _wait_for_end() -> NoReturn:
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 9)
    while True:
        os.read(os.pipe()[0], 1)


def _map_layers(order: Order, namespace: int) -> None:
    """Have the root's directories below the current one, with mapped owners.

    All of them are in one file system, that of the store, and so one mount will do.
    """
    paths = [*order.lower, *(path for path in (order.upper, order.work) if path is not None)]
    common = os.path.commonpath([os.path.dirname(path) for path in paths])
    if len({os.stat(path).st_dev for path in (common, *paths)}) != 1:
        raise OSError(errno.EXDEV, "they are not all in one file system", common)
    fd = syscalls.open_tree(syscalls.AT_FDCWD, common, syscalls.OPEN_TREE_CLONE)
    syscalls.mount_setattr(
        fd,
        b"",
        syscalls.AT_EMPTY_PATH,
        attr_set=syscalls.MOUNT_ATTR_IDMAP,
        userns_fd=namespace,
    )
    # Its place may lie where the container's root may not go: the current directory comes along.
    syscalls.move_mount(fd, b"", syscalls.AT_FDCWD, common, syscalls.MOVE_MOUNT_F_EMPTY_PATH)
    os.close(fd)
    os.chdir(common)

    def below(path: bytes) -> bytes:
        return os.path.relpath(path, common)

    order.lower = tuple(map(below, order.lower))
    order.upper = below(order.upper) if order.upper is not None else None
    order.work = below(order.work) if order.work is not None else None


def _is_bind(wanted: WireMount, *, slave: bool) -> bool:
    return wanted[0] == "bind" and wanted[6] == slave


def _bind(wanted: WireMount, stage: Callable[[str], None]) -> int:
    _, source, target, attributes, recursive, subpath, _ = wanted
    stage(f"make the mount of {os.fsdecode(target)}")
    read_only = bool(attributes & syscalls.MOUNT_ATTR_RDONLY)
    return mounts.bind(source, read_only=read_only, recursive=recursive, subpath=subpath)


def _map_bind(fd: int, namespace: int) -> None:
    """Map the owners in a mount, if its file systems can; else they are nobody's."""
    try:
        syscalls.mount_setattr(
            fd,
            b"",
            syscalls.AT_EMPTY_PATH | syscalls.AT_RECURSIVE,
            attr_set=syscalls.MOUNT_ATTR_IDMAP,
            userns_fd=namespace,
        )
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
