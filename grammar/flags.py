"""The flags between an instruction's name and its arguments.

Which flags an instruction has is declared here, once; `read_flags` holds what was written
against it. (dockerfile.md 1.1, 1.5 and 1.6)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache

from grammar.errors import FlagError, shown
from grammar.nodes import Span
from grammar.suggest import did_you_mean


class FlagKind(Enum):
    """What may be given to a flag."""

    BOOLEAN = "true or false, or nothing for true"
    VALUE = "one value"
    VALUES = "any number of values, each in a flag of its own"


_BOOLEAN, _VALUE, _VALUES = FlagKind.BOOLEAN, FlagKind.VALUE, FlagKind.VALUES
_COPYING = {"chown": _VALUE, "chmod": _VALUE, "link": _BOOLEAN, "exclude": _VALUES}

FLAGS: Mapping[str, Mapping[str, FlagKind]] = {
    "FROM": {"platform": _VALUE},
    "RUN": {"mount": _VALUES, "network": _VALUE, "security": _VALUE, "device": _VALUES},
    "COPY": {**_COPYING, "from": _VALUE, "parents": _BOOLEAN},
    "ADD": {**_COPYING, "checksum": _VALUE, "keep-git-dir": _BOOLEAN, "unpack": _BOOLEAN},
    "HEALTHCHECK": {
        "interval": _VALUE,
        "timeout": _VALUE,
        "start-period": _VALUE,
        "start-interval": _VALUE,
        "retries": _VALUE,
    },
}
"""The flags of each instruction that has any."""


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags of one instruction, by name. What was not given is not in them."""

    values: Mapping[str, tuple[str, ...]]

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a flag, in order."""
        return self.values.get(name, ())

    def one(self, name: str) -> str | None:
        """The value of a flag, `None` if it was not given."""
        values = self.all(name)
        return values[0] if values else None

    def true(self, name: str) -> bool | None:
        """Whether a boolean flag is true, `None` if it was not given."""
        value = self.one(name)
        return None if value is None else value == "true"


def split_flags(text: str, escape: str) -> tuple[tuple[str, ...], str]:
    """The flags `text` starts with, quotes and escapes removed, and what follows them.

    A bare `--` ends the flags and is dropped.
    """
    flags: list[str] = []
    word_pattern, part_pattern = _patterns(escape)
    position = 0
    while text.startswith("--", position):
        word = word_pattern.match(text, position)
        assert word is not None  # `--` alone is a word
        position = word.end()
        if word[1] == "--":
            break
        flags.append("".join(_plain(part, escape) for part in part_pattern.findall(word[1])))
    return tuple(flags), text[position:]


def read_flags(instruction: str, written: tuple[str, ...], span: Span) -> Flags:
    """Hold the written flags against those the instruction has. Raises `FlagError`."""
    known = FLAGS.get(instruction, {})
    values: dict[str, tuple[str, ...]] = {}
    for flag in written:
        name, equals, value = flag.removeprefix("--").partition("=")
        kind = known.get(name)
        if kind is None:
            guess = did_you_mean(name, known)
            hint = f"{instruction} has no flags" if not known else None
            raise FlagError(f"unknown flag: --{shown(name)}{guess}", span, hint)
        if name in values and kind is not FlagKind.VALUES:
            raise FlagError(f"duplicate flag specified: --{name}", span)
        if kind is FlagKind.BOOLEAN:
            value = value.lower() if equals else "true"
        if (kind is not FlagKind.BOOLEAN and not equals) or (
            kind is FlagKind.BOOLEAN and not value
        ):
            hint = f"write --{name}=VALUE; a blank does not separate a flag from its value"
            raise FlagError(f"missing a value on flag: --{name}", span, hint)
        if kind is FlagKind.BOOLEAN and value not in ("true", "false"):
            given = flag.partition("=")[2]
            raise FlagError(f"expecting boolean value for flag --{name}, not: {shown(given)}", span)
        values[name] = (*values.get(name, ()), value)
    return Flags(values)


@cache
def _patterns(escape: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A word with the blanks after it, and one part of a word."""
    e = re.escape(escape)
    part = rf"""[^ \t\v\f\r"'{e}]+|{e}.|{e}$|"(?:[^"{e}]|{e}.)*"|'[^']*'|["'].*"""
    return (
        re.compile(rf"((?:{part})+)[ \t\v\f\r]*", re.DOTALL),
        re.compile(part, re.DOTALL),
    )


def _plain(part: str, escape: str) -> str:
    if part[0] in "\"'":
        closed = len(part) > 1 and part[-1] == part[0]
        inner = part[1:-1] if closed else part[1:]
        if part[0] == "'":
            return inner
        return re.sub(re.escape(escape) + "(.)", r"\1", inner, flags=re.DOTALL)
    return part[1:] if part[0] == escape else part
