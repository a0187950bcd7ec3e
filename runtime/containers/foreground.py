"""A container in the foreground, without a monitor: `lamina run --rm`.

Its streams are the caller's own, signals go on to it, and its exit status is the result. It ends
with the caller, however that ends.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

from runtime.containers.forwarding import Forwarding
from runtime.containers.prepare import event, new_container, sandbox_of
from runtime.containers.record import State, write_state
from runtime.containers.remove import discard_held, sweep_containers
from runtime.containers.spec import ContainerSpec
from runtime.errors import CommandNotFound, CommandNotRunnable, ContainerError
from runtime.image.store.store import Store
from runtime.monitor.identity import identify_child
from runtime.sandbox.server import SandboxServer

_FAILED: Final = 125
_NOT_RUNNABLE: Final = 126
_NOT_FOUND: Final = 127


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
            with Forwarding() as forwarding:
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
                status = forwarding.attend(process)
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


def _ended(state: State, status: int) -> State:
    return replace(
        state,
        status="exited",
        process=None,
        runner=None,
        exit_status=status,
        finished_ns=time.time_ns(),
    )
