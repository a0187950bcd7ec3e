"""Wildcards of COPY and ADD sources: Go's `filepath.Match`, component by component.

`*` and `?` do not cross a slash, `[…]` is a class (`^` negates), `\\` takes the next character
as it is. Dot files match like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

from runtime.image.layer.entry import Entry, Kind

_MAGIC = re.compile(rb"[*?\[\\]")


class Tree(Protocol):
    """What matching needs of a file tree; paths are relative, `b""` is the root."""

    def lstat(self, path: bytes) -> Entry | None: ...

    def listdir(self, path: bytes) -> list[bytes]: ...


class InvalidPattern(ValueError):
    """A pattern that cannot be read, such as an unclosed class."""

    def __init__(self, pattern: bytes) -> None:
        super().__init__(f"invalid pattern {pattern.decode('utf-8', 'replace')!r}: syntax error")


def is_pattern(path: bytes) -> bool:
    """Whether a path holds a wildcard."""
    return _MAGIC.search(path) is not None


def compile_component(pattern: bytes) -> re.Pattern[bytes]:
    """A regular expression for one component of a pattern; `InvalidPattern`."""
    out, at = b"", 0
    while at < len(pattern):
        character = pattern[at : at + 1]
        at += 1
        if character == b"*":
            out += b"[^/]*"
        elif character == b"?":
            out += b"[^/]"
        elif character == b"\\":
            if at == len(pattern):
                raise InvalidPattern(pattern)
            out += re.escape(pattern[at : at + 1])
            at += 1
        elif character == b"[":
            piece, at = _class(pattern, at)
            out += piece
        else:
            out += re.escape(character)
    return re.compile(out, re.DOTALL)


def _class(pattern: bytes, at: int) -> tuple[bytes, int]:
    """A `[…]` from behind its bracket: the expression, and where the pattern goes on."""
    out = b"["
    if pattern[at : at + 1] == b"^":
        out, at = b"[^", at + 1
    first = True
    while first or pattern[at : at + 1] != b"]":
        low, at = _class_character(pattern, at)
        high = low
        if pattern[at : at + 1] == b"-":
            high, at = _class_character(pattern, at + 1)
        if low > high:
            raise InvalidPattern(pattern)
        out += re.escape(low) + b"-" + re.escape(high)
        first = False
    return out + b"]", at + 1


def _class_character(pattern: bytes, at: int) -> tuple[bytes, int]:
    if pattern[at : at + 1] == b"\\":
        at += 1
    elif pattern[at : at + 1] in (b"-", b"]"):
        raise InvalidPattern(pattern)
    if at >= len(pattern):
        raise InvalidPattern(pattern)
    return pattern[at : at + 1], at + 1


def matches(tree: Tree, prefix: bytes, components: list[bytes]) -> Iterator[bytes]:
    """Paths below the directory `prefix` that match, in order; links are not followed."""
    if not components:
        yield prefix
        return
    head, rest = components[0], components[1:]
    expression = compile_component(head)
    for name in tree.listdir(prefix):
        if not expression.fullmatch(name):
            continue
        path = prefix + b"/" + name if prefix else name
        if not rest:
            yield path
        elif (entry := tree.lstat(path)) is not None and entry.kind is Kind.DIRECTORY:
            yield from matches(tree, path, rest)
