"""A container in the foreground, without a monitor: `lamina run --rm`.

Its streams are the caller's own, signals go on to it, and its exit status is the result. It ends
with the caller, however that ends.
"""

from __future__ import annotations

import os
import select
import signal
import time
from dataclasses import replace
from types import FrameType
from typing import Any, Final

from runtime.containers.prepare import event, new_container, sandbox_of
from runtime.containers.record import State, write_state
from runtime.containers.remove import discard_held, sweep_containers
from runtime.containers.spec import ContainerSpec
from runtime.errors import CommandNotFound, CommandNotRunnable, ContainerError
from runtime.image.store.store import Store
from runtime.monitor.identity import identify_child
from runtime.sandbox.server import Process, SandboxServer

_FAILED: Final = 125
_NOT_RUNNABLE: Final = 126
_NOT_FOUND: Final = 127
_FORWARDED: Final = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2,
    signal.SIGWINCH, signal.SIGCONT, signal.SIGALRM,
)  # fmt: skip


def run(
    store: Store,
    sandbox: SandboxServer,
    spec: ContainerSpec,
    *,
    stdin_fd: int = 0,
    stdout_fd: int = 1,
    stderr_fd: int = 2,
) -> int:
    """Run a container to its end in the foreground; its exit status, 128 + n for signal n.

    To be called by the main thread: signals that this process gets meanwhile are the
    container's. `ImageNotFound`, or a `ContainerError` if it cannot be started.
    """
    sweep_containers(store)
    with new_container(store, spec) as held:
        container, state = held.container, held.container.state
        try:
            with _Forwarding() as forwarding:
                try:
                    sandbox_spec = sandbox_of(store, container)
                    process = sandbox.start(sandbox_spec, stdin_fd, stdout_fd, stderr_fd)
                except ContainerError as error:
                    failed = _ended(state, status_of(error))
                    write_state(container.folder, replace(failed, error=error.message))
                    raise
                state = replace(
                    state,
                    status="running",
                    process=identify_child(process.pid),
                    started_ns=time.time_ns(),
                )
                write_state(container.folder, state)
                event(container, "start")
                status = _attend(process, forwarding)
            write_state(container.folder, _ended(state, status))
            event(container, "die", exitCode=str(status))
            return status
        finally:
            if spec.remove:
                discard_held(store, container.id)
                event(container, "destroy")


def status_of(error: ContainerError) -> int:
    """The exit status that docker gives to a container that cannot be started."""
    match error:
        case CommandNotFound():
            return _NOT_FOUND
        case CommandNotRunnable():
            return _NOT_RUNNABLE
        case _:
            return _FAILED


def _attend(process: Process, forwarding: _Forwarding) -> int:
    """Wait for a container's end, passing signals on to it."""
    try:
        forwarding.begin(process)
        forwarding.wait()
        return process.wait()
    except BaseException:
        process.kill(signal.SIGKILL)
        process.wait()
        raise


class _Forwarding:
    """Has the signals that this process gets sent to a container; early ones when it is there."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._early: list[int] = []
        self._before: list[tuple[int, Any]] = []
        self._read_fd = self._write_fd = self._wakeup_before = -1

    def __enter__(self) -> _Forwarding:
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup_before = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        self._before = [(number, signal.signal(number, self._forward)) for number in _FORWARDED]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._read_fd)
        os.close(self._write_fd)

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


def _ended(state: State, status: int) -> State:
    return replace(
        state,
        status="exited",
        process=None,
        runner=None,
        exit_status=status,
        finished_ns=time.time_ns(),
    )
