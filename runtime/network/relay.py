"""Published ports where nothing else can publish them: a process that passes on what comes.

It listens outside, on sockets that were made there, and lives inside a network namespace, where
it connects to the container. It is a child of the container's monitor and ends with it.
"""

from __future__ import annotations

import _socket
import errno
import os
import time

from runtime.errors import NetworkError
from runtime.monitor.identity import send_signal
from runtime.monitor.loop import READ, WRITE, Loop
from runtime.network.helper import die_with
from runtime.network.ports import refused
from runtime.sandbox import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Sequence
    from typing import NoReturn

    # Protocol, address and port of the host's (every address if it is empty), port inside.
    PublishedPort = tuple[str, str, int, int]
else:
    import _signal

_FLAGS = _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
_PIECE = 1 << 17
_MOST_AT_ONCE = 32
_BACKLOG = 512
_IDLE_SECONDS = 90
_SWEEP_SECONDS = 15
_RLIMIT_NOFILE = 7
_SPARE_FDS = 64
_IPV6_RECVPKTINFO, _IPV6_PKTINFO, _IP_PKTINFO = 49, 50, 8


class Relay:
    """Passes on what comes to `address` in a network namespace. `NetworkError`.

    `listeners` are sockets, which are closed here, with the ports that what comes is for.
    """

    def __init__(
        self, listeners: Sequence[tuple[_socket.socket, int]], namespace_fd: int, address: str
    ) -> None:
        try:
            me = os.getpid()
            pid, self._pidfd = syscalls.clone3(0, _signal.SIGCHLD)
            if pid == 0:
                _serve(listeners, namespace_fd, address, parent=me)
        except OSError as error:
            raise NetworkError(f"cannot publish ports: {(error.strerror or '').lower()}") from error
        finally:
            for socket, _ in listeners:
                socket.close()

    def end(self) -> None:
        """Pass on nothing more."""
        send_signal(self._pidfd, _signal.SIGKILL)
        os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        os.close(self._pidfd)


def listen(port: PublishedPort) -> list[_socket.socket]:
    """Sockets at a port of this process's network; `NetworkError` if it cannot be had."""
    protocol, address, number, _ = port
    listeners: list[_socket.socket] = []
    try:
        for place in (address,) if address else ("0.0.0.0", "::"):
            family = _socket.AF_INET6 if ":" in place else _socket.AF_INET
            try:
                listeners.append(_listening(protocol, family, place, number))
            except OSError as error:
                if address or error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise
    except OSError as error:
        for each in listeners:
            each.close()
        raise refused(protocol, address, number, error) from error
    return listeners


def _listening(protocol: str, family: int, place: str, number: int) -> _socket.socket:
    kind = _socket.SOCK_STREAM if protocol == "tcp" else _socket.SOCK_DGRAM
    socket = _socket.socket(family, kind | _FLAGS)
    try:
        if family == _socket.AF_INET6:
            socket.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
        if protocol == "tcp":
            socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        elif family == _socket.AF_INET6:
            socket.setsockopt(_socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        else:
            socket.setsockopt(_socket.IPPROTO_IP, _IP_PKTINFO, 1)
        socket.bind((place, number))
        if protocol == "tcp":
            socket.listen(_BACKLOG)
    except BaseException:
        socket.close()
        raise
    return socket


def _serve(
    listeners: Sequence[tuple[_socket.socket, int]],
    namespace_fd: int,
    address: str,
    *,
    parent: int,
) -> NoReturn:
    try:
        die_with(parent)
        syscalls.setns(namespace_fd, syscalls.CLONE_NEWNET)
        kept = {socket.fileno() for socket, _ in listeners}
        for fd in map(int, os.listdir("/proc/self/fd")):
            if fd > 2 and fd not in kept:
                _close(fd)
        _signal.set_wakeup_fd(-1)
        for number in (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP):
            _signal.signal(number, _signal.SIG_DFL)
        _, hard = syscalls.prlimit(_RLIMIT_NOFILE, None)
        syscalls.prlimit(_RLIMIT_NOFILE, (hard, hard))
        room = Room(hard - _SPARE_FDS)
        loop = Loop()
        kept_alive: list[object] = []
        for socket, port in listeners:
            if socket.type & 0xF == _socket.SOCK_STREAM:
                kept_alive.append(_Streams(loop, socket, (address, port), room))
            else:
                kept_alive.append(_Datagrams(loop, socket, (address, port), room))
        while True:
            loop.step()
    finally:
        os._exit(1)


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        return  # The one that listed them.


class Room:
    """How many more descriptors there may be."""

    def __init__(self, count: int) -> None:
        self._left = count

    def take(self, count: int) -> bool:
        """Whether so many are there to be had; they are had then."""
        if self._left < count:
            return False
        self._left -= count
        return True

    def give_back(self, count: int) -> None:
        self._left += count


class _Streams:
    """Connections that come to one listening socket."""

    def __init__(
        self, loop: Loop, socket: _socket.socket, target: tuple[str, int], room: Room
    ) -> None:
        self._loop = loop
        self._socket = socket
        self._target = target
        self._room = room
        loop.watch(socket.fileno(), READ, self._accept)

    def _accept(self, _: int) -> None:
        for _turn in range(_MOST_AT_ONCE):
            try:
                fd, _place = self._socket._accept()  # type: ignore[attr-defined]  # of _socket's
            except OSError:
                return
            client = _socket.socket(fileno=fd)
            client.setblocking(False)
            if not self._room.take(2):
                client.close()
                continue
            server = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM | _FLAGS)
            if server.connect_ex(self._target) not in (0, errno.EINPROGRESS):
                client.close()
                server.close()
                self._room.give_back(2)
                continue
            _Pair(self._loop, client, server, self._room)


class _Pair:
    """Two connections, of which each gets what the other one says."""

    def __init__(
        self, loop: Loop, client: _socket.socket, server: _socket.socket, room: Room
    ) -> None:
        self._loop = loop
        self._room = room
        self._sockets = (client, server)
        for each in self._sockets:
            each.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        # What is to be sent to each, and whether no more comes from it, and goes to it.
        self._waiting: list[bytes | memoryview] = [b"", b""]
        self._ended = [False, False]
        self._shut = [False, False]
        self._connected = False
        self._watch()

    def _watch(self) -> None:
        for number in (0, 1):
            other = 1 - number
            hears = self._connected and not self._ended[number] and not self._waiting[other]
            sends = bool(self._waiting[number]) or (number == 1 and not self._connected)
            events = (READ if hears else 0) | (WRITE if sends else 0)
            fd = self._sockets[number].fileno()
            if events or not (self._ended[number] and self._shut[number]):
                self._loop.watch(fd, events, self._ready_0 if number == 0 else self._ready_1)
            else:
                self._loop.forget(fd)

    def _ready_0(self, events: int) -> None:
        self._ready(0, events)

    def _ready_1(self, events: int) -> None:
        self._ready(1, events)

    def _ready(self, number: int, events: int) -> None:
        socket, other = self._sockets[number], 1 - number
        try:
            if number == 1 and not self._connected:
                if socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR):
                    self._close()
                    return
                self._connected = True
            elif events & WRITE and self._waiting[number]:
                self._send(number)
            elif events & READ:
                data = socket.recv(_PIECE)
                self._ended[number] = not data
                self._waiting[other] = data
                self._send(other)
            elif self._waiting[number] or not self._ended[number]:
                self._close()  # It was reset.
                return
        except BlockingIOError:
            pass
        except OSError:
            self._close()
            return
        if all(self._shut):
            self._close()
        else:
            self._watch()

    def _send(self, number: int) -> None:
        socket, data = self._sockets[number], self._waiting[number]
        if data:
            try:
                sent = socket.send(data)
            except BlockingIOError:
                return
            self._waiting[number] = memoryview(data)[sent:] if sent < len(data) else b""
        if self._ended[1 - number] and not self._waiting[number] and not self._shut[number]:
            self._shut[number] = True
            socket.shutdown(_socket.SHUT_WR)

    def _close(self) -> None:
        for socket in self._sockets:
            self._loop.forget(socket.fileno())
            socket.close()
        self._room.give_back(2)


class _Datagrams:
    """What comes to one socket; each sender gets a socket of its own inside, for a while."""

    def __init__(
        self, loop: Loop, socket: _socket.socket, target: tuple[str, int], room: Room
    ) -> None:
        self._loop = loop
        self._socket = socket
        self._target = target
        self._room = room
        self._flows: dict[object, tuple[_socket.socket, list[float]]] = {}
        loop.watch(socket.fileno(), READ, self._receive)
        loop.after(_SWEEP_SECONDS, self._sweep)

    def _receive(self, _: int) -> None:
        for _turn in range(_MOST_AT_ONCE):
            try:
                data, ancillary, _flags, place = self._socket.recvmsg(1 << 16, 64)
            except OSError:
                return
            way_back = _way_back(ancillary)
            key = (place, way_back)
            if key not in self._flows and not self._open(key, place, way_back):
                continue
            inner, used = self._flows[key]
            used[0] = time.monotonic()
            try:
                inner.send(data)
            except OSError:
                continue  # Nobody listens there (yet).

    def _open(self, key: object, place: tuple[object, ...], way_back: tuple[object, ...]) -> bool:
        if not self._room.take(1):
            return False
        inner = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _FLAGS)
        inner.connect(self._target)

        def answer(_: int) -> None:
            try:
                data = inner.recv(1 << 16)
                self._socket.sendmsg([data], way_back, 0, place)  # type: ignore[arg-type]
            except OSError:
                return

        self._loop.watch(inner.fileno(), READ, answer)
        self._flows[key] = inner, [0.0]
        return True

    def _sweep(self) -> None:
        old = time.monotonic() - _IDLE_SECONDS
        for key in [key for key, (_, used) in self._flows.items() if used[0] < old]:
            inner, _ = self._flows.pop(key)
            self._loop.forget(inner.fileno())
            inner.close()
            self._room.give_back(1)
        self._loop.after(_SWEEP_SECONDS, self._sweep)


def _way_back(ancillary: Sequence[tuple[int, int, bytes]]) -> tuple[tuple[int, int, bytes], ...]:
    """What is to go with an answer so that it comes from where the question went to (ip(7))."""
    for level, kind, data in ancillary:
        if (level, kind) == (_socket.IPPROTO_IP, _IP_PKTINFO):
            return ((level, kind, bytes(4) + data[8:12] + bytes(4)),)
        if (level, kind) == (_socket.IPPROTO_IPV6, _IPV6_PKTINFO):
            return ((level, kind, data),)
    return ()
