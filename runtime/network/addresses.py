"""Addresses on private networks: which are free, and what interfaces with them are called.

Everything here is pure. Addresses are bytes (4 or 16) or texts, networks texts like
`10.1.2.0/24`. Monitors use this module, so there is no `ipaddress` here.
"""

from __future__ import annotations

import _socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection


def packed(text: str) -> bytes:
    """The bytes of an address. `OSError` if it is none."""
    return _socket.inet_pton(_socket.AF_INET6 if ":" in text else _socket.AF_INET, text)


def unpacked(address: bytes) -> str:
    """The text of an address."""
    return _socket.inet_ntop(_socket.AF_INET if len(address) == 4 else _socket.AF_INET6, address)


def network(text: str) -> tuple[bytes, int]:
    """The first address and the prefix length of a network."""
    address, _, length = text.partition("/")
    return packed(address), int(length)


def contains(text: str, address: bytes) -> bool:
    """Whether an address lies in a network."""
    first, length = network(text)
    if len(first) != len(address):
        return False
    shift = len(first) * 8 - length
    return int.from_bytes(first, "big") >> shift == int.from_bytes(address, "big") >> shift


def overlap(one: tuple[bytes, int], other: tuple[bytes, int]) -> bool:
    """Whether two networks have addresses in common."""
    if len(one[0]) != len(other[0]):
        return False
    shift = len(one[0]) * 8 - min(one[1], other[1])
    return int.from_bytes(one[0], "big") >> shift == int.from_bytes(other[0], "big") >> shift


def choose(subnet: str, within: str | None, taken: Collection[str], last: str | None) -> str | None:
    """A free address of a subnet (of a part `within` it), the next after the `last` given.

    So an address is not another's right after its owner's end. Neither the first nor, of IPv4,
    the last one is given. `None` if all are taken.
    """
    first, length = network(subnet)
    size = len(first)
    begin = int.from_bytes(first, "big")
    outside = {begin}
    if size == 4:
        outside.add(begin + (1 << 32 - length) - 1)
    part, part_length = network(within or subnet)
    low = int.from_bytes(part, "big")
    count = 1 << min(size * 8 - part_length, 32)
    used = {int.from_bytes(packed(each), "big") for each in taken} | outside
    start = int.from_bytes(packed(last), "big") + 1 - low if last else 0
    # One more than are used must be looked at, at most.
    for step in range(min(count, len(used) + 1)):
        candidate = low + (start + step) % count
        if candidate not in used:
            return unpacked(candidate.to_bytes(size, "big"))
    return None


def made_up_mac(address: str) -> str:
    """The interface's address that docker would give to an IPv4 address: it is as unique."""
    return ":".join(f"{byte:02x}" for byte in b"\x02\x42" + packed(address)[-4:])
