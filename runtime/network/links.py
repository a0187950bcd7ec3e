"""Interfaces, addresses and routes of the network namespace in which this is made: rtnetlink(7)."""

from __future__ import annotations

import _socket
import sys
from struct import pack, unpack_from

from runtime.network.netlink import (
    CREATE,
    EXCLUSIVE,
    Netlink,
    attribute,
    attributes,
    nested,
)

_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_NEWADDR, _NEWROUTE, _GETROUTE = 20, 24, 26
_UP = 1
_NO_DUPLICATES = 0x02
"""IFA_F_NODAD: nobody else gives addresses on these networks."""
_ADDRESS, _NAME, _MTU, _MASTER, _PORT, _INFO, _NAMESPACE = 1, 3, 4, 10, 12, 18, 28
_AF_BRIDGE = 7


class Links:
    """A connection to rtnetlink; every method may raise `OSError`."""

    def __init__(self) -> None:
        self._netlink = Netlink(0)

    def __enter__(self) -> Links:
        return self

    def __exit__(self, *_: object) -> None:
        self._netlink.__exit__()

    def add_bridge(self, name: str, mac: str, mtu: int) -> int:
        """Make a bridge that is up; its index. Its address stays, whatever joins it."""
        body = _link(flags=_UP, change=_UP) + attribute(_NAME, name) + attribute(_MTU, mtu)
        body += attribute(_ADDRESS, mac_bytes(mac)) + nested(_INFO, attribute(1, b"bridge"))
        self._netlink.ask(_NEWLINK, CREATE | EXCLUSIVE, body)
        return _socket.if_nametoindex(name)

    def add_pair(
        self, name: str, *, master: int, mtu: int, peer: str, peer_mac: str, namespace_fd: int
    ) -> None:
        """Make two ends of a wire: one on a bridge and up, one in another namespace and down."""
        there = _link() + attribute(_NAME, peer) + attribute(_MTU, mtu)
        there += attribute(_ADDRESS, mac_bytes(peer_mac)) + attribute(_NAMESPACE, namespace_fd)
        body = _link(flags=_UP, change=_UP) + attribute(_NAME, name) + attribute(_MTU, mtu)
        body += attribute(_MASTER, master)
        body += nested(_INFO, attribute(1, b"veth"), nested(2, nested(1, there)))
        self._netlink.ask(_NEWLINK, CREATE | EXCLUSIVE, body)

    def reflect(self, name: str) -> None:
        """Let a bridge give frames back to where they came from, if they are for there."""
        body = pack("=BxHiII", _AF_BRIDGE, 0, _socket.if_nametoindex(name), 0, 0)
        self._netlink.ask(_SETLINK, 0, body + nested(_PORT, attribute(4, b"\1")))

    def set_up(self, index: int) -> None:
        """Bring an interface up."""
        self._netlink.ask(_NEWLINK, 0, _link(index, _UP, _UP))

    def delete(self, name: str) -> None:
        """Remove an interface, if it is there."""
        try:
            self._netlink.ask(_DELLINK, 0, _link() + attribute(_NAME, name))
        except OSError as error:
            if error.errno != 19:  # ENODEV
                raise

    def indexes(self, prefix: str) -> dict[int, str]:
        """The indexes and names of interfaces here whose names begin so."""
        found = {}
        for each in self._netlink.dump(_GETLINK, _link()):
            name = attributes(each, 16)[_NAME].rstrip(b"\0").decode()
            if name.startswith(prefix):
                found[int(unpack_from("=BxHiII", each)[2])] = name
        return found

    def add_address(self, index: int, address: bytes, length: int) -> None:
        """Have an interface have an address (4 or 16 bytes) in a network of that prefix length."""
        family = _family(address)
        flags = _NO_DUPLICATES if family == _socket.AF_INET6 else 0
        body = pack("=BBBBi", family, length, flags, 0, index)
        body += attribute(2, address) + attribute(1, address)
        try:
            self._netlink.ask(_NEWADDR, CREATE | EXCLUSIVE, body)
        except FileExistsError:
            return

    def add_default_route(self, index: int, gateway: bytes) -> None:
        """Send what is for elsewhere to a gateway; nothing happens if it goes somewhere already."""
        body = pack("=BBBBBBBBI", _family(gateway), 0, 0, 0, 254, 3, 0, 1, 0)
        body += attribute(5, gateway) + attribute(4, index)
        try:
            self._netlink.ask(_NEWROUTE, CREATE | EXCLUSIVE, body)
        except FileExistsError:
            return

    def routes(self) -> list[tuple[bytes, int, int]]:
        """Destination (4 or 16 bytes), prefix length and interface's index of all routes but
        defaults, those to this machine itself and to many."""
        found = []
        for family in (_socket.AF_INET, _socket.AF_INET6):
            for each in self._netlink.dump(_GETROUTE, pack("=BBBBBBBBI", family, *(0,) * 8)):
                _, length, _, _, table, _, _, kind, _ = unpack_from("=BBBBBBBBI", each)
                values = attributes(each, 12)
                destination = values.get(1)
                if destination and length and kind == 1 and table != 255:
                    index = int.from_bytes(values.get(4, b""), sys.byteorder)
                    found.append((destination, length, index))
        return found


def mac_bytes(text: str) -> bytes:
    """The six bytes of an interface's address."""
    return bytes.fromhex(text.replace(":", ""))


def _link(index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    return pack("=BxHiII", 0, 0, index, flags, change)


def _family(address: bytes) -> int:
    return _socket.AF_INET if len(address) == 4 else _socket.AF_INET6
