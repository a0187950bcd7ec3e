"""The name server of a container: it knows the containers around it, and asks others for the rest.

It listens at 127.0.0.11 inside the container's network namespace, on sockets that were made
there, and answers from the loop of the container's monitor, which it never holds up.
"""

from __future__ import annotations

import _socket

from runtime.monitor.loop import READ, WRITE
from runtime.network.dns_message import (
    AAAA,
    LARGEST_MESSAGE,
    PTR,
    A,
    Malformed,
    Query,
    encoded_name,
    reversed_address,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from runtime.monitor.loop import Loop
    from runtime.network.forwarder import Forwarder

    class Directory(Protocol):
        """The containers around one; addresses are 4 or 16 bytes."""

        def addresses(self, name: str) -> list[bytes] | None:
            """Those of a name in lower case; `None` if nobody here is called that."""

        def name(self, address: bytes) -> str | None:
            """Who has an address; `None` if nobody here has it."""


ADDRESS = "127.0.0.11"
PORT = 53
_SIZES = {A: 4, AAAA: 16}
_MOST_AT_ONCE = 32
_MOST_CLIENTS = 32
_IDLE_SECONDS = 10
_MOST_WAITING = 4 * LARGEST_MESSAGE


def open_sockets(address: str = ADDRESS, port: int = PORT) -> list[int]:
    """Sockets to listen on, for UDP and for TCP; made in this process's network namespace."""
    flags = _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
    by_udp = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | flags)
    by_udp.bind((address, port))
    by_tcp = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM | flags)
    by_tcp.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    by_tcp.bind((address, port))
    by_tcp.listen(_MOST_CLIENTS)
    return [by_udp.detach(), by_tcp.detach()]


class Resolver:
    """Answers on the two sockets that `open_sockets` has made, and closes them at the end."""

    def __init__(
        self, loop: Loop, fds: Sequence[int], directory: Directory, forwarder: Forwarder
    ) -> None:
        self._loop = loop
        self._by_udp, self._by_tcp = (_socket.socket(fileno=fd) for fd in fds)
        self._directory = directory
        self._forwarder = forwarder
        self._clients: set[_Client] = set()
        loop.watch(self._by_udp.fileno(), READ, self._datagrams)
        loop.watch(self._by_tcp.fileno(), READ, self._connections)

    def close(self) -> None:
        """Answer no more."""
        self._forwarder.close()
        for client in tuple(self._clients):
            client.close()
        for socket in (self._by_udp, self._by_tcp):
            self._loop.forget(socket.fileno())
            socket.close()

    def _datagrams(self, _: int) -> None:
        for _turn in range(_MOST_AT_ONCE):
            try:
                data, place = self._by_udp.recvfrom(LARGEST_MESSAGE)
            except OSError:
                return
            self._resolve(data, self._sender(place), by_tcp=False)

    def _sender(self, place: tuple[str, int]) -> Callable[[bytes | None], None]:
        def send(answer: bytes | None) -> None:
            if answer is None:
                return
            try:
                self._by_udp.sendto(answer, place)
            except OSError:
                return  # Whoever asked asks again.

        return send

    def _connections(self, _: int) -> None:
        try:
            fd, _place = self._by_tcp._accept()  # type: ignore[attr-defined]  # of _socket's
        except OSError:
            return
        socket = _socket.socket(fileno=fd)
        if len(self._clients) >= _MOST_CLIENTS:
            socket.close()
            return
        socket.setblocking(False)
        self._clients.add(_Client(self._loop, socket, self._resolve, self._clients.discard))

    def _resolve(self, data: bytes, send: Callable[[bytes | None], None], *, by_tcp: bool) -> None:
        """Have an answer sent, now or later; `None` if there is none to be had."""
        try:
            query = Query(data)
        except Malformed as error:
            send(error.reply)
            return
        if by_tcp:
            query.limit = LARGEST_MESSAGE
        records = self._known(query)
        if records is not None:
            send(query.answer(records))
            return

        def answered(answer: bytes) -> None:
            send(answer if len(answer) <= query.limit else query.truncated())

        self._forwarder.ask(query, data, answered, by_tcp=by_tcp)

    def _known(self, query: Query) -> list[bytes] | None:
        """The records of a name that is ours; `None` for one that is not.

        A container has no other records than it has: what others say of its name is not asked.
        """
        if query.type == PTR:
            address = reversed_address(query.name)
            name = self._directory.name(address) if address is not None else None
            return [encoded_name(name)] if name is not None else None
        addresses = self._directory.addresses(query.name)
        if addresses is None:
            return None
        return [address for address in addresses if len(address) == _SIZES.get(query.type)]


class _Client:
    """A connection by TCP: messages with their lengths before them (RFC 7766)."""

    def __init__(
        self,
        loop: Loop,
        socket: _socket.socket,
        resolve: Callable[..., None],
        gone: Callable[[_Client], None],
    ) -> None:
        self._loop = loop
        self._socket = socket
        self._resolve = resolve
        self._gone = gone
        self._in = bytearray()
        self._out = bytearray()
        self._pending = 0
        self._ended = False
        self._closed = False
        self._timer = loop.after(_IDLE_SECONDS, self.close)
        self._watch()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._loop.cancel(self._timer)
        self._loop.forget(self._socket.fileno())
        self._socket.close()
        self._gone(self)

    def _watch(self) -> None:
        # Who sends questions and takes no answers is not heard any further.
        hears = not self._ended and not self._pending and not self._out
        events = (READ if hears else 0) | (WRITE if self._out else 0)
        self._loop.watch(self._socket.fileno(), events, self._ready)

    def _ready(self, events: int) -> None:
        self._loop.cancel(self._timer)
        self._timer = self._loop.after(_IDLE_SECONDS, self.close)
        try:
            if events & WRITE and self._out:
                del self._out[: self._socket.send(self._out)]
            elif events & READ:
                data = self._socket.recv(LARGEST_MESSAGE)
                self._ended = not data
                self._in += data
            else:
                self.close()  # It has ended, both ways.
                return
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._go_on()

    def _go_on(self) -> None:
        """Take up the next question, when the last one is answered."""
        while not self._closed and not self._pending and len(self._out) < _MOST_WAITING:
            size = int.from_bytes(self._in[:2], "big")
            if len(self._in) < 2 + size or not self._in:
                break
            data = bytes(self._in[2 : 2 + size])
            del self._in[: 2 + size]
            self._pending += 1
            self._resolve(data, self._answered, by_tcp=True)
        if self._closed:
            return
        if self._ended and not self._pending and not self._out:
            self.close()
        else:
            self._watch()

    def _answered(self, answer: bytes | None) -> None:
        if self._closed:
            return
        self._pending -= 1
        if answer is None:
            self.close()
            return
        self._out += len(answer).to_bytes(2, "big") + answer
        self._watch()
