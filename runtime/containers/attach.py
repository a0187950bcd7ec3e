"""The other end of a monitor's connections: getting a container's output, giving it input.

Nothing here blocks: a container that waits until somebody takes its output must not make us
wait until it takes our input.
"""

from __future__ import annotations

import _socket
from dataclasses import dataclass

from runtime.containers.control import connect
from runtime.containers.record import Container
from runtime.errors import InvalidContainer, NotRunning
from runtime.monitor import frames


@dataclass(frozen=True, slots=True)
class Output:
    """What a container wrote, on its standard output or error."""

    data: bytes
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """There will be no more: the exit status; `None` if the monitor cannot tell."""

    status: int | None


class Attachment:
    """A connection to a monitor. `fileno` is to be polled, for writing while `wants_write`."""

    def __init__(self, socket: _socket.socket) -> None:
        socket.setblocking(False)
        self._socket = socket
        self._pending: list[bytes] = []

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    @property
    def wants_write(self) -> bool:
        """Whether something is yet to be sent; until then nothing more should be given."""
        return bool(self._pending)

    def give(self, data: bytes) -> None:
        """Give input, of at most `frames.LARGEST` bytes."""
        self._send(frames.message(frames.INPUT, data))

    def end_input(self) -> None:
        self._send(frames.message(frames.END_OF_INPUT))

    def resize(self, rows: int, columns: int) -> None:
        self._send(frames.message(frames.RESIZE, frames.encode_size(rows, columns)))

    def flush(self) -> None:
        """Send what can be sent."""
        try:
            while self._pending:
                self._socket.send(self._pending[0])
                del self._pending[0]
        except BlockingIOError:
            return
        except OSError:
            self._pending.clear()  # The end is read next.

    def receive(self) -> Output | Ended | None:
        """The next that is there; `None` if nothing is."""
        try:
            try:
                data = self._socket.recv(frames.LARGEST + 1)
            except ConnectionResetError:
                # It did not read all that we said. What it said last comes after the error.
                data = self._socket.recv(frames.LARGEST + 1)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            return Ended(None)
        kind, payload = data[0], data[1:]
        if kind == frames.EXITED:
            return Ended(payload[0])
        if kind in (frames.STDOUT, frames.STDERR):
            return Output(payload, is_error=kind == frames.STDERR)
        return None

    def _send(self, message: bytes) -> None:
        self._pending.append(message)
        self.flush()


def attach(container: Container, *, gives_input: bool) -> Attachment:
    """Attach to a container that runs; what it writes from then on is received.

    `NotRunning`, `InvalidContainer` if it is paused or has no monitor.
    """
    if not container.is_active:
        raise NotRunning(container.id, hint=f"lamina start -a {container.name}")
    if container.state.status == "paused":
        raise InvalidContainer(
            f"container {container.description.short_id} is paused", hint="unpause it first"
        )
    if not container.state.monitored:
        raise InvalidContainer(
            f"{container.name} runs in the foreground of another command (run --rm)",
            hint="run it with -d, or without --rm",
        )
    try:
        socket = connect(container.folder)
    except OSError as error:
        raise NotRunning(container.id) from error
    socket.send(frames.message(frames.ATTACH, bytes((gives_input, True))))
    answer = socket.recv(frames.LARGEST + 1)
    if not answer:
        socket.close()
        raise NotRunning(container.id)
    return Attachment(socket)


def attachment_pair() -> tuple[Attachment, _socket.socket]:
    """A connection for a monitor that is about to start: our end, and the one to hand over."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    return Attachment(ours), theirs
