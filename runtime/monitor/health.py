"""Asking a container whether it is well, as its HEALTHCHECK says: docker's rules.

A container is "starting" until the first probe succeeds, or so many have failed in a row that
it is "unhealthy". Those that fail within the start period, before the first success, do not
count.
"""

from __future__ import annotations

import os
import time

from runtime.errors import ContainerError
from runtime.monitor.cgroups import is_frozen
from runtime.monitor.identity import send_signal
from runtime.monitor.loop import READ, Loop
from runtime.monitor.times import rfc3339_nano
from runtime.sandbox.entry import clone_into
from runtime.sandbox.report import Report
from runtime.sandbox.wire import decode_failure, decode_order

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from typing import Any
else:
    import _signal

_SECOND = 1_000_000_000
_MOST_OUTPUT = 4096
_MOST_RESULTS = 5
_NOT_ASKED = -1


class HealthOptions:
    """How to ask: `order` (an encoded `EntrySpec`) is the command; times in nanoseconds."""

    def __init__(self, members: dict[str, Any]) -> None:
        self.order: bytes = members["order"]
        self.interval: int = members["interval_ns"] or 30 * _SECOND
        self.timeout: int = members["timeout_ns"] or 30 * _SECOND
        self.start_period: int = members["start_period_ns"]
        self.start_interval: int = members["start_interval_ns"] or 5 * _SECOND
        self.retries: int = members["retries"] or 3


class Health:
    """What a container's probes have said. `document` is what its state has of it.

    `changed` is called after each probe, with whether the status is another.
    """

    def __init__(
        self,
        loop: Loop,
        options: HealthOptions,
        capability: int,
        changed: Callable[[bool], None],
    ) -> None:
        self._loop = loop
        self._options = options
        self._capability = capability
        self._changed = changed
        self._timer: int | None = None
        self._probe: _Probe | None = None
        self._target = (0, -1)
        self._started = 0
        self._results: list[dict[str, Any]] = []
        self._status = "starting"
        self._streak = 0

    @property
    def document(self) -> dict[str, Any]:
        return {
            "Status": self._status,
            "FailingStreak": self._streak,
            "Log": list(self._results),
        }

    def begin(self, pid: int, pidfd: int) -> None:
        """A run of the container has begun."""
        self._target = pid, pidfd
        self._started = time.time_ns()
        self._status, self._streak, self._results = "starting", 0, []
        self._schedule()

    def end(self) -> None:
        """It has ended, and its processes with it."""
        self._loop.cancel(self._timer)
        self._timer = None
        if self._probe is not None:
            self._probe.give_up()
            self._probe = None

    def _schedule(self) -> None:
        options = self._options
        since = time.time_ns() - self._started
        soon = self._status == "starting" and since < options.start_period
        wait = min(options.start_interval, options.interval) if soon else options.interval
        self._timer = self._loop.after(wait / _SECOND, self._ask)

    def _ask(self) -> None:
        pid, pidfd = self._target
        if is_frozen(pid):
            self._schedule()
            return
        self._probe = _Probe(self._loop, self._options.timeout, self._over)
        self._probe.start(self._options.order, pid, pidfd, self._capability)

    def _over(self, began: int, status: int, output: str) -> None:
        self._probe = None
        before = self._status
        result = {
            "Start": rfc3339_nano(began),
            "End": rfc3339_nano(time.time_ns()),
            "ExitCode": status,
            "Output": output,
        }
        self._results = [*self._results, result][-_MOST_RESULTS:]
        if status == 0:
            self._status, self._streak = "healthy", 0
        elif before != "starting" or began - self._started >= self._options.start_period:
            self._streak += 1
            if self._streak >= self._options.retries:
                self._status = "unhealthy"
        self._schedule()
        self._changed(self._status != before)


class _Probe:
    """One command in the container; `over` gets when it began, its status and what it said."""

    def __init__(self, loop: Loop, timeout: int, over: Callable[[int, int, str], None]) -> None:
        self._loop = loop
        self._timeout = timeout
        self._over = over
        self._began = time.time_ns()
        self._output = b""
        self._pidfd = self._output_fd = -1
        self._timer: int | None = None

    def start(self, order_bytes: bytes, pid: int, target: int, capability: int) -> None:
        order = decode_order(order_bytes)
        order.enter = pid
        self._output_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        report = Report(terminal=False)
        try:
            try:
                standard = (null, write_fd, write_fd)
                _, self._pidfd, helper = clone_into(
                    order, target, standard, report.write_fd, capability,
                    exit_signal=_signal.SIGCHLD,
                )  # fmt: skip
                os.waitpid(helper, 0)
                report.sent()
                failure, _ = report.read()
            finally:
                report.close()
                os.close(null)
                os.close(write_fd)
        except (OSError, ContainerError) as error:
            self._finish(_NOT_ASKED, str(error))
            return
        if failure:
            if self._pidfd >= 0:
                os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
            stage, _, text = decode_failure(failure)
            self._finish(_NOT_ASKED, f"{stage}: {text}")
            return
        os.set_blocking(self._output_fd, False)
        self._loop.watch(self._output_fd, READ, self._read)
        self._loop.watch(self._pidfd, READ, self._ended)
        self._timer = self._loop.after(self._timeout / _SECOND, self._too_long)

    def give_up(self) -> None:
        """The container has ended; so have its processes."""
        if self._pidfd >= 0:
            send_signal(self._pidfd, _signal.SIGKILL)
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        self._let_go()

    def _read(self, _events: int) -> None:
        while self._output_fd >= 0:
            try:
                data = os.read(self._output_fd, 1 << 16)
            except BlockingIOError:
                return
            if not data:
                self._loop.forget(self._output_fd)
                os.close(self._output_fd)
                self._output_fd = -1
                return
            self._output = (self._output + data)[: _MOST_OUTPUT + 1]

    def _ended(self, _events: int) -> None:
        result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        assert result is not None
        self._read(0)
        code = result.si_status
        self._finish(code if result.si_code == os.CLD_EXITED else 128 + code, None)

    def _too_long(self) -> None:
        send_signal(self._pidfd, _signal.SIGKILL)
        os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        seconds = self._timeout / _SECOND
        self._finish(_NOT_ASKED, f"Health check exceeded timeout ({seconds:g}s)")

    def _finish(self, status: int, said: str | None) -> None:
        if said is None:
            said = self._output[:_MOST_OUTPUT].decode("utf-8", "replace")
            said += "..." if len(self._output) > _MOST_OUTPUT else ""
        self._let_go()
        self._over(self._began, status, said)

    def _let_go(self) -> None:
        self._loop.cancel(self._timer)
        for fd in (self._output_fd, self._pidfd):
            if fd >= 0:
                self._loop.forget(fd)
                os.close(fd)
        self._output_fd = self._pidfd = -1
