"""Cloning a container's first process, for who may: a small process without threads, running on
a read-only clone of its interpreter (the fork server, a container's monitor).
"""

from __future__ import annotations

import os

from runtime.owner_record import has_one_id
from runtime.sandbox import syscalls
from runtime.sandbox.child import Child, enter_surroundings
from runtime.sandbox.joining import join_namespaces, joins_any, new_kinds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runtime.sandbox.wire import Order


def last_capability() -> int:
    """The highest capability that this kernel knows."""
    fd = os.open("/proc/sys/kernel/cap_last_cap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int(os.read(fd, 32))
    finally:
        os.close(fd)


def clone_container(
    order: Order,
    standard: Sequence[int],
    error_fd: int,
    capability: int,
    *,
    flags: int = 0,
    exit_signal: int = 0,
) -> tuple[int, int, int]:
    """Clone a container's first process; its pid and pidfd, and the pid of a helper or 0.

    `standard` become its standard input, output and error; what fails is reported to
    `error_fd`, which is at its end when the command has been executed. `capability` is the
    kernel's last one. A helper has to be waited for, too; see `clone_by_helper`.
    """
    if order.cloner is not None:
        return order.cloner(order, standard, error_fd)
    if has_one_id():
        from runtime.sandbox.supervisor import start_supervisor

        order.supervisor = start_supervisor()
    try:
        return _clone(order, standard, error_fd, capability, flags, exit_signal)
    finally:
        if order.supervisor >= 0:
            os.close(order.supervisor)


def _clone(
    order: Order,
    standard: Sequence[int],
    error_fd: int,
    capability: int,
    flags: int,
    exit_signal: int,
) -> tuple[int, int, int]:
    kinds = new_kinds(order)
    if order.cgroups or order.unified_cgroup is not None:
        # Made by the child, when it is where the namespace is to begin.
        kinds &= ~syscalls.CLONE_NEWCGROUP
    child = Child(order, error_fd, capability)
    group_fd = -1
    if order.unified_cgroup is not None:
        group_fd = os.open(order.unified_cgroup, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if joins_any(order) or order.user_namespace is not None:
            from runtime.sandbox.helper import clone_by_helper
            from runtime.sandbox.user_namespace import enter_user_namespace

            def prepare(
                stage: Callable[[str], None],
            ) -> tuple[int, Callable[[int], None] | None]:
                join_namespaces(order, stage)
                if order.user_namespace is None:
                    return kinds, None
                # What root of the host's alone may enter.
                enter_surroundings(order, stage)
                return kinds, enter_user_namespace(order, stage)

            early = order.user_namespace is not None
            return clone_by_helper(
                prepare, child.run, standard, error_fd, flags=flags, exit_signal=exit_signal,
                cgroup_fd=-1 if early else group_fd, helper_cgroup_fd=group_fd if early else -1,
            )  # fmt: skip
        pid, pidfd = syscalls.clone3(flags | kinds, exit_signal, cgroup_fd=group_fd)
        if pid == 0:
            for number, fd in enumerate(standard):
                os.dup2(fd, number)
            child.run()
    finally:
        if group_fd >= 0:
            os.close(group_fd)
    return pid, pidfd, 0
