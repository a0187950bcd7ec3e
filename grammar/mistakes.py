"""Saying what is wrong where the grammar only knows that something is.

lark tells where it stopped and which tokens it would have taken; here that becomes the
sentence BuildKit's users know. (dockerfile.md 1.9)
"""

from __future__ import annotations

import re
from collections.abc import Set

from grammar.blanks import BLANKS
from grammar.errors import DockerfileError, UnknownInstruction, quoted
from grammar.nodes import Span
from grammar.scan import Scanned

INSTRUCTIONS = (
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
)
"""Every instruction there is."""

_NO_TRIGGERS = ("FROM", "MAINTAINER", "ONBUILD")
_ONE_ARGUMENT = ("MAINTAINER", "STOPSIGNAL", "USER", "WORKDIR")
_TWO_ARGUMENTS = ("ADD", "COPY")


def mistake(scanned: Scanned, name: str, position: int, expected: Set[str]) -> DockerfileError:
    """The error of a text whose parser stopped at `position`, expecting one of some tokens."""
    statement = scanned.statement(position)
    line, column = scanned.locate(position)
    place = Span(name, line, line, column)
    inside = position - statement.offset
    word, rest = _first_word(statement.source)
    keyword = word.upper()
    if keyword not in INSTRUCTIONS:
        return UnknownInstruction(word, INSTRUCTIONS, statement.span)
    if "FROM" in expected and "RUN" not in expected:
        if keyword == "ARG":
            return DockerfileError("dockerfile contains no stages to build", statement.span)
        hint = "a build stage starts with FROM; before the first, only ARG can stand"
        return DockerfileError("no build stage in current context", statement.span, hint)
    if keyword == "FROM" and inside == 0:
        return DockerfileError("FROM isn't allowed as an ONBUILD trigger", statement.span)
    if keyword == "ONBUILD" and rest:
        word, rest = _first_word(rest)
        keyword = word.upper()
        if keyword == "ONBUILD":
            return DockerfileError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", place)
        if keyword in _NO_TRIGGERS:
            return DockerfileError(f"{keyword} isn't allowed as an ONBUILD trigger", place)
        if keyword not in INSTRUCTIONS:
            return UnknownInstruction(word, INSTRUCTIONS, place)
    return DockerfileError(_sentence(keyword, statement.source[inside:], expected), place)


def _sentence(keyword: str, rest: str, expected: Set[str]) -> str:
    """What is wrong with the arguments of an instruction, from `rest` on."""
    if keyword == "FROM":
        return "FROM requires either one or three arguments"
    if keyword == "HEALTHCHECK" and "_PROBE" not in expected:
        missing = "Missing command after HEALTHCHECK CMD"
        return missing if "TEXT" in expected else "HEALTHCHECK NONE takes no arguments"
    if keyword in ("ENV", "LABEL") and expected == {"TEXT"}:
        return f"{keyword} must have two arguments"
    if not rest:
        if keyword in _ONE_ARGUMENT:
            return f"{keyword} requires exactly one argument"
        if keyword in _TWO_ARGUMENTS:
            return (
                f"{keyword} requires at least two arguments, but only one was provided. "
                "Destination could not be determined"
            )
        return f"{keyword} requires at least one argument"
    if keyword == "HEALTHCHECK":
        kind = _first_word(rest)[0].upper()
        return f"Unknown type {quoted(kind)} in HEALTHCHECK (try CMD)"
    if keyword == "SHELL":
        return "SHELL requires the arguments to be in JSON form"
    if keyword in ("ENV", "LABEL"):
        word = _first_word(rest)[0]
        return f"Syntax error - can't find = in {quoted(word)}. Must be of the form: name=value"
    return f"unexpected {quoted(rest)} in {keyword}"


def _first_word(text: str) -> tuple[str, str]:
    word, rest = re.match(f"([^{BLANKS}]*)[{BLANKS}]*(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    return word, rest
