"""The patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*`, `?` and what an escape makes literal.

A pattern is the segments between its stars; each is looked for by itself, so that the time
taken does not explode with the number of stars. `*` and `?` match newlines, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MOST_WORK = 200_000_000
"""The longest search for a segment with `?`, in characters compared."""


class InvalidGlob(ValueError):
    """A pattern cannot be; the message says why."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Literal characters, and `None` for any one character."""

    characters: tuple[str | None, ...]

    def find(self, value: str, start: int) -> int:
        """Where the first occurrence from `start` on begins, -1 if there is none."""
        if None not in self.characters:
            return value.find("".join(filter(None, self.characters)), start)
        if len(self.characters) * (len(value) - start) > _MOST_WORK:
            raise InvalidGlob("pattern and value are too long")
        pattern = "".join("." if c is None else re.escape(c) for c in self.characters)
        match = re.compile(pattern, re.DOTALL).search(value, start)
        return -1 if match is None else match.start()

    def matches_at(self, value: str, start: int) -> bool:
        """Whether the segment stands at `start`."""
        if start + len(self.characters) > len(value):
            return False
        pairs = zip(self.characters, value[start : start + len(self.characters)], strict=True)
        return all(wanted is None or wanted == got for wanted, got in pairs)

    def reversed(self) -> Segment:
        return Segment(self.characters[::-1])


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern: segments with a `*` between each two."""

    segments: tuple[Segment, ...]

    def match(self, value: str, start: int, *, anchored: bool, longest: bool) -> range | None:
        """The leftmost match from `start` on, or at `start` if `anchored`."""
        first, *middle = self.segments
        if anchored:
            begin = start if first.matches_at(value, start) else -1
        else:
            begin = first.find(value, start)
        if begin < 0:
            return None
        end = begin + len(first.characters)
        if not middle:
            return range(begin, end)
        *middle, last = middle
        for segment in middle:
            found = segment.find(value, end)
            if found < 0:
                return None
            end = found + len(segment.characters)
        found = _last(last, value, end) if longest else last.find(value, end)
        return None if found < 0 else range(begin, found + len(last.characters))

    def reversed(self) -> Glob:
        return Glob(tuple(segment.reversed() for segment in self.segments[::-1]))


def parse_glob(pattern: str, escape: str) -> Glob:
    """Read a pattern. Raises `InvalidGlob` for an escape of a character that needs none."""
    segments: list[list[str | None]] = [[]]
    characters = iter(pattern)
    for character in characters:
        if character == escape:
            escaped = next(characters, "")
            if escaped not in ("*", "?", escape, "}", "/"):
                raise InvalidGlob(f"invalid escape '{escape}{escaped}'")
            segments[-1].append(escaped)
        elif character == "*":
            segments.append([])
        else:
            segments[-1].append(None if character == "?" else character)
    return Glob(tuple(Segment(tuple(segment)) for segment in segments))


def without_prefix(value: str, glob: Glob, *, longest: bool) -> str:
    """`value` without the shortest or longest match at its start."""
    match = glob.match(value, 0, anchored=True, longest=longest)
    return value if match is None else value[match.stop :]


def without_suffix(value: str, glob: Glob, *, longest: bool) -> str:
    """`value` without the shortest or longest match at its end."""
    return without_prefix(value[::-1], glob.reversed(), longest=longest)[::-1]


def replaced(value: str, glob: Glob, replacement: str, *, every: bool) -> str:
    """`value` with its leftmost, longest match replaced, or `every` one.

    An empty match is replaced as well, unless it directly follows another match.
    """
    pieces: list[str] = []
    copied, start, previous = 0, 0, -1
    while start <= len(value):
        match = glob.match(value, start, anchored=False, longest=True)
        if match is None:
            break
        if match.stop > match.start or match.start != previous:
            pieces += [value[copied : match.start], replacement]
            copied = previous = match.stop
            if not every:
                break
        start = match.stop + (match.stop == match.start)
    return "".join(pieces) + value[copied:]


def _last(segment: Segment, value: str, start: int) -> int:
    """Where the last occurrence from `start` on begins, -1 if there is none."""
    rest = value[start:]
    found = segment.reversed().find(rest[::-1], 0)
    return -1 if found < 0 else start + len(rest) - found - len(segment.characters)
