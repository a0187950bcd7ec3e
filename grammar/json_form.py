"""The JSON form of arguments: an array of strings (dockerfile.md 1.1, "JSON rule")."""

from __future__ import annotations

import json
import re

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class NotOnlyStrings(ValueError):
    """The text is a JSON array, but not all of it is strings."""

    def __init__(self) -> None:
        super().__init__("when using JSON array syntax, arrays must be comprised of strings only")


def parse_array(text: str) -> tuple[str, ...] | None:
    """The strings of a JSON array; `None` if the text is anything else.

    `NotOnlyStrings` if it is an array that holds something else than strings.
    """
    if not text.startswith("["):
        return None
    try:
        # Numbers are not looked at: their length must not matter.
        value = json.loads(text, parse_constant=_refuse, parse_int=bool, parse_float=bool)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(item, str) for item in value):
        raise NotOnlyStrings
    return tuple(_LONE_SURROGATE.sub("\ufffd", item) for item in value)


def is_array(text: str) -> bool:
    """Whether a text is a JSON array, of strings or not."""
    try:
        return parse_array(text) is not None
    except NotOnlyStrings:
        return True


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
