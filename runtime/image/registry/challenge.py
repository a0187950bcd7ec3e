"""What a server asks for with status 401: WWW-Authenticate (RFC 9110, 11.6.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
_SCHEME: Final = re.compile(rf"[\s,]*({_TOKEN})(?=[\s,]|$)\s*")
_PARAMETER: Final = re.compile(rf"[\s,]*({_TOKEN})\s*=\s*({_QUOTED}|{_TOKEN})[ \t]*(?=,|$)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """A way to prove oneself: its scheme (in lower case), its parameters (names in lower case)."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """The challenges in headers; of each, what can be understood. One header may hold several."""
    found = []
    for text in headers:
        position = 0
        while scheme := _SCHEME.match(text, position):
            position = scheme.end()
            parameters: dict[str, str] = {}
            while parameter := _PARAMETER.match(text, position):
                parameters[parameter[1].lower()] = _unquoted(parameter[2])
                position = parameter.end()
            found.append(Challenge(scheme[1].lower(), parameters))
            # Whatever cannot be understood ends where the next comma is.
            if not _SCHEME.match(text, position):
                comma = text.find(",", position)
                if comma < 0:
                    break
                position = comma + 1
    return tuple(found)


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
