"""Starting a container under a monitor of its own.

The monitor's process is started early and gets its request later, so that it comes up while
the container is prepared. It is no child of ours: it goes on when we end.
"""

from __future__ import annotations

import _socket
import os
import sys
from dataclasses import replace
from types import TracebackType
from typing import Any, Final

from runtime.containers.execute import ExecSpec, entry_spec
from runtime.containers.prepare import Held, sandbox_of
from runtime.containers.record import Container, State, state_document, write_state
from runtime.containers.remove import discard_held, event_attributes
from runtime.containers.surroundings import Hooks, hooks_of
from runtime.errors import ContainerError, SetupFailed
from runtime.image.store.store import Store
from runtime.monitor import files
from runtime.monitor.request import decode_answer, encode_request
from runtime.sandbox.server import start_error
from runtime.sandbox.spawn import spawn
from runtime.sandbox.wire import encode_order

DEFAULT_STOP_SECONDS: Final = 10
_SIGTERM: Final = 15
_EPIPE: Final = 32


class MonitorProcess:
    """A monitor that waits for its container; without one it ends with us."""

    def __init__(self) -> None:
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._socket = ours
        try:
            self._pid = spawn("runtime.monitor.program", theirs.fileno())
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()

    def __enter__(self) -> MonitorProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()
        # What we have started is only the monitor's parent, which ends at once.
        os.waitpid(self._pid, 0)

    def start(
        self,
        store: Store,
        held: Held,
        *,
        client_fd: int | None = None,
        attached: tuple[bool, bool] = (False, False),
        size: tuple[int, int] = (0, 0),
    ) -> int:
        """Hand a container over, and have it started; its process ID.

        `client_fd` is the monitor's end of a connection that is attached from the beginning:
        for input, for output. `size` is that of its terminal, if it is to have one. On error it
        does not run, and how it failed is recorded: `CommandNotFound`, `CommandNotRunnable`,
        `UserNotFound`, `SetupFailed`.
        """
        container = held.container
        if os.path.lexists(stopped := os.path.join(container.folder, files.STOPPED)):
            os.unlink(stopped)
        try:
            sandbox = sandbox_of(store, container, size)
            order = encode_order(sandbox)
            hooks = hooks_of(store.root, container, sandbox.mounts)
            if container.spec.runtime is not None:
                from runtime.oci.external import prepare_external

                hooks = (*hooks, prepare_external(store, container, sandbox))
        except (ContainerError, ValueError) as error:
            self._record_failure(store, held, str(error))
            if isinstance(error, ContainerError):
                raise
            raise SetupFailed("read the specification", 0, str(error)) from error
        request = _request(store, held, order, attached if client_fd is not None else None, hooks)
        answer = self._ask(encode_request(request), held.lock_fd, client_fd)
        if not answer:
            raise SetupFailed("ask the monitor", _EPIPE, "it has ended unexpectedly")
        pid, stage, number, text = decode_answer(answer)
        if pid == 0:
            raise start_error(container.description.argv[0], stage, number, text)
        return pid

    def _ask(self, request: bytes, lock_fd: int, client_fd: int | None) -> bytes:
        fd = os.memfd_create("request", os.MFD_CLOEXEC)
        try:
            written = 0
            while written < len(request):
                written += os.pwrite(fd, request[written:], written)
            fds = (fd, lock_fd) if client_fd is None else (fd, lock_fd, client_fd)
            rights = b"".join(number.to_bytes(4, sys.byteorder) for number in fds)
            try:
                self._socket.sendmsg([b"!"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
                return self._socket.recv(1 << 16)
            except (BrokenPipeError, ConnectionResetError):
                return b""
        finally:
            os.close(fd)

    def _record_failure(self, store: Store, held: Held, text: str) -> None:
        container = held.container
        state = replace(container.state, status="exited", error=text, exit_status=125)
        write_state(container.folder, state)
        if container.spec.remove:
            discard_held(store, container.id)


def _request(
    store: Store,
    held: Held,
    order: bytes,
    attached: tuple[bool, bool] | None,
    hooks: Hooks,
) -> dict[str, Any]:
    container = held.container
    spec = container.spec
    state = State(status="created", monitored=True)
    return {
        "id": container.id,
        "root": store.root,
        "folder": container.folder,
        "attributes": event_attributes(container),
        "order": order,
        "state": state_document(state),
        "open_stdin": spec.open_stdin,
        "stdin_once": spec.stdin_once,
        "log": (spec.log.max_size, spec.log.max_files) if spec.log.kept else None,
        "restart": (spec.restart, spec.restarts),
        "stop_signal": spec.stop_signal or _SIGTERM,
        "stop_seconds": DEFAULT_STOP_SECONDS if spec.stop_seconds is None else spec.stop_seconds,
        "health": _health(container),
        "remove": spec.remove,
        "attached": attached,
        "hooks": hooks,
    }


def _health(container: Container) -> dict[str, Any] | None:
    """How the monitor is to ask whether it is well."""
    health = container.spec.health
    if health is None:
        return None
    kind, *words = health.test
    command = tuple(words) if kind == "CMD" else (*container.spec.shell, *words)
    return {
        "order": encode_order(entry_spec(container, ExecSpec(command=command), pid=0)),
        "interval_ns": health.interval_ns,
        "timeout_ns": health.timeout_ns,
        "start_period_ns": health.start_period_ns,
        "start_interval_ns": health.start_interval_ns,
        "retries": health.retries,
    }
