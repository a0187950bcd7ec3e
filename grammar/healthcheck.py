"""The values of HEALTHCHECK's flags."""

from __future__ import annotations

import re

from grammar.durations import InvalidDuration, parse_duration
from grammar.errors import DockerfileError, quoted
from grammar.flags import Flags
from grammar.nodes import Span

_SHORTEST_INTERVAL = 1_000_000
_MOST_RETRIES = (1 << 31) - 1
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")


def read_interval(flags: Flags, name: str, place: Span) -> int | None:
    """The nanoseconds of a flag: zero, or a millisecond and more; nothing is `None`.

    Raises `DockerfileError`.
    """
    text = flags.one(name)
    if not text:
        return None
    try:
        nanoseconds = parse_duration(text)
    except InvalidDuration as error:
        hint = f"write --{name} as a number and a unit, like 30s or 1m30s"
        raise DockerfileError(str(error), place, hint) from error
    if nanoseconds and nanoseconds < _SHORTEST_INTERVAL:
        raise DockerfileError(f"Interval {quoted(name)} cannot be less than 1ms", place)
    return nanoseconds


def read_retries(flags: Flags, place: Span) -> int | None:
    """The number of `--retries`; nothing is `None`. Raises `DockerfileError`."""
    text = flags.one("retries")
    if not text:
        return None
    number = int(text) if _INTEGER.fullmatch(text) else None
    if number is None or abs(number) > _MOST_RETRIES:
        reason = "invalid syntax" if number is None else "value out of range"
        raise DockerfileError(f"--retries: parsing {quoted(text)}: {reason}", place)
    if number < 0:
        raise DockerfileError(f"--retries cannot be negative ({number})", place)
    return number
