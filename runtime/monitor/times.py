"""Times as nanoseconds since 1970, and as text."""

from __future__ import annotations

import time

_NANO = 1_000_000_000


def rfc3339_nano(nanoseconds: int) -> str:
    """`2026-01-02T03:04:05.000000006Z`: always thirty characters, so texts sort as times do."""
    seconds, fraction = divmod(nanoseconds, _NANO)
    year, month, day, hour, minute, second, *_ = time.gmtime(seconds)
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:09}Z"
