"""Finding the `<<NAME` words of a line, and what a heredoc's delimiter means.

As in a shell, but that the escape is always a backslash, whatever the directive says, and that
nothing but blanks and quotes delimits words: `(cat <<EOF)` waits for a line `EOF)`.
(dockerfile.md 1.2)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from grammar.blanks import BLANKS
from grammar.nodes import Heredoc

_PART = re.compile(r"""[^ \t\v\f\r"'\\]+|\\.|\\$|"(?:[^"\\]|\\.)*"|'[^']*'""", re.DOTALL)
_ANNOUNCED = re.compile(r"([0-9]*)<<(-?)(.*)", re.DOTALL)
_IN_DOUBLE_QUOTES = re.compile(r"""\\(["$\\])""")
_LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)
_MOST_FD_DIGITS = 9


@dataclass(frozen=True, slots=True)
class HeredocWord:
    """A `<<NAME` on a line, from `start` to `end`."""

    start: int
    end: int
    name: str
    expand: bool
    chomp: bool
    fd: int


def find_heredocs(line: str, start: int) -> tuple[HeredocWord, ...]:
    """The heredocs a line announces after `start`; none where its quotes do not balance."""
    words = _words(line, start)
    if words is None:
        return ()
    found = []
    spans = iter(words)
    for begin, end in spans:
        match = _ANNOUNCED.match(line, begin, end)
        if match is None or _in_arithmetic(line, begin):
            continue
        raw = match[3]
        if not raw:  # `<< NAME`
            begin_name, end = next(spans, (end, end))
            raw = line[begin_name:end]
        delimiter = _delimiter(raw)
        if delimiter is not None:
            name, quoted = delimiter
            fd = int(match[1]) if 0 < len(match[1]) <= _MOST_FD_DIGITS else 0
            found.append(HeredocWord(begin, end, name, not quoted, match[2] == "-", fd))
    return tuple(found)


def heredoc_text(heredoc: Heredoc) -> str:
    """A heredoc's content, with `<<-` without the tabs its lines start with."""
    return _LEADING_TABS.sub("", heredoc.content) if heredoc.chomp else heredoc.content


def _words(line: str, position: int) -> list[tuple[int, int]] | None:
    """Where the words are, quotes and escapes respected; `None` if a quote is not closed."""
    words: list[tuple[int, int]] = []
    begin = -1
    while position < len(line):
        if line[position] in BLANKS:
            if begin >= 0:
                words.append((begin, position))
                begin = -1
            position += 1
            continue
        part = _PART.match(line, position)
        if part is None:
            return None
        if begin < 0:
            begin = position
        position = part.end()
    if begin >= 0:
        words.append((begin, position))
    return words


def _in_arithmetic(line: str, position: int) -> bool:
    """Whether `((` is open: there `1 << 4` is a shift."""
    return line.count("((", 0, position) > line.count("))", 0, position)


def _delimiter(raw: str) -> tuple[str, bool] | None:
    """The line a delimiter stands for, and whether any of it was quoted."""
    if "<" in raw:
        return None
    name, quoted = "", False
    for part in _parts(raw):
        if part[0] == "'":
            name, quoted = name + part[1:-1], True
        elif part[0] == '"':
            name, quoted = name + _IN_DOUBLE_QUOTES.sub(r"\1", part[1:-1]), True
        else:
            name += part[1:] if part[0] == "\\" else part
    return (name, quoted) if name else None


def _parts(raw: str) -> Iterator[str]:
    return (match[0] for match in _PART.finditer(raw))
