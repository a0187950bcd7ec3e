"""Ports of the host's: held while a container has them, so that nobody else takes them.

What comes for them is led away before it gets to these sockets, which nothing ever reads.
"""

from __future__ import annotations

import _socket
import errno

from runtime.errors import NetworkError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Port = tuple[str, str, int, int]
    WantedPort = tuple[str, str, int | tuple[int, int], int]

_ANY = ("0.0.0.0", "::")
_TRIES = 32
_IPV6_ONLY = 26


class PortTaken(NetworkError):
    """Somebody else has a port of the host's."""


class HeldPorts:
    """The host's ports that a container has. Closing lets go of them."""

    def __init__(self) -> None:
        self._sockets: list[_socket.socket] = []

    def hold(self, ports: Sequence[WantedPort], *, ipv6: bool) -> list[Port]:
        """Hold ports (protocol, host's address, host's port, container's port).

        Those with port 0 get one that is free, those with two numbers one from the first to the
        last. An empty address is every one of the host's; of
        IPv6, too, if the container has such. `NetworkError` if one is taken; then none is held.
        """
        try:
            return [self._hold(*port, ipv6=ipv6) for port in ports]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of all."""
        for socket in self._sockets:
            socket.close()
        self._sockets = []

    def _hold(
        self, protocol: str, address: str, wanted: int | tuple[int, int], port: int, *, ipv6: bool
    ) -> Port:
        if isinstance(wanted, int):
            return self._hold_one(protocol, address, wanted, port, ipv6=ipv6)
        first, last = wanted
        for number in range(first or 1, last):
            try:
                return self._hold_one(protocol, address, number, port, ipv6=ipv6)
            except PortTaken:
                continue
        return self._hold_one(protocol, address, last, port, ipv6=ipv6)

    def _hold_one(self, protocol: str, address: str, number: int, port: int, *, ipv6: bool) -> Port:
        wanted = (address,) if address else _ANY if ipv6 else _ANY[:1]
        for _ in range(_TRIES):
            try:
                sockets = _bind_all(protocol, wanted, number)
            except OSError as error:
                if number == 0 and error.errno == errno.EADDRINUSE:
                    continue  # free for one address, but not for the other
                raise refused(protocol, address, number, error) from error
            self._sockets += sockets
            return protocol, address, number or int(sockets[0].getsockname()[1]), port
        raise NetworkError(f"no free {protocol} port was found on the host")


def _bind_all(protocol: str, addresses: Sequence[str], number: int) -> list[_socket.socket]:
    sockets: list[_socket.socket] = []
    try:
        for address in addresses:
            try:
                sockets.append(_bound(protocol, address, number))
            except OSError as error:
                if address != "::" or len(addresses) == 1 or error.errno == errno.EADDRINUSE:
                    raise
                continue  # a host without IPv6
            number = number or int(sockets[0].getsockname()[1])
    except BaseException:
        for socket in sockets:
            socket.close()
        raise
    return sockets


def _bound(protocol: str, address: str, number: int) -> _socket.socket:
    try:
        return _bind(protocol, address, number, reuse=False)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or protocol != "tcp" or number == 0:
            raise
    # Perhaps only what is left of connections of who had it before; a listener is in the way
    # for this, too.
    socket = _bind(protocol, address, number, reuse=True)
    try:
        if address != _ANY[1]:
            # Then two who come so are in each other's way. Nobody gets here, but from ::1, where
            # they had better be refused.
            socket.listen(0)
    except BaseException:
        socket.close()
        raise
    return socket


def _bind(protocol: str, address: str, number: int, *, reuse: bool) -> _socket.socket:
    family = _socket.AF_INET6 if ":" in address else _socket.AF_INET
    kind = _socket.SOCK_STREAM if protocol == "tcp" else _socket.SOCK_DGRAM
    socket = _socket.socket(family, kind | _socket.SOCK_CLOEXEC)
    try:
        if family == _socket.AF_INET6:
            socket.setsockopt(_socket.IPPROTO_IPV6, _IPV6_ONLY, 1)
        if reuse:
            socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        socket.bind((address, number))
    except BaseException:
        socket.close()
        raise
    return socket


def refused(protocol: str, address: str, number: int, error: OSError) -> NetworkError:
    """Why a port of the host's cannot be had."""
    place = f"[{address}]" if ":" in address else address or _ANY[0]
    text = f"cannot publish port {place}:{number}/{protocol}"
    match error.errno:
        case errno.EADDRINUSE:
            return PortTaken(
                f"{text}: port is already allocated",
                hint="ss -lntup shows by whom; publish another, or end that one",
            )
        case errno.EADDRNOTAVAIL:
            return NetworkError(
                f"{text}: the host has no such address", hint="ip address shows those it has"
            )
        case errno.EACCES:
            return NetworkError(
                f"{text}: only root may have it",
                hint="take a port from 1024 on; or as root: sysctl -w"
                f" net.ipv4.ip_unprivileged_port_start={number}",
            )
        case _:
            return NetworkError(f"{text}: {(error.strerror or '').lower()}")
