"""A program that serves a container's network: started by the container's monitor, and ended with
it, however that ends.
"""

from __future__ import annotations

import os
import select
import time

from runtime.errors import NetworkError
from runtime.monitor.identity import send_signal
from runtime.monitor.loop import READ
from runtime.sandbox import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Sequence
    from typing import NoReturn

    from runtime.monitor.loop import Loop
else:
    import _signal

_SECONDS = 20
_MOST_SAID = 4096
_IGNORED_BY_PYTHON = (_signal.SIGPIPE, _signal.SIGXFSZ)


class Helper:
    """The program `argv`, which gets the descriptors `passed` under their own numbers.

    `kept` is one that is open as long as the program is wanted, if that is to see its end.
    """

    def __init__(self, argv: Sequence[str], passed: Sequence[int] = (), *, kept: int = -1) -> None:
        self._kept = kept
        self.name = os.path.basename(argv[0])
        self._said = b""
        self._loop: Loop | None = None
        self._output, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            me = os.getpid()
            pid, self._pidfd = syscalls.clone3(0, _signal.SIGCHLD)
            if pid == 0:
                _execute(argv, theirs, passed, parent=me)
        except BaseException:
            os.close(self._output)
            raise
        finally:
            os.close(theirs)

    def wait_for(self, ready_fd: int) -> None:
        """Return when it has written something to what `ready_fd` reads.

        `NetworkError` with what it said if it ends instead, or does nothing for long.
        """
        poll = select.poll()
        for fd in (ready_fd, self._pidfd, self._output):
            poll.register(fd, select.POLLIN)
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            found = dict(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
            if self._output in found and not self._listen():
                poll.unregister(self._output)
            if ready_fd in found and os.read(ready_fd, 64):
                return
            if self._pidfd in found:
                self._listen()
                raise self.failed("it has ended")
        raise self.failed("it does not answer")

    def failed(self, what: str) -> NetworkError:
        """The error that it could not do its work, with what it said of that."""
        lines = self._said.decode(errors="replace").splitlines()
        # pasta's own trouble with a machine that has no system log.
        said = ". ".join(line.strip() for line in lines if not line.endswith("to syslog"))
        return NetworkError(f"cannot connect the network: {self.name}: {said or what}")

    def attend(self, loop: Loop) -> None:
        """Hear what it says, so that it never waits for us to do so."""
        self._loop = loop
        loop.watch(self._output, READ, self._hear)

    def end(self) -> None:
        """Kill it, if it has not ended, and wait until it has."""
        if self._loop is not None:
            self._loop.forget(self._output)
        send_signal(self._pidfd, _signal.SIGKILL)
        os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        os.close(self._pidfd)
        os.close(self._output)
        if self._kept >= 0:
            os.close(self._kept)

    def _hear(self, _: int) -> None:
        if not self._listen() and self._loop is not None:
            self._loop.forget(self._output)

    def _listen(self) -> bool:
        """Take what it says; whether it may say more."""
        try:
            data = os.read(self._output, 1 << 16)
        except BlockingIOError:
            return True
        self._said = (self._said + data)[-_MOST_SAID:]
        return bool(data)


def die_with(parent: int) -> None:
    """Have this process killed when its parent ends; it is no more if that has ended already."""
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, _signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _execute(argv: Sequence[str], output: int, passed: Sequence[int], *, parent: int) -> NoReturn:
    """Become the program: with nothing of ours but what it is to have."""
    try:
        die_with(parent)
        for number in _IGNORED_BY_PYTHON:
            _signal.signal(number, _signal.SIG_DFL)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
        null = os.open(os.devnull, os.O_RDWR)
        for place, fd in enumerate((null, null, output)):
            os.dup2(fd, place)
        os.set_blocking(2, True)
        syscalls.close_range(3, 0xFFFF_FFFF, syscalls.CLOSE_RANGE_CLOEXEC)
        for fd in passed:
            os.set_inheritable(fd, True)
        os.execve(argv[0], list(argv), {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    except OSError as error:
        os.write(2, (error.strerror or "").lower().encode())
    finally:
        os._exit(127)
