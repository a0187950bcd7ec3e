"""Joining a container that runs: what happens between the clone and the command of `exec`."""

from __future__ import annotations

import errno
import os

from runtime.owner_record import has_one_id
from runtime.sandbox import syscalls
from runtime.sandbox.child import Child, forbid_imports
from runtime.sandbox.helper import clone_by_helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runtime.sandbox.wire import Order

_KINDS = (
    ("user", syscalls.CLONE_NEWUSER),
    ("mnt", syscalls.CLONE_NEWNS),
    ("pid", syscalls.CLONE_NEWPID),
    ("ipc", syscalls.CLONE_NEWIPC),
    ("uts", syscalls.CLONE_NEWUTS),
    ("net", syscalls.CLONE_NEWNET),
    ("cgroup", syscalls.CLONE_NEWCGROUP),
)
_HIERARCHIES = "/sys/fs/cgroup"
_ID_LENGTH = 64


class EnteringChild(Child):
    """A process that finds itself in the root of a container, and becomes a command there."""

    makes_directory = False

    def _enter_root(self) -> int:
        return os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def clone_into(
    order: Order,
    target_fd: int,
    standard: Sequence[int],
    error_fd: int,
    capability: int,
    *,
    flags: int = 0,
    exit_signal: int = 0,
) -> tuple[int, int, int]:
    """Clone a process into the container of process `order.enter`, whose pidfd is `target_fd`.

    Its pid and pidfd, and the pid of a helper; see `clone_by_helper`.
    """
    if has_one_id():
        from runtime.sandbox.supervisor import start_supervisor

        order.supervisor = start_supervisor()

    def prepare(stage: Callable[[str], None]) -> tuple[int, None]:
        stage("enter the container")
        kinds = _other_namespaces(order.enter)
        if order.supervisor >= 0:
            # Its command may be in a namespace of its own, for another ID: this one gets its own.
            kinds &= ~syscalls.CLONE_NEWUSER
        stage("join the container's cgroup")
        _join_cgroups(order.enter)
        stage("enter the container")
        forbid_imports()
        if kinds:
            syscalls.setns(target_fd, kinds)
        if kinds & syscalls.CLONE_NEWUSER:
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
        os.chdir("/")
        return 0, None

    try:
        return clone_by_helper(
            prepare,
            EnteringChild(order, error_fd, capability).run,
            standard,
            error_fd,
            flags=flags,
            exit_signal=exit_signal,
        )
    finally:
        if order.supervisor >= 0:
            os.close(order.supervisor)


def _other_namespaces(pid: int) -> int:
    """The kinds of namespaces in which a process is not in ours."""
    kinds = 0
    for name, kind in _KINDS:
        if os.stat(f"/proc/{pid}/ns/{name}").st_ino != os.stat(f"/proc/self/ns/{name}").st_ino:
            kinds |= kind
    return kinds


def _join_cgroups(pid: int) -> None:
    """Be in those cgroups of a process that are a container's, so that the same limits hold.

    Others are what its user was in, and perhaps no longer may enter. `OSError` for one that
    cannot be entered: it would be a way around the limits.
    """
    own = _cgroups("self")
    for names, path in _cgroups(str(pid)).items():
        if own.get(names) == path or not _is_containers(path):
            continue
        # As in `child`: a thread of version 1 is moved without a lock that stops all forks.
        file = "tasks" if names else "cgroup.procs"
        for place in _places(names):
            try:
                fd = os.open(f"{place}{path}/{file}", os.O_WRONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            os.write(fd, b"0")
            os.close(fd)
            break
        else:
            raise OSError(errno.ENOENT, "is not mounted here", f"the cgroup {path} ({names})")


def _is_containers(path: str) -> bool:
    """Whether a group was made for a container, or in one: there is an ID in its path."""
    for part in path.split("/"):
        identity = part.removeprefix("lamina-")
        if len(identity) == _ID_LENGTH and not identity.strip("0123456789abcdef"):
            return True
    return False


def _cgroups(process: str) -> dict[str, str]:
    """The cgroup of a process in each hierarchy, by its controllers."""
    fd = os.open(f"/proc/{process}/cgroup", os.O_RDONLY | os.O_CLOEXEC)
    text = os.read(fd, 1 << 16).decode("utf-8", "surrogateescape")
    os.close(fd)
    found = {}
    for line in text.splitlines():
        _, names, path = line.split(":", 2)
        found[names] = path
    return found


def _places(names: str) -> tuple[str, ...]:
    """Where a hierarchy may be mounted."""
    if not names:
        return f"{_HIERARCHIES}/unified", _HIERARCHIES
    bare = names.removeprefix("name=")
    return f"{_HIERARCHIES}/{bare}", f"{_HIERARCHIES}/{bare.split(',')[0]}"
