"""What one pattern of an ignore file matches, as a regular expression.

`*` and `?` stop at a slash, `[…]` is one character of a class, a backslash escapes, `**/` is
any number of folders, none included. As in the reference matcher, `**` need not be a whole
component: at the end it matches everything that follows, in `**name` anything before, and else
nothing or anything that ends in a slash.

The expressions never take exponential time: once a part between two stars is found, no other
place is tried for it, as none could do better.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

_SPECIAL = re.compile(r"[*?\[\\]")


class _Wild(Enum):
    STAR = "[^/]*"
    ANY_FOLDERS = "(?:.*/)?"
    ANYTHING = ".*"


Item = str | _Wild
"""A wildcard, or a regular expression for exactly one character."""


@dataclass(frozen=True, slots=True)
class IgnoreGlob:
    """A pattern, read.

    `expression` is to be matched against whole paths, with `name_only` (`**/NAME`) against
    their last component. `literal` is the only text it matches, `None` where there are others.
    """

    expression: str
    literal: str | None
    name_only: bool
    leading: tuple[re.Pattern[str], ...]
    """The components before the first with `**` in it."""
    has_globstar: bool

    def may_match_below(self, folder: str) -> bool:
        """Whether the pattern may match a path that lies deeper than `folder`."""
        names = folder.split("/") if folder else []
        if not self.has_globstar and len(self.leading) <= len(names):
            return False
        pairs = zip(self.leading, names, strict=False)
        return all(component.fullmatch(name) for component, name in pairs)


def parse_ignore_glob(pattern: str) -> IgnoreGlob:
    """Read a cleaned pattern. Raises `ValueError` for an open class or a lone backslash."""
    name = pattern.removeprefix("**/")
    if name != pattern and "/" not in name and "**" not in name:
        expression = _component(list(_items(name)))
        literal = None if _SPECIAL.search(name) else name
        return IgnoreGlob(expression, literal, True, (), True)
    if not _SPECIAL.search(pattern):
        components = tuple(re.compile(re.escape(part)) for part in pattern.split("/"))
        return IgnoreGlob(re.escape(pattern), pattern, False, components, False)
    items = list(_items(pattern))
    leading: list[list[Item]] = [[]]
    globstar = False
    for item in items:
        if item in (_Wild.ANY_FOLDERS, _Wild.ANYTHING):
            leading.pop()
            globstar = True
            break
        if item == "/":
            leading.append([])
        else:
            leading[-1].append(item)
    components = tuple(re.compile(_component(part), re.DOTALL) for part in leading)
    return IgnoreGlob(_whole_expression(pattern, items), None, False, components, globstar)


def _items(pattern: str) -> Iterator[Item]:
    """The characters and wildcards of a pattern."""
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*":
            if not pattern.startswith("*", position):
                yield _Wild.STAR
                continue
            position += 1
            if pattern.startswith("/", position):
                position += 1
            yield _Wild.ANY_FOLDERS if position < len(pattern) else _Wild.ANYTHING
        elif character == "?":
            yield "[^/]"
        elif character == "[":
            expression, position = _class(pattern, position)
            yield expression
        elif character == "\\":
            if position == len(pattern):
                raise ValueError("syntax error in pattern")
            yield re.escape(pattern[position])
            position += 1
        else:
            yield re.escape(character)


def _class(pattern: str, position: int) -> tuple[str, int]:
    """The expression of a class whose `[` is before `position`, and where it ends."""
    negated = pattern.startswith("^", position)
    position += negated
    members: list[str] = []
    while not (members and pattern.startswith("]", position)):
        first, position = _class_member(pattern, position)
        last = first
        if pattern.startswith("-", position):
            last, position = _class_member(pattern, position + 1)
        members.append(f"{re.escape(first)}-{re.escape(last)}" if first <= last else "")
    inside = "".join(members)
    if not inside:  # nothing but ranges that end before they start
        return ("[^/]" if negated else "(?!)"), position + 1
    return f"(?!/)[{'^' if negated else ''}{inside}]", position + 1


def _class_member(pattern: str, position: int) -> tuple[str, int]:
    escaped = pattern.startswith("\\", position)
    position += escaped
    if position >= len(pattern) or (not escaped and pattern[position] in "-]"):
        raise ValueError("syntax error in pattern")
    return pattern[position], position + 1


def _whole_expression(pattern: str, items: list[Item]) -> str:
    """The expression of a pattern: what stands between each two `**`, and those."""
    if items[0] is _Wild.ANY_FOLDERS and not pattern.startswith("**/"):
        rest = items[1:]
        if not any(isinstance(item, _Wild) or item.startswith(("[", "(")) for item in rest):
            return ".*" + "".join(str(item) for item in rest)
    parts: list[tuple[str, list[Item]]] = [("", [])]
    for item in items:
        if item is _Wild.ANY_FOLDERS or item is _Wild.ANYTHING:
            if parts[-1][1] or parts[-1][0] != item.value:
                parts.append((item.value, []))
        else:
            parts[-1][1].append(item)
    expression = ""
    for number, (before, part) in enumerate(parts):
        text = _components(part)
        between = 0 < number < len(parts) - 1
        if between and part and part[-1] == "/":
            expression += f"(?>(?:[^/]*/)*?{text})"
        else:
            expression += before + text
    return expression


def _components(items: list[Item]) -> str:
    """The expression of items without `**`."""
    expression, component = "", list[Item]()
    for item in items:
        if item == "/":
            expression += _component(component) + "/"
            component = []
        else:
            component.append(item)
    return expression + _component(component)


def _component(items: list[Item]) -> str:
    """The expression of what stands between two slashes."""
    between: list[str] = [""]
    for item in items:
        if item is _Wild.STAR:
            between.append("")
        else:
            between[-1] += item if isinstance(item, str) else item.value
    first, *others = between
    if not others:
        return first
    *middle, last = others
    return first + "".join(f"(?>[^/]*?{text})" for text in middle) + "[^/]*" + last
