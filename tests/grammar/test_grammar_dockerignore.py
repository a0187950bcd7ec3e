"""Ignore files: which pattern decides on a path."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grammar.dockerignore import InvalidPattern, make_patterns, parse_patterns


def excluded(patterns: str, *paths: str) -> list[bool]:
    matcher = parse_patterns(patterns)
    return [matcher.excludes(path).excluded for path in paths]


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("a", ["a", "a/b", "a/b/c"], ["b", "ab", "b/a", ""]),
        ("a/b", ["a/b", "a/b/c"], ["a", "b", "a/c", "x/a/b"]),
        ("/a/", ["a", "a/b"], ["b/a"]),
        ("./a//b/../c", ["a/c"], ["a/b"]),
        ("*", ["a", ".a", "a/b"], []),
        ("*.c", ["a.c", ".c", "a.c/d"], ["a.cc", "d/a.c"]),
        ("*/*.c", ["d/a.c"], ["a.c", "d/e/a.c"]),
        ("?", ["a", "é", "a/b"], ["ab"]),
        ("a?c", ["abc"], ["a/c", "ac"]),
        ("a*b*c", ["abc", "axbxc", "abbc"], ["ab", "a/bc"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "x"]),
        ("[^a-c]x", ["dx"], ["ax", "/x"]),
        ("[a\\]]x", ["ax", "]x"], ["\\x"]),
        ("[*?]x", ["*x", "?x"], ["ax"]),
        ("[z-a]x", [], ["ax", "zx"]),
        ("[^z-a]x", ["ax"], ["x"]),
        ("\\*", ["*"], ["a"]),
        ("a.b+(c)|{d}$^", ["a.b+(c)|{d}$^"], ["axb+(c)|{d}$^"]),
        ("]", ["]"], ["a"]),
        ("**", ["a", "a/b/c"], [""]),
        ("**/a", ["a", "b/a", "b/c/a", "b/a/c"], ["ba", "b/ca"]),
        ("**/*.c", ["a.c", "d/e/a.c"], ["a.h"]),
        ("**/a/b", ["a/b", "x/y/a/b"], ["a/x/b", "xa/b"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "ab"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b/z"], ["a/xb", "ab"]),
        ("a/**/b/**/c*d", ["a/b/cd", "a/x/b/y/z/cxd"], ["a/b/c/d", "a/c/b"]),
        ("**/a/**/b/**", ["a/b/c", "x/a/y/b/c"], ["a/b", "b/a/c"]),
        ("**/**/a", ["a", "x/a"], ["xa"]),
        ("a**", ["a", "ab", "a/b", "ab/c"], ["ba"]),
        ("**a", ["a", "ba", "x/ba"], ["ab"]),
        ("a**b", ["ab", "ax/b", "a/x/b"], ["axb"]),
        ("a/../..", [], ["a", "..a"]),
        (".", [], ["a"]),
        ("/", [], ["a"]),
    ],
)
def test_what_a_pattern_matches(pattern: str, matching: list[str], others: list[str]) -> None:
    assert excluded(pattern, *matching) == [True] * len(matching)
    assert excluded(pattern, *others) == [False] * len(others)


def test_the_last_match_decides() -> None:
    matcher = parse_patterns("*\n!src\nsrc/*.o\n!src/keep.o\n**/tmp\n")
    decided = {path: matcher.excludes(path) for path in ("x", "src", "src/a.c", "src/a.o")}
    assert [decision.excluded for decision in decided.values()] == [True, False, False, True]
    assert not matcher.excludes("src/keep.o").excluded
    assert matcher.excludes("src/tmp/keep.o").excluded
    pattern = decided["src/a.o"].pattern
    assert pattern is not None
    assert (pattern.text, pattern.path, pattern.negated, pattern.line) == (
        "src/*.o",
        "src/*.o",
        False,
        3,
    )
    pattern = decided["src/a.c"].pattern
    assert pattern is not None
    assert (pattern.text, pattern.path, pattern.negated, pattern.line) == ("!src", "src", True, 2)


def test_what_nothing_matches_is_included() -> None:
    decision = parse_patterns("a\n").excludes("b")
    assert (decision.excluded, decision.pattern) == (False, None)
    assert not parse_patterns("").excludes("b").excluded


def test_a_folder_decides_for_what_is_below_it() -> None:
    assert excluded("a\n!a/b\na/b/c", "a/x", "a/b", "a/b/x", "a/b/c", "a/b/c/d") == [
        True,
        False,
        False,
        True,
        True,
    ]


def test_lines_are_read_as_written_by_people() -> None:
    text = "\ufeff# no\n\n  a  \r\n#b\n !  c/ \n\t/d/./e\n\\#f\n"
    matcher = parse_patterns(text)
    assert [(pattern.path, pattern.negated, pattern.line) for pattern in matcher.patterns] == [
        ("a", False, 3),
        ("c", True, 5),
        ("d/e", False, 6),
        ("\\#f", False, 7),
    ]
    assert matcher.excludes("#f").excluded


def test_patterns_of_flags_have_no_comments_and_no_lines() -> None:
    matcher = make_patterns(["#a", "", "!#a/b"])
    assert [pattern.line for pattern in matcher.patterns] == [None, None]
    assert matcher.excludes("#a").excluded
    assert not matcher.excludes("#a/b").excluded


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!", 'line 1: illegal exclusion pattern: "!"'),
        ("a\n !  \n", 'line 2: illegal exclusion pattern: "!"'),
        ("a\n\n[b", 'line 3: syntax error in pattern: "[b"'),
        ("[]a", 'line 1: syntax error in pattern: "[]a"'),
        ("[a-]", 'line 1: syntax error in pattern: "[a-]"'),
        ("[a-", 'line 1: syntax error in pattern: "[a-"'),
        ("[\\", 'line 1: syntax error in pattern: "[\\\\"'),
        ("!a\\", 'line 1: syntax error in pattern: "!a\\\\"'),
    ],
)
def test_patterns_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(InvalidPattern) as caught:
        parse_patterns(text)
    assert str(caught.value) == message


def test_a_flag_that_cannot_be() -> None:
    with pytest.raises(InvalidPattern, match=re.escape('illegal exclusion pattern: "!"')) as caught:
        make_patterns(["a", "!"])
    assert caught.value.line is None


@pytest.mark.parametrize(
    ("patterns", "folder", "enter"),
    [
        ("a", "a", False),
        ("a\n!a/b", "a", True),
        ("a\n!a/b", "a/c", False),
        ("!a/b\na", "a", False),
        ("a\n!b", "a", False),
        ("*\n!a/*/c", "a", True),
        ("*\n!a/*/c", "a/b", True),
        ("*\n!a/*/c", "a/b/d", False),
        ("*\n!a/x?/c", "a/y", False),
        ("*\n!**/c", "a/b", True),
        ("*\n!a/**/c", "a/b/d/e", True),
        ("*\n!a/**/c", "b", False),
        ("*\n!a**", "b", True),
    ],
)
def test_whether_a_folder_must_be_entered(patterns: str, folder: str, enter: bool) -> None:
    assert parse_patterns(patterns).may_include_below(folder) is enter


PATHS = st.lists(st.text(alphabet="abc.", min_size=1, max_size=3), min_size=1, max_size=4).map(
    "/".join
)
PATTERNS = st.lists(
    st.tuples(
        st.sampled_from(["", "", "!"]),
        st.lists(
            st.sampled_from(
                ["a", "b", "c", ".", "*", "?", "**/", "/", "[ab]", "[^a]", "a*b", "/**"]
            ),
            min_size=1,
            max_size=5,
        ).map("".join),
    ).map("".join),
    max_size=4,
)


def plainly_matches(pattern: str, path: str) -> bool:
    """The rule, said as simply as a regular expression can."""
    expression = ""
    for token in re.findall(r"\*\*/|\*\*|\*|\?|\[.*?\]|.", pattern):
        if token in ("**/", "**"):
            last = token == "**" and pattern.endswith("**")
            expression += ".*" if last else "(.*/)?"
        else:
            wild = {"*": "[^/]*", "?": "[^/]", "[^a]": "[^a/]", "[ab]": "[ab]"}
            expression += wild.get(token) or re.escape(token)
    return re.fullmatch(expression, path) is not None


@given(PATTERNS, PATHS)
@settings(max_examples=400, deadline=None)
def test_all_is_as_the_rule_says(patterns: list[str], path: str) -> None:
    matcher = parse_patterns("\n".join(patterns))
    parts = path.split("/")
    expected = False
    for pattern in matcher.patterns:
        if re.match(r"\*\*[^/]", pattern.path):
            return  # `**name` is a suffix, not this simple
        above = ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
        if any(plainly_matches(pattern.path, place) for place in above):
            expected = not pattern.negated
    assert matcher.excludes(path).excluded is expected


@given(PATTERNS, PATHS)
@settings(max_examples=200, deadline=None)
def test_nothing_included_lies_below_a_folder_not_to_be_entered(
    patterns: list[str], path: str
) -> None:
    matcher = parse_patterns("\n".join(patterns))
    folder = path.rpartition("/")[0]
    while folder:
        if matcher.excludes(folder).excluded and not matcher.may_include_below(folder):
            assert matcher.excludes(path).excluded
        folder = folder.rpartition("/")[0]


@pytest.mark.parametrize(
    "pattern", ["*a" * 12 + "b", "**/a/" * 12 + "b", "[a-z]*" * 12 + "0", "?*" * 12 + "0"]
)
def test_no_pattern_takes_for_ever(pattern: str) -> None:
    assert excluded(pattern, "a" * 255, "a/" * 2_000 + "a") == [False, False]
