"""Starting a prepared container in the foreground, and what is recorded until its end.

Both ways to such a container come together here: `runtime.containers.foreground` prepares it,
`runtime.containers.quick` knows what that would give. So it imports as little as the latter.
"""

from __future__ import annotations

import errno
import os
import time

from runtime.containers.forwarding import Forwarding
from runtime.errors import CommandNotFound, CommandNotRunnable, ContainerError, SetupFailed
from runtime.monitor import files
from runtime.monitor.events import append_event
from runtime.monitor.identity import identify_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Final

    from runtime.sandbox.server import Process, SandboxServer

_FAILED: Final = 125
_NOT_RUNNABLE: Final = 126
_NOT_FOUND: Final = 127


class Attended:
    """A container whose folder this process holds: what is recorded of it.

    `state` is its document in `state.json`; `attributes` are what its events say.
    """

    def __init__(
        self, container_id: str, folder: str, state: Mapping[str, Any], attributes: dict[str, str]
    ) -> None:
        self.id = container_id
        self.folder = folder
        self._state = dict(state)
        self._attributes = attributes

    def record(self, **changes: Any) -> None:
        """Write down what has become of it."""
        self._state |= changes
        files.write_json(f"{self.folder}/{files.STATE}", self._state)

    @property
    def is_out_of_memory(self) -> bool:
        """Whether a process of it was killed for want of memory."""
        return bool(self._state["oom_killed"])

    def record_end(self, status: int, error: str = "", **facts: Any) -> None:
        """Write down that it has ended, or was never started."""
        self.record(
            status="exited",
            process=None,
            runner=None,
            exit_status=status,
            error=error,
            finished_ns=time.time_ns(),
            **facts,
        )

    def event(self, action: str, **more: str) -> None:
        """Record that something happened to it."""
        attributes = {**self._attributes, **more}
        append_event(os.path.dirname(self.folder), action, self.id, attributes)


def attend(
    attended: Attended,
    sandbox: SandboxServer,
    prepare: Callable[[], bytes],
    *,
    command: str,
    standard: tuple[int, int, int],
    started: Callable[[Process], None] | None = None,
    ended: Callable[[], dict[str, Any]] | None = None,
) -> int:
    """Run a container to its end; its exit status, 128 + n for signal n.

    `prepare` gives its order, `started` is told of its process, `ended` gives facts of its end.
    Signals that this process gets meanwhile are the container's. A `ContainerError` if it
    cannot be started.
    """
    with Forwarding() as forwarding:
        try:
            try:
                order = prepare()
            except ValueError as error:
                text = str(error)
                raise SetupFailed("read the specification", errno.EINVAL, text) from error
            process = sandbox.start_order(order, standard, command=command)
            if started is not None:
                started(process)
        except ContainerError as error:
            attended.record_end(status_of(error), error.message)
            raise
        attended.record(
            status="running",
            process=identify_child(process.pid).to_document(),
            started_ns=time.time_ns(),
        )
        attended.event("start")
        status = forwarding.attend(process)
        facts = ended() if ended is not None else {}
    attended.record_end(status, **facts)
    if attended.is_out_of_memory:
        attended.event("oom")
    attended.event("die", exitCode=str(status))
    return status


def status_of(error: ContainerError) -> int:
    """The exit status that docker gives to a container that cannot be started."""
    if isinstance(error, CommandNotFound):
        return _NOT_FOUND
    return _NOT_RUNNABLE if isinstance(error, CommandNotRunnable) else _FAILED
