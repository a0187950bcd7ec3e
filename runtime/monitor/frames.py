"""What is said between a monitor and those attached to its container.

The connection keeps messages apart (SOCK_SEQPACKET); the first byte of each is its kind.
"""

from __future__ import annotations

ATTACH = 0x61
"""From a client, once, first: two bytes, whether it gives input and takes output; the monitor
says it back when the client is attached."""
INPUT = 0x69
END_OF_INPUT = 0x65
RESIZE = 0x77
"""From a client: rows and columns of its terminal, two bytes each."""
STDOUT = 0x6F
STDERR = 0x78
EXITED = 0x71
"""From the monitor, last: the exit status, a byte."""

LARGEST = 32 << 10
"""No message carries more than this, and its kind."""


def message(kind: int, payload: bytes = b"") -> bytes:
    """A message, to be sent in one piece."""
    return bytes((kind,)) + payload


def encode_size(rows: int, columns: int) -> bytes:
    """The payload of a `RESIZE`."""
    return rows.to_bytes(2, "big") + columns.to_bytes(2, "big")


def decode_size(payload: bytes) -> tuple[int, int]:
    """Rows and columns."""
    return int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big")
