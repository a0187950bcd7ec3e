"""Lines before the grammar sees them: directives, comments, continuations, line ends."""

from __future__ import annotations

import pytest

from grammar import DockerfileError, parse
from grammar.nodes import Run, Shell
from grammar.scan import scan


def commands(text: str) -> list[str]:
    """The RUN commands of a text that starts a stage by itself or gets one."""
    instructions = parse(text).stages[0].instructions
    return [
        node.command.text
        for node in instructions
        if isinstance(node, Run) and isinstance(node.command, Shell)
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a b", ["a b"]),
        ("a \\\nb", ["a b"]),
        ("a\\\n  b", ["a  b"]),
        ("a \\  \t\nb", ["a b"]),
        ("a \\\\\nRUN b", ["a \\\\", "b"]),
        ("a \\\\\\\nb", ["a \\\\b"]),
        ("a \\\n# c\n  # d\nb", ["a b"]),
        ("a \\\n\n \t\nb", ["a b"]),
        ("a \\", ["a"]),
        ("a \\\n\\\n\\\nb", ["a b"]),
        ("a \\\n# c", ["a"]),
        ("a \\\n#c \\\n b\nRUN d", ["a  b", "d"]),
        ("a\r\nRUN b\r\n", ["a", "b"]),
        ("a \\\r\n b\r\n", ["a  b"]),
        ("a \\\r\n\r\n b", ["a  b"]),
        ("a\u3000", ["a"]),
        ("a\xa0b", ["a\xa0b"]),
        ("a\tb", ["a\tb"]),
        ("a\x00b\x1bc", ["a\x00b\x1bc"]),
        ("a\x0bb\x0cc\x1cd\x85e\u2028f", ["a\x0bb\x0cc\x1cd\x85e\u2028f"]),
        ("a #b", ["a #b"]),
    ],
)
def test_lines_are_joined(text: str, found: list[str]) -> None:
    assert commands("FROM x\nRUN " + text) == found


def test_only_the_first_line_of_an_instruction_loses_its_indent() -> None:
    assert commands("  FROM x\n\t RUN a \\\n   b") == ["a    b"]


def test_a_line_that_is_only_an_escape_starts_nothing() -> None:
    assert commands("FROM x\n\\\n  \\\n RUN a\n\\\n\n") == ["a"]


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert commands("\ufeff# escape=`\nFROM x\nRUN a `\nb") == ["a b"]
    assert parse("\ufeffFROM x".encode()).stages[0].base.span.column == 1


def test_an_empty_continuation_is_warned_of_at_the_end_of_its_instruction() -> None:
    dockerfile = parse("FROM x\nRUN a \\\n\n b\nRUN c \\\n # fine\n d")
    (warning,) = dockerfile.warnings
    assert warning.rule == "NoEmptyContinuation"
    assert warning.message == "Empty continuation line found in: RUN a  b"
    assert warning.span.first == 4


@pytest.mark.parametrize(
    ("top", "directives", "escape"),
    [
        ("# syntax=docker/dockerfile:1", (("syntax", "docker/dockerfile:1"),), "\\"),
        ("#syntax = a/b  c \n#ESCAPE=`", (("syntax", "a/b  c"), ("escape", "`")), "`"),
        ("  # escape=`", (("escape", "`"),), "`"),
        ("# escape=\\\\"[:-1], (("escape", "\\"),), "\\"),
        ("# check=skip=all;error=true", (("check", "skip=all;error=true"),), "\\"),
        ("#!/usr/bin/x\n# escape=`", (("escape", "`"),), "`"),
        ("\n# escape=`", (), "\\"),
        ("# comment\n# escape=`", (), "\\"),
        ("# unknown=x\n# escape=`", (), "\\"),
        ("# escape", (), "\\"),
        ("# escape=", (), "\\"),
    ],
)
def test_directives(top: str, directives: tuple[tuple[str, str], ...], escape: str) -> None:
    for end in ("\n", "\r\n"):
        dockerfile = parse(f"{top}\nFROM x\n".replace("\n", end))
        assert dockerfile.directives == directives
        assert dockerfile.escape == escape


def test_a_directive_after_an_instruction_is_a_comment() -> None:
    assert parse("FROM x\n# escape=`\nRUN a\n").stages[0].instructions[0].comments == ("escape=`",)


def test_directives_are_no_comments_of_the_first_instruction() -> None:
    assert parse("# syntax=x\n# about\nFROM x\n").stages[0].base.comments == ("about",)


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("# syntax=a\n# Syntax=a\nFROM x", "only one syntax parser directive can be used", 2),
        ("# escape=x\nFROM x", "invalid escape token 'x' does not match ` or \\", 1),
        ("# escape=``\nFROM x", "invalid escape token '``' does not match ` or \\", 1),
    ],
)
def test_impossible_directives(text: str, message: str, line: int) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(text)
    assert caught.value.message == message
    assert caught.value.span.first == line


def test_a_place_is_found_back_across_continuations() -> None:
    text = "FROM x\n  RUN a \\\n # c\n\n\tbc \\\n d\n"
    scanned = scan(text, "Dockerfile")
    assert scanned.locate(scanned.text.index("RUN")) == (2, 3)
    assert scanned.locate(scanned.text.index("c")) == (5, 3)
    assert scanned.locate(scanned.text.index("d")) == (6, 2)
    assert scanned.statement(scanned.text.index("bc")).source == "RUN a \tbc  d"


def test_a_line_may_be_long() -> None:
    word = "a" * 300_000
    assert commands(f"FROM x\nRUN {word}") == [word]
