"""Joining a container that runs: what happens between the clone and the command of `exec`.

Two processes: the first enters the namespaces, and since only children of a process that enters
a PID namespace are in it, the second becomes the command. Its parent is that of the first.
"""

from __future__ import annotations

import os
import sys

from runtime.sandbox import syscalls
from runtime.sandbox.child import Child, forbid_imports
from runtime.sandbox.wire import encode_failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

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

    Its pid and pidfd, and the pid of a helper that the parent has to wait for, too. If the
    first two are 0 and -1, the helper has reported to `error_fd` why there is none.
    """
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    try:
        helper, helper_fd = syscalls.clone3(flags, exit_signal)
        if helper == 0:
            for number, fd in enumerate(standard):
                os.dup2(fd, number)
            _help(order, target_fd, error_fd, capability, write_fd)
        os.close(helper_fd)
        os.close(write_fd)
        write_fd = -1
        answer = os.read(read_fd, 8)
    finally:
        os.close(read_fd)
        if write_fd >= 0:
            os.close(write_fd)
    if not answer:
        return 0, -1, helper
    # Nobody has waited for it yet, so the ID is still its own.
    pid = int.from_bytes(answer, sys.byteorder)
    return pid, os.pidfd_open(pid), helper


def _help(order: Order, target_fd: int, error_fd: int, capability: int, answer_fd: int) -> NoReturn:
    stage = "enter the container"
    try:
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        kinds = _other_namespaces(order.enter)
        stage = "join the container's cgroup"
        _join_cgroups(order.enter)
        stage = "enter the container"
        forbid_imports()
        if kinds:
            syscalls.setns(target_fd, kinds)
        if kinds & syscalls.CLONE_NEWUSER:
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
        os.chdir("/")
        pid, _ = syscalls.clone3(syscalls.CLONE_PARENT, 0)
        if pid == 0:
            EnteringChild(order, error_fd, capability).run()
        os.write(answer_fd, pid.to_bytes(8, sys.byteorder))
    except OSError as error:
        os.write(error_fd, encode_failure(stage, error.errno or 0, error.strerror or ""))
    except BaseException as error:
        os.write(error_fd, encode_failure(stage, 0, f"{type(error).__name__}: {error}"))
    finally:
        os._exit(0)


def _other_namespaces(pid: int) -> int:
    """The kinds of namespaces in which a process is not in ours."""
    kinds = 0
    for name, kind in _KINDS:
        if os.stat(f"/proc/{pid}/ns/{name}").st_ino != os.stat(f"/proc/self/ns/{name}").st_ino:
            kinds |= kind
    return kinds


def _join_cgroups(pid: int) -> None:
    """Be in the same cgroups as a process, so that the same limits hold."""
    own = _cgroups("self")
    for names, path in _cgroups(str(pid)).items():
        if own.get(names) == path:
            continue
        for place in _places(names):
            try:
                fd = os.open(f"{place}{path}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            os.write(fd, b"0")
            os.close(fd)
            break


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
