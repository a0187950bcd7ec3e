"""Cloning a container's first process, for who may: a small process without threads, running on
a read-only clone of its interpreter (the fork server, a container's monitor).
"""

from __future__ import annotations

import os

from runtime.sandbox import syscalls
from runtime.sandbox.child import Child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtime.sandbox.wire import Order

_NAMESPACES = (
    syscalls.CLONE_NEWNS
    | syscalls.CLONE_NEWPID
    | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWUTS
    | syscalls.CLONE_NEWCGROUP
)


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
) -> tuple[int, int]:
    """Clone a container's first process; its pid and pidfd.

    `standard` become its standard input, output and error; what fails is reported to
    `error_fd`, which is at its end when the command has been executed. `capability` is the
    kernel's last one.
    """
    flags |= _NAMESPACES
    if order.network == "none":
        flags |= syscalls.CLONE_NEWNET
    pid, pidfd = syscalls.clone3(flags, exit_signal)
    if pid == 0:
        for number, fd in enumerate(standard):
            os.dup2(fd, number)
        Child(order, error_fd, capability).run()
    return pid, pidfd
