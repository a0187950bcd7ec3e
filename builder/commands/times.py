"""Times as `--since` and `--until` take them."""

from __future__ import annotations

import time
from datetime import datetime

from builder.errors import OptionError
from runtime.monitor.times import rfc3339_nano

_BILLION = 1_000_000_000


def moment(text: str, option: str) -> str:
    """A time as logs and events have it, in UTC with nanoseconds.

    An RFC 3339 time (local without a zone), a date, seconds since 1970 with or without a
    fraction, or a duration before now: `10m`, `1h30m`. `OptionError`.
    """
    nanoseconds = _of_seconds(text)
    if nanoseconds is None:
        nanoseconds = _of_duration(text)
    if nanoseconds is None:
        nanoseconds = _of_date(text)
    if nanoseconds is None:
        raise OptionError(
            f"invalid {option} {text!r}", hint="2026-01-02T03:04:05Z, 10m, or seconds since 1970"
        )
    return rfc3339_nano(nanoseconds)


def _of_seconds(text: str) -> int | None:
    whole, dot, fraction = text.partition(".")
    if not (whole.isascii() and whole.isdigit()) or (dot and not fraction.isdigit()):
        return None
    return int(whole) * _BILLION + int(fraction[:9].ljust(9, "0"))


def _of_duration(text: str) -> int | None:
    from grammar.durations import InvalidDuration, parse_duration

    try:
        return time.time_ns() - parse_duration(text)
    except InvalidDuration:
        return None


def _of_date(text: str) -> int | None:
    head, _, rest = text.partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    fraction, zone = rest[:digits], rest[digits:]
    try:
        found = datetime.fromisoformat(head + zone)
    except ValueError:
        return None
    if found.tzinfo is None:
        found = found.astimezone()
    return int(found.timestamp()) * _BILLION + int(fraction[:9].ljust(9, "0"))
