"""A command in a container that runs: `exec`."""

from __future__ import annotations

import marshal
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from runtime.containers.confined import call_filter, privileged_capabilities
from runtime.containers.record import Container
from runtime.errors import InvalidContainer, NotRunning
from runtime.monitor.identity import is_alive, open_process
from runtime.sandbox.privilege import join
from runtime.sandbox.server import Process, SandboxServer
from runtime.sandbox.spec import EntrySpec, merged_rlimits
from runtime.sandbox.wire import encode_order


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecSpec:
    """A command, and what is to be different for it from the container's own command.

    privileged   it has every capability; a filter stays, as it is for who has them
    """

    command: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    working_dir: str | None = None
    user: str | None = None
    privileged: bool = False
    terminal: bool = False
    terminal_size: tuple[int, int] = (0, 0)


class Target:
    """A container to execute commands in; make one by `entered`."""

    def __init__(self, container: Container, server: SandboxServer, pidfd: int) -> None:
        self._container = container
        self._server = server
        self._pidfd = pidfd

    def start(self, wanted: ExecSpec, stdin_fd: int, stdout_fd: int, stderr_fd: int) -> Process:
        """Start a command under the same restrictions as the container's own.

        On error nothing runs: `CommandNotFound`, `CommandNotRunnable`, `UserNotFound`,
        `SetupFailed`.
        """
        process = self._container.state.process
        assert process is not None
        spec = entry_spec(self._container, wanted, pid=process.pid)
        return self._server.start(spec, stdin_fd, stdout_fd, stderr_fd, target_fd=self._pidfd)


@contextmanager
def entered(container: Container) -> Iterator[Target]:
    """Be able to execute commands in a container; enters its user namespace, for good.

    `NotRunning`; `InvalidContainer` if it is paused; `SandboxUnavailable`.
    """
    state = container.state
    if state.status == "paused":
        raise InvalidContainer(
            f"container {container.description.short_id} is paused", hint="unpause it first"
        )
    pidfd = open_process(state.process) if state.status == "running" else None
    if pidfd is None or state.process is None:
        raise NotRunning(container.id, hint=f"lamina start {container.name}")
    try:
        runner = state.runner if is_alive(state.runner) else None
        join((runner or state.process).pid)
        with SandboxServer() as server:
            yield Target(container, server, pidfd)
    finally:
        os.close(pidfd)


def entry_order(container: Container) -> dict[str, Any]:
    """The order of any command, as `runtime.sandbox.wire` has it; the words are still to come."""
    wanted = ExecSpec(command=())
    order: dict[str, Any] = marshal.loads(encode_order(entry_spec(container, wanted, pid=0)))
    return order


def entry_spec(container: Container, wanted: ExecSpec, *, pid: int) -> EntrySpec:
    """What the sandbox is told of it; `pid` is the container's first process."""
    spec = container.spec
    env = dict(container.description.env)
    if wanted.terminal:
        env.setdefault("TERM", "xterm")
    env |= dict(wanted.env)
    capabilities = privileged_capabilities(spec, privileged=wanted.privileged)
    return EntrySpec(
        pid=pid,
        argv=wanted.command,
        env=tuple(env.items()),
        cwd=wanted.working_dir or spec.working_dir or "/",
        user=(spec.user or "") if wanted.user is None else wanted.user,
        groups=spec.security.groups,
        capabilities=capabilities,
        seccomp=call_filter(spec, capabilities),
        rlimits=merged_rlimits(spec.ulimits),
        oom_score_adj=spec.oom_score_adj,
        no_new_privileges=spec.no_new_privileges,
        terminal=wanted.terminal,
        terminal_size=wanted.terminal_size,
    )
