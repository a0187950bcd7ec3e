"""`--chmod`: octal or symbolic (dockerfile.md 1.6), to a function of a mode."""

from __future__ import annotations

import re
from collections.abc import Callable

_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)")
_ACTION = re.compile(r"([-+=])([ugo]|[rwxXst]*)")
_SHIFTS = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 4, "w": 2, "x": 1}

ChangeMode = Callable[[int, bool], int]
"""From a mode (07777) and whether it is a directory's to the new mode."""


class InvalidMode(ValueError):
    """A `--chmod` that is none; the message is BuildKit's."""

    def __init__(self, text: str) -> None:
        super().__init__(
            f"invalid chmod parameter: '{text}'. it should be octal string "
            "and between 0 and 07777, or symbolic like u=rwX,go=rX"
        )


def parse_chmod(text: str) -> ChangeMode:
    """Read a `--chmod` value; `InvalidMode` if it is none. There is no umask in it."""
    if re.fullmatch(r"[0-7]{1,5}", text) and int(text, 8) <= 0o7777:
        mode = int(text, 8)
        return lambda _old, _directory: mode
    clauses = [_CLAUSE.fullmatch(clause) for clause in text.split(",")]
    actions: list[tuple[str, str, str]] = []
    for clause in clauses:
        if clause is None:
            raise InvalidMode(text)
        who = clause[1] or "a"
        who = "ugo" if "a" in who else who
        actions += [(who, operator, what) for operator, what in _ACTION.findall(clause[2])]

    def change(mode: int, directory: bool) -> int:
        for who, operator, what in actions:
            mode = _apply(mode, directory, who, operator, what)
        return mode

    return change


def _apply(mode: int, directory: bool, who: str, operator: str, what: str) -> int:
    """One action of a symbolic mode, as chmod(1) does it."""
    bits = _bits(mode, directory, who, what)
    match operator:
        case "+":
            return mode | bits
        case "-":
            return mode & ~bits
        case _:
            cleared = sum(0o7 << _SHIFTS[w] for w in who)
            cleared |= (0o4000 if "u" in who else 0) | (0o2000 if "g" in who else 0)
            if directory:  # chmod(1): = keeps a directory's set-user-ID and set-group-ID bits
                cleared &= 0o777
            if "o" in who and "t" in what:
                cleared |= 0o1000
            return mode & ~cleared | bits


def _bits(mode: int, directory: bool, who: str, what: str) -> int:
    if what in _SHIFTS and what:
        copied = mode >> _SHIFTS[what] & 0o7
        return sum(copied << _SHIFTS[w] for w in who)
    bits = 0
    for letter in what:
        match letter:
            case "X":
                if directory or mode & 0o111:
                    bits |= sum(1 << _SHIFTS[w] for w in who)
            case "s":
                bits |= (0o4000 if "u" in who else 0) | (0o2000 if "g" in who else 0)
            case "t":
                bits |= 0o1000
            case _:
                bits |= sum(_BITS[letter] << _SHIFTS[w] for w in who)
    return bits
