"""Signals by name and number, as `kill -s`, `--stop-signal` and STOPSIGNAL have them."""

from __future__ import annotations

import signal

from runtime.errors import InvalidContainer


def parse_signal(text: str) -> int:
    """`TERM`, `SIGTERM`, `15`, `RTMIN+3`; `InvalidContainer` if there is none of that name."""
    number = None
    if text.isascii() and text.isdigit():
        number = int(text)
    else:
        name = text.upper().removeprefix("SIG")
        for start, sign, limit in (("RTMIN", "+", 15), ("RTMAX", "-", 14)):
            base, found, offset = name.partition(sign)
            if base == start and (not found or (offset.isdigit() and int(offset) <= limit)):
                distance = int(offset or 0)
                number = signal.SIGRTMIN + distance
                if start == "RTMAX":
                    number = signal.SIGRTMAX - distance
        if number is None:
            member = signal.Signals.__members__.get(f"SIG{name}")
            number = member.value if member is not None else None
    if number is None or not 1 <= number <= signal.SIGRTMAX:
        raise InvalidContainer(f"invalid signal: {text}")
    return number


def signal_name(number: int) -> str:
    """`SIGTERM`; the number if it has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
