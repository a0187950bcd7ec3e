"""Quotes, escapes and variables: what a word of a Dockerfile expands to.

Pure functions of a word and its variables. Single quotes keep everything, double quotes all but
`$` and the escape of `"`, `$` and itself; outside of them an escape makes the next character
literal. Quotes and escapes are gone from the result. (dockerfile.md 1.3)

Where BuildKit takes `$1` in the replacement of `${v//p/r}` for a group of its regular
expression, it is literal here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from grammar.blanks import SPACE
from grammar.errors import WordError, shown
from grammar.globs import Glob, InvalidGlob, parse_glob, replaced, without_prefix, without_suffix

__all__ = ["Expanded", "ExpandedWords", "WordError", "expand", "expand_heredoc", "expand_words"]


@dataclass(frozen=True, slots=True)
class Expanded:
    """What a word expands to; of the variables it names, those that are `used` and `unset`."""

    text: str
    used: frozenset[str]
    unset: frozenset[str]


@dataclass(frozen=True, slots=True)
class ExpandedWords:
    """The words a text expands to; empty ones are not among them."""

    words: tuple[str, ...]
    used: frozenset[str]
    unset: frozenset[str]


def expand(word: str, variables: Mapping[str, str], *, escape: str = "\\") -> Expanded:
    """Expand one word, blanks in it included. Raises `WordError`."""
    expander = _Expander(word, variables, escape)
    text = "".join(piece for piece, _ in expander.run())
    return Expanded(text, frozenset(expander.used), frozenset(expander.unset))


def expand_words(word: str, variables: Mapping[str, str], *, escape: str = "\\") -> ExpandedWords:
    """Expand a text and split it at white space that is not quoted. Raises `WordError`."""
    expander = _Expander(word, variables, escape)
    words = tuple(_split(expander.run()))
    return ExpandedWords(words, frozenset(expander.used), frozenset(expander.unset))


def expand_heredoc(text: str, variables: Mapping[str, str], escape: str = "\\") -> Expanded:
    """Expand a heredoc's content: quotes are text, an escape makes the next character literal.

    Raises `WordError`.
    """
    expander = _Expander(text, variables, escape, quotes=False)
    expanded = "".join(piece for piece, _ in expander.run())
    return Expanded(expanded, frozenset(expander.used), frozenset(expander.unset))


_DEEPEST = 100
_SPECIAL_NAMES = "@*#?-$!0"
_SPACES = re.compile(f"[{SPACE}]+")
_MISSING_BRACE = "syntax error: missing '}'"


class _Problem(Exception):
    """What is wrong with a word."""


class _Expander:
    """One pass over a word. `used` and `unset` fill up on the way."""

    def __init__(
        self, word: str, variables: Mapping[str, str], escape: str, *, quotes: bool = True
    ) -> None:
        self.used: set[str] = set()
        self.unset: set[str] = set()
        self._word = word
        self._variables = variables
        self._escape = escape
        self._quotes = quotes
        self._plain, self._plain_in_quotes = _plain_runs(escape, quotes)
        self._position = 0
        self._depth = 0

    def run(self) -> list[tuple[str, bool]]:
        """The pieces of the expanded word, each with whether white space in it splits words."""
        try:
            return self._until("", raw=False)
        except (_Problem, InvalidGlob) as problem:
            raise WordError(self._word, str(problem)) from None

    def _until(self, stop: str, *, raw: bool) -> list[tuple[str, bool]]:
        """Read up to and with the character `stop`, or to the end. `raw` keeps escapes."""
        pieces: list[tuple[str, bool]] = []
        while (character := self._peek()) and character != stop:
            if character == "$":
                pieces.append((self._dollar(), True))
            elif character == "'" and self._quotes:
                pieces.append((self._single_quoted(), False))
            elif character == '"' and self._quotes:
                pieces.append((self._double_quoted(raw=raw), False))
            elif character == self._escape:
                self._position += 1
                escaped = self._next()
                kept = character if raw else ""
                pieces.append((kept + escaped, False))
            elif run := self._run(self._plain, stop):
                pieces.append((run, True))
        if stop and not self._next():
            raise _Problem(f"unexpected end of statement while looking for matching {stop}")
        return pieces

    def _text_until(self, stop: str, *, raw: bool) -> str:
        return "".join(piece for piece, _ in self._until(stop, raw=raw))

    def _single_quoted(self) -> str:
        end = self._word.find("'", self._position + 1)
        if end < 0:
            self._position = len(self._word)
            raise _Problem("unexpected end of statement while looking for matching single-quote")
        text = self._word[self._position + 1 : end]
        self._position = end + 1
        return text

    def _double_quoted(self, *, raw: bool) -> str:
        self._position += 1
        pieces: list[str] = []
        while (character := self._peek()) != '"':
            if not character:
                raise _Problem(
                    "unexpected end of statement while looking for matching double-quote"
                )
            if character == "$":
                pieces.append(self._dollar())
            elif character == self._escape:
                self._position += 1
                escapable = self._peek() in ('"', "$", self._escape)
                pieces.append(character if raw or not escapable else "")
                pieces.append(self._next() if escapable else "")
            else:
                pieces.append(self._run(self._plain_in_quotes, ""))
        self._position += 1
        return "".join(pieces)

    def _dollar(self) -> str:
        """The value of what starts with the `$` that is next."""
        self._position += 1
        if self._peek() != "{":
            name = self._name()
            return (self._value(name) or "") if name else "$"
        self._position += 1
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _Problem(f"substitutions are nested deeper than {_DEEPEST} levels")
        value = self._substitution()
        self._depth -= 1
        return value

    def _substitution(self) -> str:
        """What is inside `${…}`, the closing brace included."""
        if not self._peek():
            raise _Problem(_MISSING_BRACE)
        name = self._name()
        if not name:
            raise _Problem("syntax error: bad substitution")
        modifier = self._next()
        if modifier == "}":
            return self._value(name) or ""
        if modifier == "/":
            return self._replacement(name)
        colon = modifier == ":"
        if colon:
            modifier = self._next()
        if not modifier:
            raise _Problem(_MISSING_BRACE)
        if modifier not in "+-?#%":
            written = ":" + modifier if colon else modifier
            raise _Problem(f"unsupported modifier ({shown(written)}) in substitution")
        word = self._operand("}", raw=modifier in "#%", missing=_MISSING_BRACE)
        value = self._value(name)
        if modifier in "#%":
            return self._trimmed(value or "", modifier, word)
        given = value if value or not colon else None
        if modifier == "-":
            return word if given is None else given
        if modifier == "+":
            return "" if given is None else word
        if given is None:
            state = "unset" if value is None else "empty"
            raise _Problem(f"{name}: {word or f'is not allowed to be {state}'}")
        return given

    def _trimmed(self, value: str, modifier: str, pattern: str) -> str:
        longest = pattern.startswith(modifier)
        glob = self._glob(pattern[1:] if longest else pattern)
        trim = without_prefix if modifier == "#" else without_suffix
        return trim(value, glob, longest=longest)

    def _replacement(self, name: str) -> str:
        every = self._peek() == "/"
        if every:
            self._position += 1
        pattern = self._operand("/", raw=True, missing="syntax error: missing '/' in ${}")
        replacement = self._operand("}", raw=True, missing=_MISSING_BRACE)
        value = self._value(name) or ""
        return replaced(value, self._glob(pattern), replacement, every=every)

    def _glob(self, pattern: str) -> Glob:
        try:
            return parse_glob(pattern, self._escape)
        except InvalidGlob as error:
            raise _Problem(f"invalid pattern ({shown(pattern)}) in substitution: {error}") from None

    def _operand(self, stop: str, *, raw: bool, missing: str) -> str:
        """What stands up to `stop`; `missing` is the complaint if the word ends before it."""
        try:
            return self._text_until(stop, raw=raw)
        except _Problem:
            if self._peek():
                raise
            raise _Problem(missing) from None

    def _name(self) -> str:
        """A variable's name: letters, digits and `_`, or digits, or one special character."""
        word, start = self._word, self._position
        end = start
        if self._peek().isdecimal():
            while end < len(word) and word[end].isdecimal():
                end += 1
        elif end < len(word) and word[end] in _SPECIAL_NAMES:
            end += 1
        else:
            while end < len(word) and (
                word[end].isalpha() or word[end].isdecimal() or word[end] == "_"
            ):
                end += 1
        self._position = end
        return word[start:end]

    def _value(self, name: str) -> str | None:
        value = self._variables.get(name)
        (self.unset if value is None else self.used).add(name)
        return value

    def _run(self, pattern: re.Pattern[str], stop: str) -> str:
        """The characters up to the next one that means something, or to `stop`."""
        match = pattern.match(self._word, self._position)
        end = len(self._word) if match is None else match.end()
        if stop:
            found = self._word.find(stop, self._position, end)
            end = end if found < 0 else found
        text = self._word[self._position : end]
        self._position = end
        return text

    def _peek(self) -> str:
        return self._word[self._position : self._position + 1]

    def _next(self) -> str:
        character = self._peek()
        self._position += len(character)
        return character


@cache
def _plain_runs(escape: str, quotes: bool) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What means nothing outside quotes, and inside double quotes."""
    escaped = re.escape(escape)
    outside = f"[^$'\"{escaped}]+" if quotes else f"[^${escaped}]+"
    return re.compile(outside), re.compile(f'[^$"{escaped}]+')


def _split(pieces: Iterable[tuple[str, bool]]) -> Iterable[str]:
    word = ""
    for text, splits in pieces:
        if not splits:
            word += text
            continue
        first, *others = _SPACES.split(text)
        word += first
        for other in others:
            if word:
                yield word
            word = other
    if word:
        yield word
