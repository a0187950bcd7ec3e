"""Passing on to a process the signals that this one gets."""

from __future__ import annotations

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from types import FrameType
    from typing import Any, Final

    from runtime.sandbox.server import Process
else:
    import _signal

_FORWARDED: Final = (
    _signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM, _signal.SIGUSR1,
    _signal.SIGUSR2, _signal.SIGWINCH, _signal.SIGCONT, _signal.SIGALRM,
)  # fmt: skip


class Forwarding:
    """Has the signals that this process gets sent to a container; early ones when it is there."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._early: list[int] = []
        self._before: list[tuple[int, Any]] = []
        self._read_fd = self._write_fd = self._wakeup_before = -1

    def __enter__(self) -> Forwarding:
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup_before = _signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        self._before = [(number, _signal.signal(number, self._forward)) for number in _FORWARDED]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before:
            _signal.signal(number, handler)
        _signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._read_fd)
        os.close(self._write_fd)

    def attend(self, process: Process) -> int:
        """Wait for a process's end, passing signals on to it; its exit status."""
        try:
            self.begin(process)
            self.wait()
            return process.wait()
        except BaseException:
            process.kill(_signal.SIGKILL)
            process.wait()
            raise

    def begin(self, process: Process) -> None:
        """From now on signals go to this process, first those that came already."""
        self._process = process
        for number in self._early:
            process.kill(number)

    def wait(self) -> None:
        """Return when the process has ended.

        A signal that came just before a plain wait would only be seen after it. Here its number
        is in the pipe, and the handler is called before the next poll.
        """
        assert self._process is not None
        poll = select.poll()
        poll.register(self._process.pidfd, select.POLLIN)
        poll.register(self._read_fd, select.POLLIN)
        while all(fd == self._read_fd for fd, _ in poll.poll()):
            os.read(self._read_fd, 4096)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        if self._process is None:
            self._early.append(number)
        else:
            self._process.kill(number)
