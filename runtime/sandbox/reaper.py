"""The first process of a container that was started with `--init`.

It passes signals on to the command, its only child at first, and reaps whatever is left to it.
It is a copy of the process that set the container up, with the command's rights and none of its
own: no descriptors, and not to be traced.
"""

from __future__ import annotations

import fcntl
import os

from runtime.sandbox import foreign, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import NoReturn
else:
    import _signal

_LAST_SIGNAL = 64
_TIOCSPGRP = 0x5410
_PR_SET_NAME = 15
_NAME = b"lamina-init"


def fork_command(*, terminal: bool) -> None:
    """Return in a child, which is to become the command; this process becomes its reaper."""
    everything = set(range(1, _LAST_SIGNAL + 1)) - {32, 33, _signal.SIGKILL, _signal.SIGSTOP}
    _signal.pthread_sigmask(_signal.SIG_BLOCK, everything)
    # Ahead of the command: it may be quicker than we are. For itself that ends with its execution.
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    pid = os.fork()
    if pid:
        _reap(pid, everything)
    os.setpgid(0, 0)
    if terminal:
        # SIGTTOU is blocked: a group in the background may not do this otherwise.
        fcntl.ioctl(0, _TIOCSPGRP, os.getpid().to_bytes(4, "little"))
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def _reap(command: int, signals: set[int]) -> NoReturn:
    """Wait for the command, and end as it did."""
    _rename()
    null = os.open("/", os.O_PATH)
    for number in range(3):
        os.dup2(null, number)
    syscalls.close_range(3, 0xFFFF_FFFF, 0)
    while True:
        number = _signal.sigwait(signals)
        while number == _signal.SIGCHLD:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                os._exit(0)
            if pid == 0:
                break
            if pid == command:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)
        if number != _signal.SIGCHLD:
            os.kill(command, number)  # It is there: we have not waited for it.


def _rename() -> None:
    """Have nothing of the host in our command line, which everybody in the container can read.

    It is in our own memory, at an address that proc(5) gives: stat, fields 48 and 49.
    """
    fd = os.open("/proc/self/stat", os.O_RDONLY | os.O_CLOEXEC)
    fields = os.read(fd, 4096).rpartition(b")")[2].split()
    os.close(fd)
    start, end = int(fields[45]), int(fields[46])
    library = foreign.CDLL(None, use_errno=True)
    library.memset.argtypes = foreign.c_void_p, foreign.c_int, foreign.c_size_t
    library.memset(start, 0, end - start)
    library.memcpy.argtypes = foreign.c_void_p, foreign.c_char_p, foreign.c_size_t
    library.memcpy(start, _NAME, min(len(_NAME), end - start))
    library.prctl.argtypes = foreign.c_int, foreign.c_char_p
    library.prctl(_PR_SET_NAME, _NAME)
