"""Stopping transfers that wait for a network, from outside."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from runtime.image.registry.errors import TransferCancelled


class Cancellation:
    """Said once, heard by every thread that shares it: also by those that wait for a server."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()

    def cancel(self) -> None:
        """Let everything end; what waits for bytes is woken."""
        self._event.set()
        with self._lock:
            sockets = tuple(self._sockets)
        for each in sockets:
            _shut_down(each)

    def check(self) -> None:
        """`TransferCancelled` once it has been said."""
        if self._event.is_set():
            raise TransferCancelled

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than until it is said."""
        self._event.wait(seconds)
        self.check()

    def watch(self, connection: socket.socket) -> None:
        """Wake whoever waits on this connection when it is said."""
        with self._lock:
            self._sockets = {each for each in self._sockets if each.fileno() >= 0}
            self._sockets.add(connection)
            cancelled = self._event.is_set()
        if cancelled:  # Not an exception: who has just made the connection has to see it closed.
            _shut_down(connection)


def _shut_down(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
