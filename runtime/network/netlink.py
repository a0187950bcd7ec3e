"""Netlink: messages to the kernel's network, attributes in them, and its answers.

Numbers are those of linux/netlink.h. Monitors use this module: it imports next to nothing.
"""

from __future__ import annotations

import _socket
import os
import sys
from struct import pack, unpack_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_AF_NETLINK = 16
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
CREATE = 0x400
EXCLUSIVE = 0x200
APPEND = 0x800
_NESTED = 0x8000
_SECONDS = 20
_LARGEST = 1 << 16
HEADER = 16


def attribute(kind: int, value: bytes | str | int) -> bytes:
    """An attribute; a text ends with a NUL, a number has four bytes of the machine's order."""
    if isinstance(value, str):
        value = value.encode() + b"\0"
    elif isinstance(value, int):
        value = value.to_bytes(4, sys.byteorder)
    length = len(value) + 4
    return pack("=HH", length, kind) + value + bytes(-length % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute made of others."""
    return attribute(kind | _NESTED, b"".join(attributes))


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """The values of the attributes in a message, by their kinds; of equal ones the last."""
    return dict(each_attribute(data, offset))


def each_attribute(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Kinds and values of attributes, in their order."""
    while offset + 4 <= len(data):
        length, kind = unpack_from("=HH", data, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += length + (-length % 4)


def message(kind: int, flags: int, number: int, body: bytes) -> bytes:
    """A message with its header."""
    return pack("=IHHII", HEADER + len(body), kind, flags | _REQUEST, number, 0) + body


class Netlink:
    """A connection to a part of the kernel: 0 is rtnetlink, 12 netfilter."""

    def __init__(self, protocol: int) -> None:
        self._socket = _socket.socket(
            _AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, protocol
        )
        self._socket.bind((0, 0))
        # The kernel answers at once; a defect here must not make a container wait for ever.
        self._socket.settimeout(_SECONDS)
        self._number = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, kind: int, flags: int, body: bytes) -> None:
        """Have something done; `OSError` with the kernel's errno if it is not."""
        self._number += 1
        self._socket.send(message(kind, flags | _ACK, self._number, body))
        self._acknowledged(self._number)

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """The bodies of all messages that answer a question."""
        self._number += 1
        self._socket.send(message(kind, _DUMP, self._number, body))
        found: list[bytes] = []
        while True:
            for answer, _, data in self._receive():
                if answer == _DONE:
                    return found
                if answer == _ERROR:
                    _raise(data)
                else:
                    found.append(data)

    def transact(self, messages: list[tuple[int, int, bytes]], part: int) -> None:
        """Have several things done (kind, flags, body), all of them or none: nfnetlink's batch.

        `part` is the subsystem. `OSError` says what was the matter with the first bad one.
        """
        header = pack("=BB", 0, 0) + part.to_bytes(2, "big")
        first = self._number + 1
        batch = [message(16, 0, first, header)]
        for place, (kind, flags, body) in enumerate(messages, first + 1):
            # Only the last is acknowledged: hundreds of answers would not fit. Errors always are.
            last = place == first + len(messages)
            batch.append(message(kind, flags | (_ACK if last else 0), place, body))
        self._number = first + len(messages)
        batch.append(message(17, 0, self._number + 1, header))
        data = b"".join(batch)
        self._socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, max(len(data) * 2, 1 << 17))
        self._socket.send(data)
        self._acknowledged(self._number)
        self._number += 1

    def _acknowledged(self, number: int) -> None:
        while True:
            for answer, whose, data in self._receive():
                if answer == _ERROR:
                    _raise(data)
                    if whose == number:
                        return

    def _receive(self) -> Iterator[tuple[int, int, bytes]]:
        data = self._socket.recv(_LARGEST)
        offset = 0
        while offset + HEADER <= len(data):
            length, kind, _, number, _ = unpack_from("=IHHII", data, offset)
            yield kind, number, data[offset + HEADER : offset + length]
            offset += length + (-length % 4)


def _raise(data: bytes) -> None:
    (number,) = unpack_from("=i", data)
    if number:
        raise OSError(-number, os.strerror(-number))
