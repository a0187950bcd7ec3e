"""Cloning a process by way of a helper, which enters other namespaces first.

Only children of a process that enters a PID namespace are in it, and what a helper has entered
it need not find out of again. The new process's parent is that of the helper.
"""

from __future__ import annotations

import os
import sys

from runtime.sandbox import syscalls
from runtime.sandbox.wire import encode_failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    Prepared = tuple[int, Callable[[int], None] | None]


def clone_by_helper(
    prepare: Callable[[Callable[[str], None]], Prepared],
    become: Callable[[], NoReturn],
    standard: Sequence[int],
    error_fd: int,
    *,
    flags: int = 0,
    exit_signal: int = 0,
    cgroup_fd: int = -1,
    helper_cgroup_fd: int = -1,
) -> tuple[int, int, int]:
    """Have a helper `prepare`, which gives the flags for the clone that will `become` something.

    `prepare` is given a function to tell what it is doing; besides the flags it may give a
    function to be told the new process's pid. That begins in the cgroup `cgroup_fd`, or in the
    helper's, which begins in `helper_cgroup_fd`: for helpers that give up what the other needs.

    Gives the new process's pid and pidfd, and the pid of the helper, which the parent has to
    wait for, too. If the first two are 0 and -1, the helper has reported to `error_fd` why there
    is none.
    """
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    try:
        helper, helper_fd = syscalls.clone3(flags, exit_signal, cgroup_fd=helper_cgroup_fd)
        if helper == 0:
            for number, fd in enumerate(standard):
                os.dup2(fd, number)
            _help(prepare, become, error_fd, write_fd, cgroup_fd)
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


def _help(
    prepare: Callable[[Callable[[str], None]], Prepared],
    become: Callable[[], NoReturn],
    error_fd: int,
    answer_fd: int,
    cgroup_fd: int,
) -> NoReturn:
    stages = ["start"]
    try:
        # What is to be entered may hold processes that would look into this one.
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        flags, tell = prepare(stages.append)
        pid, _ = syscalls.clone3(syscalls.CLONE_PARENT | flags, 0, cgroup_fd=cgroup_fd)
        if pid == 0:
            become()
        if tell is not None:
            tell(pid)
        os.write(answer_fd, pid.to_bytes(8, sys.byteorder))
    except OSError as error:
        number = error.errno or 0
        os.write(error_fd, encode_failure(stages[-1], number, (error.strerror or "").lower()))
    except BaseException as error:
        os.write(error_fd, encode_failure(stages[-1], 0, f"{type(error).__name__}: {error}"))
    finally:
        os._exit(0)
