"""A container in the foreground, without a monitor: `lamina run --rm`.

Its streams are the caller's own, signals go on to it, and its exit status is the result. It ends
with the caller, however that ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from runtime.containers.forwarding import Forwarding
from runtime.containers.limited import OUT_OF_MEMORY, Limited
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
    say: Callable[[str], None] | None = None,
) -> int:
    """Run a container to its end in the foreground; its exit status, 128 + n for signal n.

    `say` is told what the user should know of the end besides its status.
    To be called by the main thread: signals that this process gets meanwhile are the
    container's. `ImageNotFound`, or a `ContainerError` if it cannot be started.
    """
    sweep_containers(store)
    with new_container(store, spec) as held:
        container, state = held.container, held.container.state
        limited = Limited()
        try:
            with Forwarding() as forwarding, limited:
                try:
                    order = limited.prepare(container, sandbox_of(store, container))
                    streams = stdin_fd, stdout_fd, stderr_fd
                    command = container.description.argv[0]
                    process = sandbox.start_order(order, streams, command=command)
                    limited.started(process)
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
                facts = limited.ended()
            state = replace(_ended(state, status), **facts)
            write_state(container.folder, state)
            if state.oom_killed:
                event(container, "oom")
                if say is not None:
                    say(OUT_OF_MEMORY)
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
