"""Asking the host's name servers what a container wants to know, without ever waiting.

Each question goes out from a socket of its own, so from a port of its own, under a random ID; one
server after the other is asked until one knows an answer.
"""

from __future__ import annotations

import _socket
import errno
import os

from runtime.monitor.loop import READ, WRITE
from runtime.network.dns_message import (
    LARGEST_MESSAGE,
    NOT_IMPLEMENTED,
    REFUSED,
    SERVER_FAILURE,
    error_of,
    renumbered,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runtime.monitor.loop import Loop
    from runtime.network.dns_message import Query

    Done = Callable[[bytes], None]

PORT = 53
_SECONDS = 2.4  # Two of them are over before clients give up (resolv.conf(5): 5).
_MOST_ASKED = 256
_MOST_SERVERS = 3
_PASSED_OVER = (SERVER_FAILURE, NOT_IMPLEMENTED, REFUSED)
_FLAGS = _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC


class Forwarder:
    """Asks `servers`, texts of addresses, in their order."""

    def __init__(self, loop: Loop, servers: Sequence[str], *, port: int = PORT) -> None:
        self._loop = loop
        places = [_place(server, port) for server in servers]
        self._servers = [place for place in places if place is not None][:_MOST_SERVERS]
        self._asked: set[_Asked] = set()

    def ask(self, query: Query, data: bytes, done: Done, *, by_tcp: bool) -> None:
        """Have `done` called with an answer to a query, whose message is `data`."""
        if not self._servers or len(self._asked) >= _MOST_ASKED:
            done(query.answer([], error=SERVER_FAILURE))
            return
        asked = _Asked(self._loop, self._servers, query, data, by_tcp=by_tcp)

        def answered(answer: bytes) -> None:
            self._asked.discard(asked)
            done(answer)

        self._asked.add(asked)
        asked.begin(answered)

    def close(self) -> None:
        """Ask no more; who still waits gets no answer."""
        for asked in self._asked:
            asked.end()
        self._asked.clear()


class _Asked:
    """One question on its way."""

    def __init__(
        self,
        loop: Loop,
        servers: list[tuple[int, tuple[str, int] | tuple[str, int, int, int]]],
        query: Query,
        data: bytes,
        *,
        by_tcp: bool,
    ) -> None:
        self._loop = loop
        self._left = list(servers)
        self._query = query
        self._data = data
        self._by_tcp = by_tcp
        self._number = 0
        self._socket: _socket.socket | None = None
        self._timer: int | None = None
        self._out = b""
        self._in = bytearray()
        self._worse: bytes | None = None
        self._done: Done | None = None

    def begin(self, done: Done) -> None:
        self._done = done
        self._next()

    def end(self) -> None:
        self._loop.cancel(self._timer)
        self._timer = None
        if self._socket is not None:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _next(self) -> None:
        """Ask the next server, if there is one."""
        self.end()
        while self._left:
            family, place = self._left.pop(0)
            try:
                self._send(family, place)
            except OSError:
                self.end()
                continue
            self._timer = self._loop.after(_SECONDS, self._next)
            return
        self._finish(self._worse or self._query.answer([], error=SERVER_FAILURE))

    def _send(self, family: int, place: tuple[str, int] | tuple[str, int, int, int]) -> None:
        self._number = int.from_bytes(os.urandom(2), "big")
        message = renumbered(self._data, self._number)
        kind = _socket.SOCK_STREAM if self._by_tcp else _socket.SOCK_DGRAM
        made = self._socket = _socket.socket(family, kind | _FLAGS)
        if self._by_tcp:
            self._out = len(message).to_bytes(2, "big") + message
            self._in.clear()
            number = made.connect_ex(place)
            if number not in (0, errno.EINPROGRESS):
                raise OSError(number, os.strerror(number))
            self._loop.watch(made.fileno(), WRITE, self._write)
            return
        # Connected: the kernel then takes answers from nobody else.
        made.connect(place)
        made.send(message)
        self._loop.watch(made.fileno(), READ, self._receive)

    def _receive(self, _: int) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(LARGEST_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            self._next()
            return
        if self._query.is_answered_by(data, self._number):
            self._heard(data)

    def _write(self, _: int) -> None:
        assert self._socket is not None
        try:
            if self._socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR):
                self._next()
                return
            self._out = self._out[self._socket.send(self._out) :]
        except BlockingIOError:
            return
        except OSError:
            self._next()
            return
        if not self._out:
            self._loop.watch(self._socket.fileno(), READ, self._read)

    def _read(self, _: int) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(LARGEST_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._in += data
        size = int.from_bytes(self._in[:2], "big") if len(self._in) >= 2 else LARGEST_MESSAGE
        message = bytes(self._in[2 : 2 + size])
        if len(message) == size and self._query.is_answered_by(message, self._number):
            self._heard(message)
        elif not data or len(message) == size:
            self._next()

    def _heard(self, data: bytes) -> None:
        if error_of(data) in _PASSED_OVER and self._left:
            self._worse = renumbered(data, self._query.number)
            self._next()
        else:
            self._finish(renumbered(data, self._query.number))

    def _finish(self, answer: bytes) -> None:
        self.end()
        done, self._done = self._done, None
        if done is not None:
            done(answer)


def _place(
    server: str, port: int
) -> tuple[int, tuple[str, int] | tuple[str, int, int, int]] | None:
    """A server's family and address, as sockets want them; `None` if it is no address.

    It must be one: the name of a host would be looked up, and that may take long.
    """
    address, _, interface = server.partition("%")
    try:
        if ":" not in address:
            _socket.inet_pton(_socket.AF_INET, address)
            return _socket.AF_INET, (address, port)
        _socket.inet_pton(_socket.AF_INET6, address)
        scope = _socket.if_nametoindex(interface) if interface else 0
    except OSError:
        return None
    return _socket.AF_INET6, (address, port, 0, scope)
