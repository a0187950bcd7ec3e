"""Those who are attached to a container: they get its output and may give it input.

Output waits for the slowest client, as a pipe's would; one that is gone is forgotten.
"""

from __future__ import annotations

import _socket
import os

from runtime.monitor import frames
from runtime.monitor.loop import READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.monitor.loop import Loop

_MOST_QUEUED = 1 << 20


class Client:
    """One connection."""

    def __init__(self, socket: _socket.socket) -> None:
        self.socket = socket
        self.gives_input = False
        self.takes_output = False
        self.queue: list[bytes] = []
        self.queued = 0
        self.ends = False


class Clients:
    """All of them. `on_input` gets data, or `None` for its end; `on_size` rows and columns.

    `on_gone` is called when one that gave input has left.
    """

    def __init__(
        self,
        loop: Loop,
        *,
        on_input: Callable[[bytes | None], None],
        on_size: Callable[[int, int], None],
        on_gone: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._on_input = on_input
        self._on_size = on_size
        self._on_gone = on_gone
        self._clients: dict[int, Client] = {}
        self._hears = True

    def listen(self, path: str) -> None:
        """Accept connections on a socket that is made at `path`, relative to the current folder."""
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        if os.path.lexists(path):
            os.unlink(path)
        listener.bind(path)
        listener.listen(64)
        listener.setblocking(False)
        self._loop.watch(listener.fileno(), READ, lambda _: self._accept(listener))

    def add(self, socket: _socket.socket, attached: tuple[bool, bool] | None = None) -> None:
        """Serve a connection, which is attached already or will ask for it."""
        socket.setblocking(False)
        client = Client(socket)
        if attached is not None:
            client.gives_input, client.takes_output = attached
        self._clients[socket.fileno()] = client
        self._watch(client)

    @property
    def are_full(self) -> bool:
        """Whether somebody has too much yet to read."""
        return any(client.queued > _MOST_QUEUED for client in self._clients.values())

    @property
    def are_waiting(self) -> bool:
        """Whether somebody has something yet to read."""
        return any(client.queued for client in self._clients.values())

    def output(self, kind: int, data: bytes) -> None:
        """Tell all that take output."""
        for client in list(self._clients.values()):
            if client.takes_output:
                self._send(client, frames.message(kind, data))

    def ended(self, status: int) -> None:
        """Tell all that are attached that the container has ended, and let them go."""
        for client in list(self._clients.values()):
            if client.gives_input or client.takes_output:
                client.gives_input = False
                client.ends = True
                self._send(client, frames.message(frames.EXITED, bytes((status & 0xFF,))))

    def hear(self, wanted: bool) -> None:
        """Whether input is wanted now."""
        if wanted != self._hears:
            self._hears = wanted
            for client in self._clients.values():
                self._watch(client)

    def _accept(self, listener: _socket.socket) -> None:
        try:
            fd, _ = listener._accept()  # type: ignore[attr-defined]  # what socket.accept calls
        except (BlockingIOError, ConnectionAbortedError):
            return
        self.add(_socket.socket(fileno=fd))

    def _watch(self, client: Client) -> None:
        events = WRITE if client.queue else 0
        if self._hears or not client.gives_input:
            events |= READ
        self._loop.watch(client.socket.fileno(), events, lambda ready: self._ready(client, ready))

    def _ready(self, client: Client, events: int) -> None:
        if events & WRITE and not self._flush(client):
            return
        if events & ~WRITE:
            self._receive(client)

    def _receive(self, client: Client) -> None:
        try:
            data = client.socket.recv(frames.LARGEST + 1)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(client)
            return
        kind, payload = data[0], data[1:]
        if kind == frames.ATTACH and len(payload) == 2:
            client.gives_input, client.takes_output = bool(payload[0]), bool(payload[1])
            self._send(client, frames.message(frames.ATTACH))
        elif kind == frames.INPUT and client.gives_input:
            self._on_input(payload)
        elif kind == frames.END_OF_INPUT and client.gives_input:
            self._on_input(None)
        elif kind == frames.RESIZE and len(payload) == 4:
            self._on_size(*frames.decode_size(payload))

    def _send(self, client: Client, data: bytes) -> None:
        client.queue.append(data)
        client.queued += len(data)
        if len(client.queue) == 1:
            self._flush(client)

    def _flush(self, client: Client) -> bool:
        """Send what goes; whether the client is still there."""
        sent = 0
        try:
            for data in client.queue:
                client.socket.send(data)
                sent += 1
                client.queued -= len(data)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)
            return False
        del client.queue[:sent]
        if client.ends and not client.queue:
            self._drop(client)
            return False
        self._watch(client)
        return True

    def _drop(self, client: Client) -> None:
        fd = client.socket.fileno()
        if self._clients.pop(fd, None) is not None:
            self._loop.forget(fd)
            client.socket.close()
            if client.gives_input:
                self._on_gone()
