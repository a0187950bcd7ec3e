"""Quotes, escapes and every substitution."""

from __future__ import annotations

import pytest

from grammar.words import WordError, expand, expand_heredoc, expand_words

VARIABLES = {
    "empty": "",
    "name": "value",
    "path": "/usr/local/lib/x.tar.gz",
    "stars": "a*b?c\\d",
    "words": 'one "two  three',
    "dots": "a.b.a",
    "größe": "7",
    "_x1": "under",
    "pattern": "l*/",
    "money": "$name",
}


def text(word: str, escape: str = "\\") -> str:
    return expand(word, VARIABLES, escape=escape).text


@pytest.mark.parametrize(
    ("word", "expanded"),
    [
        ("", ""),
        ("plain", "plain"),
        ("a  b\tc", "a  b\tc"),
        ("'a  $name \\ \"'", 'a  $name \\ "'),
        ("\"a  $name 'b'\"", "a  value 'b'"),
        ('"\\" \\$ \\\\ \\n \\a"', '" $ \\ \\n \\a'),
        ("\\a\\ \\'\\\"\\$name\\\\", "a '\"$name\\"),
        ("a'b'\"c\"d", "abcd"),
        ("''", ""),
        ("trailing\\", "trailing"),
        ("$name", "value"),
        ("${name}", "value"),
        ("a$name.b", "avalue.b"),
        ("$name_", ""),
        ("$name$name", "valuevalue"),
        ("$_x1-$größe", "under-7"),
        ("$money", "$name"),
        ("$", "$"),
        ("a$ b$.", "a$ b$."),
        ("$'a'", "$a"),
        ('"$"', "$"),
        ("$1x$12y$@$*$#$?$-$$$!$0", "xy"),
        ("${1}${@}${*}${#}${?}${-}${$}${!}${0}", ""),
        ("}", "}"),
    ],
)
def test_quotes_escapes_and_names(word: str, expanded: str) -> None:
    assert text(word) == expanded


@pytest.mark.parametrize(
    ("word", "expanded"),
    [
        ("${name:-w}", "value"),
        ("${empty:-w}", "w"),
        ("${none:-w}", "w"),
        ("${name-w}", "value"),
        ("${empty-w}", ""),
        ("${none-w}", "w"),
        ("${name:+w}", "w"),
        ("${empty:+w}", ""),
        ("${none:+w}", ""),
        ("${name+w}", "w"),
        ("${empty+w}", "w"),
        ("${none+w}", ""),
        ("${name:?m}", "value"),
        ("${name?m}", "value"),
        ("${empty?m}", ""),
        ("${none:-}", ""),
        ("${none:-$name}", "value"),
        ("${none:-${empty:-'$x'}y}", "$xy"),
        ('${none:-"a } b"}', "a } b"),
        ("${none:-a\\}b}", "a}b"),
        ("${none:-a b}", "a b"),
        ("${none:--}", "-"),
        ("${none:-:}", ":"),
        ("${1:-w}", "w"),
        ('"${none:-"w"}"', "w"),
    ],
)
def test_defaults_and_alternatives(word: str, expanded: str) -> None:
    assert text(word) == expanded


@pytest.mark.parametrize(
    ("word", "expanded"),
    [
        ("${path#/}", "usr/local/lib/x.tar.gz"),
        ("${path#*/}", "usr/local/lib/x.tar.gz"),
        ("${path##*/}", "x.tar.gz"),
        ("${path%.*}", "/usr/local/lib/x.tar"),
        ("${path%%.*}", "/usr/local/lib/x"),
        ("${path%/*}", "/usr/local/lib"),
        ("${path%%/*}", ""),
        ("${path#/???/}", "local/lib/x.tar.gz"),
        ("${path##*l*b/}", "x.tar.gz"),
        ("${path#*l*$pattern}", "lib/x.tar.gz"),
        ("${path#x}", "/usr/local/lib/x.tar.gz"),
        ("${path%x}", "/usr/local/lib/x.tar.gz"),
        ("${name#}", "value"),
        ("${name%}", "value"),
        ("${name##}", "value"),
        ("${name#*}", "value"),
        ("${name##*}", ""),
        ("${name%%*}", ""),
        ("${name%?}", "valu"),
        ("${none#x}", ""),
        ("${stars#a\\*}", "b?c\\d"),
        ("${stars%%\\?*}", "a*b"),
        ("${stars##*\\\\}", "d"),
        ("${stars#a?b}", "?c\\d"),
        ("${dots%.a}", "a.b"),
        ("${name#'v'}", "alue"),
        ("${name%[e]}", "value"),
    ],
)
def test_prefixes_and_suffixes(word: str, expanded: str) -> None:
    assert text(word) == expanded


@pytest.mark.parametrize(
    ("word", "expanded"),
    [
        ("${dots/a/x}", "x.b.a"),
        ("${dots//a/x}", "x.b.x"),
        ("${dots//./}", "aba"),
        ("${dots/.*/-}", "a-"),
        ("${dots//?/x}", "xxxxx"),
        ("${dots//*/x}", "x"),
        ("${empty//*/x}", "x"),
        ("${dots/c/x}", "a.b.a"),
        ("${path/\\/usr/}", "/local/lib/x.tar.gz"),
        ("${path//l*l/-}", "/usr/-ib/x.tar.gz"),
        ("${path/$pattern/-}", "/usr/-x.tar.gz"),
        ("${path//\\//:}", ":usr:local:lib:x.tar.gz"),
        ("${stars//\\*/$name}", "avalueb?c\\d"),
        ("${stars//\\?/}", "a*bc\\d"),
        ("${none//a/b}", ""),
        ("${name/v/${none:-w}}", "walue"),
        # BuildKit takes these for groups of its regular expression.
        ("${name//v/$1x}", "xalue"),
        ("${name//v/'$1'}", "$1alue"),
        ("${name//v/'$0'}", "$0alue"),
        # An empty pattern matches before each character, as in BuildKit.
        ("${name/${empty}/x}", "xvalue"),
        ("${name//${empty}/-}", "-v-a-l-u-e-"),
        # The replacement keeps its escapes, as in BuildKit.
        ("${path//\\//\\/}", "\\/usr\\/local\\/lib\\/x.tar.gz"),
    ],
)
def test_replacements(word: str, expanded: str) -> None:
    assert text(word) == expanded


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("'a", "unexpected end of statement while looking for matching single-quote"),
        ("a'b'c'", "unexpected end of statement while looking for matching single-quote"),
        ('"a', "unexpected end of statement while looking for matching double-quote"),
        ('"a\\"', "unexpected end of statement while looking for matching double-quote"),
        ('"a\\', "unexpected end of statement while looking for matching double-quote"),
        ("${", "syntax error: missing '}'"),
        ("${name", "syntax error: missing '}'"),
        ("${name:", "syntax error: missing '}'"),
        ("${name:-a", "syntax error: missing '}'"),
        ("${name:-'a}", "syntax error: missing '}'"),
        ("${name:-${none}", "syntax error: missing '}'"),
        ("${name#a", "syntax error: missing '}'"),
        ("${name/a/b", "syntax error: missing '}'"),
        ("${name/a}", "syntax error: missing '/' in ${}"),
        ("${name//}", "syntax error: missing '/' in ${}"),
        ("${}", "syntax error: bad substitution"),
        ("${{name}", "syntax error: bad substitution"),
        ("${:-a}", "syntax error: bad substitution"),
        ("${.}", "syntax error: bad substitution"),
        ("${ name}", "syntax error: bad substitution"),
        ("${name=a}", "unsupported modifier (=) in substitution"),
        ("${name:=a}", "unsupported modifier (:=) in substitution"),
        ("${name:1}", "unsupported modifier (:1) in substitution"),
        ("${name^}", "unsupported modifier (^) in substitution"),
        ("${name,,}", "unsupported modifier (,) in substitution"),
        ("${name@Q}", "unsupported modifier (@) in substitution"),
        ("${#name}", "unsupported modifier (n) in substitution"),
        ("${none?}", "none: is not allowed to be unset"),
        ("${none:?}", "none: is not allowed to be unset"),
        ("${empty:?}", "empty: is not allowed to be empty"),
        ("${none:?give $name}", "none: give value"),
        ("${none?'it is'}", "none: it is"),
        ("${empty:?no}", "empty: no"),
        ("${name#\\a}", "invalid pattern (\\a) in substitution: invalid escape '\\a'"),
        ("${name//\\v/}", "invalid pattern (\\v) in substitution: invalid escape '\\v'"),
        ("a${none:-${}}", "syntax error: bad substitution"),
        ("${a:-" * 200 + "}" * 200, "substitutions are nested deeper than 100 levels"),
    ],
)
def test_what_cannot_be_expanded(word: str, reason: str) -> None:
    with pytest.raises(WordError) as caught:
        text(word)
    assert caught.value.reason == reason
    assert caught.value.word == word
    assert str(caught.value).startswith('failed to process "')
    assert str(caught.value).endswith(f'": {reason}')


def test_the_message_quotes_the_word() -> None:
    with pytest.raises(WordError) as caught:
        text("\"a'")
    assert str(caught.value) == (
        'failed to process "\\"a\'": '
        "unexpected end of statement while looking for matching double-quote"
    )


@pytest.mark.parametrize(
    ("word", "expanded"),
    [
        ("C:\\dir\\$name", "C:\\dir\\value"),
        ("`$name", "$name"),
        ("a` b`", "a b"),
        ('"`" `$ `` `a \\"', '" $ ` `a \\'),
        ("${stars#a`*}", "b?c\\d"),
        ("${path//`//\\}", "\\usr\\local\\lib\\x.tar.gz"),
    ],
)
def test_a_backtick_can_be_the_escape(word: str, expanded: str) -> None:
    assert text(word, "`") == expanded


def test_what_was_named_is_told() -> None:
    expanded = expand("$name ${none:-$empty} '$quoted' \\$x ${1:-} ${path#$pattern}", VARIABLES)
    assert expanded.used == {"name", "empty", "path", "pattern"}
    assert expanded.unset == {"none", "1"}


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("", ()),
        ("  ", ()),
        (" a  b\tc ", ("a", "b", "c")),
        ("a' 'b \"c d\"", ("a b", "c d")),
        ("a\\ b", ("a b",)),
        ("$words", ("one", '"two', "three")),
        ("'$words' \"$words\"", ("$words", 'one "two  three')),
        ("a$empty b", ("a", "b")),
        ("$empty '' x", ("x",)),
        ("x$words.y", ("xone", '"two', "three.y")),
        ("${none:-80 81} ${none:-'80 81'}", ("80", "81", "80", "81")),
        ("a\xa0b\u2003c", ("a", "b", "c")),
    ],
)
def test_words(word: str, words: tuple[str, ...]) -> None:
    assert expand_words(word, VARIABLES).words == words


@pytest.mark.parametrize(
    ("content", "expanded"),
    [
        ("'$name' \"$name\"\n", "'value' \"value\"\n"),
        ("\\$name \\\\ \\n\n", "$name \\ n\n"),
        ("a\\\nb\n", "a\nb\n"),
        ("it's ${none:-'w'}\n", "it's 'w'\n"),
        ('${name/v/"}', '"alue'),
        ("$", "$"),
    ],
)
def test_a_heredoc(content: str, expanded: str) -> None:
    assert expand_heredoc(content, VARIABLES).text == expanded


def test_a_heredoc_that_cannot_be_expanded() -> None:
    with pytest.raises(WordError, match="bad substitution"):
        expand_heredoc("a\n${}\n", {})
    assert expand_heredoc("$a$b", {"a": "1"}).unset == {"b"}
