"""Messages of the domain name system (RFC 1035), as far as a resolver for containers needs them.

What comes in is hostile: the one question of a query is read, with bounds, and nothing else of
it is believed. Monitors use this module, so it imports nothing.
"""

from __future__ import annotations

A = 1
PTR = 12
AAAA = 28
_IN = 1
_OPT = 41

FORMAT_ERROR = 1
SERVER_FAILURE = 2
NAME_ERROR = 3
NOT_IMPLEMENTED = 4
REFUSED = 5

SMALLEST_LIMIT = 512
LARGEST_MESSAGE = 65535
_HEADER = 12
_RESPONSE = 0x8000
_AUTHORITATIVE = 0x0400
_TRUNCATED = 0x0200
_DESIRED = 0x0100
_AVAILABLE = 0x0080
_LONGEST_NAME = 255
_LONGEST_LABEL = 63


class Malformed(Exception):
    """No query that can be understood; `reply` is what to say, if there is anything to say."""

    def __init__(self, reply: bytes | None) -> None:
        super().__init__()
        self.reply = reply


class Query:
    """One question.

    number  the ID that the answer has to bear
    name    in lower case, without the dot at its end; the root is empty
    type    `A`, `AAAA`, `PTR` or another; 0 if the class is not the internet's
    limit   the most bytes that an answer by UDP may have
    """

    __slots__ = ("_desired", "limit", "name", "number", "question", "type")

    def __init__(self, data: bytes) -> None:
        """Read a query. `Malformed`."""
        if not _HEADER <= len(data) <= LARGEST_MESSAGE:
            raise Malformed(None)
        flags = _number(data, 2)
        if flags & _RESPONSE:
            raise Malformed(None)  # An answer to an answer would never end.
        self.number = _number(data, 0)
        self._desired = flags & _DESIRED
        if flags >> 11 & 0xF:
            raise Malformed(_header(data, self._desired, NOT_IMPLEMENTED))
        counts = [_number(data, place) for place in (4, 6, 8, 10)]
        refusal = _header(data, self._desired, FORMAT_ERROR)
        if counts[0] != 1:
            raise Malformed(refusal)
        labels, end = _labels(data, _HEADER)
        if labels is None or end + 4 > len(data):
            raise Malformed(refusal)
        self.question = data[_HEADER : end + 4]
        self.name = b".".join(labels).lower().decode("ascii", "backslashreplace")
        self.type = _number(data, end) if _number(data, end + 2) == _IN else 0
        self.limit = SMALLEST_LIMIT
        if counts[1:] == [0, 0, 1]:
            self.limit = _offered(data, end + 4)

    def answer(self, records: list[bytes], *, error: int = 0, seconds: int = 0) -> bytes:
        """An answer with the data of records of the type that was asked for, or an error.

        `seconds` is how long it may be remembered. Records that have no room are left out.
        """
        kept = bytearray()
        count = 0
        for data in records:
            record = b"\xc0\x0c" + self.question[-4:] + seconds.to_bytes(4, "big")
            record += len(data).to_bytes(2, "big") + data
            if _HEADER + len(self.question) + len(kept) + len(record) > self.limit:
                break
            kept += record
            count += 1
        return self._head(error, count) + self.question + bytes(kept)

    def truncated(self) -> bytes:
        """That the answer has no room: it is to be asked for by TCP."""
        return self._head(0, 0, _TRUNCATED) + self.question

    def is_answered_by(self, data: bytes, number: int) -> bool:
        """Whether a message is an answer to this very question, asked under that ID."""
        return (
            len(data) >= _HEADER + len(self.question)
            and _number(data, 0) == number
            and bool(_number(data, 2) & _RESPONSE)
            and _number(data, 4) == 1
            and data[_HEADER : _HEADER + len(self.question)].lower() == self.question.lower()
        )

    def _head(self, error: int, count: int, more: int = 0) -> bytes:
        flags = _RESPONSE | _AVAILABLE | self._desired | more | error
        if count:
            flags |= _AUTHORITATIVE
        fields = (self.number, flags, 1, count, 0, 0)
        return b"".join(field.to_bytes(2, "big") for field in fields)


def error_of(answer: bytes) -> int:
    """The error that an answer names; 0 if it is none."""
    return answer[3] & 0xF


def renumbered(data: bytes, number: int) -> bytes:
    """The same message under another ID."""
    return number.to_bytes(2, "big") + data[2:]


def encoded_name(name: str) -> bytes:
    """A name as messages have it. `ValueError` for one that cannot be."""
    parts = name.encode("ascii").split(b".") if name else []
    if any(not 0 < len(part) <= _LONGEST_LABEL for part in parts):
        raise ValueError(name)
    encoded = b"".join(bytes([len(part)]) + part for part in parts) + b"\0"
    if len(encoded) > _LONGEST_NAME:
        raise ValueError(name)
    return encoded


def reversed_address(name: str) -> bytes | None:
    """The address that a name below in-addr.arpa or ip6.arpa stands for: 4 or 16 bytes."""
    labels = name.split(".")
    if labels[-2:] == ["in-addr", "arpa"] and len(labels) == 6:
        numbers = labels[3::-1]
        if all(text.isdecimal() and text.isascii() and len(text) < 4 for text in numbers):
            values = [int(text) for text in numbers]
            return bytes(values) if max(values) < 256 else None
    if labels[-2:] == ["ip6", "arpa"] and len(labels) == 34:
        digits = labels[31::-1]
        if all(len(text) == 1 and text in "0123456789abcdef" for text in digits):
            return bytes.fromhex("".join(digits))
    return None


def _number(data: bytes, place: int) -> int:
    return int.from_bytes(data[place : place + 2], "big")


def _header(data: bytes, desired: int, error: int) -> bytes:
    """An answer with nothing in it but an error."""
    flags = _RESPONSE | _AVAILABLE | desired | (_number(data, 2) & 0x7800) | error
    return data[:2] + flags.to_bytes(2, "big") + bytes(8)


def _labels(data: bytes, place: int) -> tuple[list[bytes] | None, int]:
    """The labels of a name that is not compressed, and where it ends; `None` for another."""
    start = place
    labels: list[bytes] = []
    while place < len(data):
        length = data[place]
        place += 1
        if length == 0:
            return labels, place
        if length > _LONGEST_LABEL or place + length - start >= _LONGEST_NAME:
            return None, place
        label = data[place : place + length]
        # A dot within a label would make it another name.
        if len(label) < length or b"." in label:
            return None, place
        labels.append(label)
        place += length
    return None, place


def _offered(data: bytes, place: int) -> int:
    """The size of answers that a query's OPT record (RFC 6891) says it takes."""
    if data[place : place + 3] != b"\0" + _OPT.to_bytes(2, "big") or place + 11 > len(data):
        return SMALLEST_LIMIT
    return max(SMALLEST_LIMIT, min(_number(data, place + 3), 4096))
