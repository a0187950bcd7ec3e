"""Signals by name, as STOPSIGNAL and `kill -s` take them."""

from __future__ import annotations

import re
import signal

_REALTIME = re.compile(r"RTM(IN(\+([1-9]|1[0-5]))?|AX(-([1-9]|1[0-4]))?)")


def valid_signal(text: str) -> bool:
    """Whether it is a signal's number, or a name with or without SIG."""
    if text.isascii() and text.isdigit():
        return 1 <= int(text) <= signal.SIGRTMAX
    name = text.upper().removeprefix("SIG")
    return bool(_REALTIME.fullmatch(name)) or f"SIG{name}" in signal.Signals.__members__
