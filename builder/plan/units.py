"""Sizes and switches as people write them."""

from __future__ import annotations

import re

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)i?b?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_SWITCHES = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}


def parse_size(text: str) -> int:
    """Bytes from `64m`, `1.5GiB`, `1024`; units are binary, as Docker's. `ValueError` if none."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"invalid size: {text!r}")
    return int(float(match[1]) * 1024 ** _POWERS[match[2].lower()])


def parse_switch(text: str) -> bool:
    """A boolean as Go's `strconv.ParseBool` reads it. `ValueError` if none."""
    try:
        return _SWITCHES[text]
    except KeyError:
        raise ValueError(f"invalid boolean: {text!r}") from None
