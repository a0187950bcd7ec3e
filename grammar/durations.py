"""Durations as HEALTHCHECK's flags have them: Go's `1h15m30.5s`."""

from __future__ import annotations

import re
from fractions import Fraction

from grammar.errors import quoted

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "\N{MICRO SIGN}s": 1_000,
    "\N{GREEK SMALL LETTER MU}s": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?P<unit>[^0-9.]*)")
_MOST = (1 << 63) - 1
_LONGEST = 200


class InvalidDuration(ValueError):
    """A text is no duration; the message says why."""


def parse_duration(text: str) -> int:
    """The nanoseconds of a duration, rounded towards zero. Raises `InvalidDuration`."""
    unsigned = text[1:] if text[:1] in ("-", "+") else text
    if unsigned == "0":
        return 0
    total, position = Fraction(0), 0
    while position < len(unsigned) <= _LONGEST:
        part = _PART.match(unsigned, position)
        if part is None:
            break
        unit = part["unit"]
        if not unit:
            raise InvalidDuration(f"time: missing unit in duration {quoted(text)}")
        if unit not in _UNITS:
            message = f"time: unknown unit {quoted(unit)} in duration {quoted(text)}"
            raise InvalidDuration(message)
        total += Fraction(part["number"].rstrip(".")) * _UNITS[unit]
        position = part.end()
    nanoseconds = int(total)
    if not unsigned or position < len(unsigned) or nanoseconds > _MOST:
        raise InvalidDuration(f"time: invalid duration {quoted(text)}")
    return -nanoseconds if text[0] == "-" else nanoseconds
