"""The pieces of a tar header, read with suspicion: numbers, names, PAX records.

Each function takes the name of the member it works for, so that a refusal can name it.
"""

from __future__ import annotations

import os
import zlib
from typing import Final

from runtime.image.errors import LayerError

_CHECKSUM: Final = slice(148, 156)
_SPACES: Final = 8 * ord(" ")
_ADLER: Final = 65521
_DIGITS: Final = 20


def text(field: bytes) -> bytes:
    """A field's bytes before the first NUL."""
    end = field.find(b"\0")
    return field if end < 0 else field[:end]


def number(field: bytes, member: bytes, what: str) -> int:
    """A number in octal, or in base 256 as GNU writes what octal cannot hold."""
    digits = field.rstrip(b"\0 ")
    if digits.isdigit():
        try:
            return int(digits, 8)
        except ValueError:
            raise refusal(member, f"its {what} is no octal number") from None
    first = field[0]
    if first & 0x80:
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        return value if not first & 0x40 else value - (1 << (8 * len(field) - 1))
    digits = text(field).strip(b" ")
    if not digits:
        return 0
    if not digits.isdigit() or not set(digits) <= set(b"01234567"):
        raise refusal(member, f"its {what} is no octal number")
    return int(digits, 8)


def decimal(value: bytes, member: bytes, what: str) -> int:
    """A number from a PAX record; a fraction is rounded down."""
    whole, point, fraction = value.partition(b".")
    negative = whole.startswith(b"-")
    digits = whole[1:] if negative else whole
    if not digits.isdigit() or len(digits) > _DIGITS or (point and not (fraction + b"0").isdigit()):
        raise refusal(member, f"its {what} is no number")
    if not negative:
        return int(digits)
    return -int(digits) - (1 if fraction.strip(b"0") else 0)


def verify_checksum(block: bytes) -> None:
    """`LayerError` if a header is not what it was when it was written."""
    field = block[_CHECKSUM]
    # Adler-32's low half is 1 + the sum of the bytes modulo 65521, a tenth of the price of `sum`.
    without = (zlib.adler32(block) & 0xFFFF) - (zlib.adler32(field) & 0xFFFF)
    actual = (without + _SPACES) % _ADLER
    try:
        if int(field[:6], 8) == actual:
            return
    except ValueError:
        pass
    stored = number(field, text(block[:100]), "checksum")
    if 0 <= stored <= 255 * len(block) and stored % _ADLER == actual:
        return
    signed = sum(byte - 256 if byte > 127 else byte for byte in block)  # as old tars on SunOS did
    signed += _SPACES - sum(byte - 256 if byte > 127 else byte for byte in field)
    if stored != signed:
        raise refusal(text(block[:100]), "the checksum of its header is wrong")


def pax_records(body: bytes, member: bytes) -> dict[bytes, bytes]:
    """The records of an extended header (POSIX, pax, "pax Extended Header")."""
    records: dict[bytes, bytes] = {}
    position = 0
    while position < len(body):
        space = body.find(b" ", position, position + _DIGITS)
        digits = body[position : max(space, position)]
        if not digits.isdigit():
            raise refusal(member, "its extended header is malformed")
        end = position + int(digits)
        key, equals, value = body[space + 1 : end - 1].partition(b"=")
        if end > len(body) or body[end - 1 : end] != b"\n" or not key or not equals:
            raise refusal(member, "its extended header is malformed")
        records[key] = value
        position = end
    return records


def path_of(raw: bytes, member: bytes, longest: int, longest_name: int) -> bytes:
    """A path as entries have it: relative, without `.` and empty components; `b""` is the root."""
    if (
        len(raw) <= longest_name
        and b"/." not in raw
        and b"//" not in raw
        and not raw.startswith((b"/", b"."))
    ):
        return raw.rstrip(b"/")
    parts = raw.rstrip(b"/").split(b"/")
    if b"" in parts or b"." in parts:
        parts = [part for part in parts if part not in (b"", b".")]
    if b".." in parts:
        raise refusal(member, "a path in a layer must not contain ..")
    if len(raw) > longest_name:
        if len(raw) > longest:
            raise refusal(member, f"its path is longer than {longest} bytes")
        if any(len(part) > longest_name for part in parts):
            raise refusal(member, f"a name in its path is longer than {longest_name} bytes")
    return b"/".join(parts)


def refusal(member: bytes, why: str) -> LayerError:
    """The error that names a member, of whose name only the beginning is shown."""
    name = os.fsdecode(member[:200])
    return LayerError(name + ("…" if len(member) > 200 else ""), why)
