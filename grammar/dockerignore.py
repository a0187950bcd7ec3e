"""Ignore files, and the patterns of `COPY --exclude`: what a path is excluded by.

The last pattern that matches a path, or a folder above it, decides; one that starts with `!`
takes back what others exclude. (dockerfile.md 1.7; what a pattern matches: `grammar.ignore_glob`)
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

from grammar.blanks import SPACE
from grammar.errors import InvalidPattern
from grammar.ignore_glob import IgnoreGlob, parse_ignore_glob

__all__ = ["Decision", "InvalidPattern", "Pattern", "Patterns", "make_patterns", "parse_patterns"]


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern: as written and on which line; its path, cleaned and without its `!`."""

    text: str
    path: str
    negated: bool
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a path is excluded, and which pattern decided; `None` where none matches."""

    excluded: bool
    pattern: Pattern | None = None


def parse_patterns(text: str) -> Patterns:
    """Read an ignore file. Raises `InvalidPattern` with the line."""
    lines = enumerate(text.removeprefix("\ufeff").split("\n"), 1)
    return Patterns(_read((line, number) for number, line in lines if not line.startswith("#")))


def make_patterns(texts: Iterable[str]) -> Patterns:
    """The patterns of `--exclude` flags: there, `#` starts no comment. Raises `InvalidPattern`."""
    return Patterns(_read((text, None) for text in texts))


class Patterns:
    """Patterns in order; raises `InvalidPattern` for one that cannot be.

    Paths are relative to the patterns' root, normalised, with slashes. What was found for a
    folder is remembered, so that in a walk each path is matched once.
    """

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self.patterns = tuple(patterns)
        globs = [_glob(pattern) for pattern in self.patterns]
        decisions = (Decision(not pattern.negated, pattern) for pattern in self.patterns)
        self._decisions = (Decision(False), *decisions)
        # A pattern is named by its number, counted from 1; 0 is that none matches.
        self._negated = tuple(
            (number, globs[number - 1])
            for number, pattern in enumerate(self.patterns, 1)
            if pattern.negated
        )
        numbered = tuple(enumerate(globs, 1))
        self._paths = _Matcher((n, glob) for n, glob in numbered if not glob.name_only)
        self._names = _Matcher((n, glob) for n, glob in numbered if glob.name_only)
        self._folders = {"": 0}

    def excludes(self, path: str) -> Decision:
        """Whether a path is excluded. The root, `""`, never is."""
        return self._decisions[self._last_match(path.strip("/"))]

    def may_include_below(self, path: str) -> bool:
        """Whether a `!` pattern may take something back below this folder, which is excluded.

        Where not, a walk need not enter it.
        """
        path = path.strip("/")
        last = self._last_match(path)
        return any(n > last and glob.may_match_below(path) for n, glob in self._negated)

    def _last_match(self, path: str) -> int:
        """The last pattern that matches a path or a folder above it."""
        if not path:
            return 0
        above = self._last_match_of_folder(path.rpartition("/")[0])
        return max(above, self._last_own_match(path))

    def _last_match_of_folder(self, folder: str) -> int:
        known = self._folders.get(folder)
        if known is not None:
            return known
        last, end = 0, -1
        while end < len(folder):
            end = folder.find("/", end + 1)
            end = len(folder) if end < 0 else end
            part = folder[:end]
            if part not in self._folders:
                self._folders[part] = max(last, self._last_own_match(part))
            last = self._folders[part]
        return last

    def _last_own_match(self, path: str) -> int:
        name = path.rpartition("/")[2]
        return max(self._paths.last_match(path), self._names.last_match(name))


class _Matcher:
    """Numbered patterns, all matched at once."""

    def __init__(self, numbered: Iterable[tuple[int, IgnoreGlob]]) -> None:
        self._literals: dict[str, int] = {}
        others: list[tuple[int, str]] = []
        for number, glob in numbered:
            if glob.literal is None:
                others.append((number, glob.expression))
            else:
                self._literals[glob.literal] = number
        # The first alternative to match is the last pattern to.
        others.reverse()
        self._numbers = tuple(number for number, _ in others)
        alternatives = "|".join(f"({expression})" for _, expression in others)
        self._others = re.compile(alternatives, re.DOTALL) if others else None

    def last_match(self, text: str) -> int:
        """The number of the last pattern that matches, 0 if none does."""
        literal = self._literals.get(text, 0)
        match = None if self._others is None else self._others.fullmatch(text)
        if match is None or match.lastindex is None:
            return literal
        return max(literal, self._numbers[match.lastindex - 1])


def _read(lines: Iterable[tuple[str, int | None]]) -> Iterable[Pattern]:
    for line, number in lines:
        text = line.strip(SPACE)
        if not text:
            continue
        negated = text.startswith("!")
        path = text[1:].strip(SPACE) if negated else text
        if not path:
            raise InvalidPattern(text, "illegal exclusion pattern", number)
        yield Pattern(text, _cleaned(path), negated, number)


def _cleaned(path: str) -> str:
    """`path` without what does not change where it leads, from the root."""
    cleaned = posixpath.normpath(path)
    return cleaned.lstrip("/") or "/"


def _glob(pattern: Pattern) -> IgnoreGlob:
    try:
        return parse_ignore_glob(pattern.path)
    except ValueError as error:
        raise InvalidPattern(pattern.text, str(error), pattern.line) from None
