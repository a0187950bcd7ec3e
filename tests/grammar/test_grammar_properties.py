"""Whatever the text: nodes or a `DockerfileError`, and nodes survive being printed."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grammar import DockerfileError, WordError, excerpt, parse, parse_instruction
from grammar.printer import print_dockerfile, print_instruction
from grammar.scan import scan
from grammar.to_json import to_json
from grammar.words import expand, expand_heredoc, expand_words

FRAGMENTS = (
    *"ab01 \t\n\n\n\\\\`\"'$={}[]<>#-:/.,*?!",
    *("\r\n", "\v", "\f", "\xa0", "\x00", "\x1b", "é", "\u2028", "\U0001f433", "\ufeff"),
    *("FROM x\n", "from x as Y\n", "ARG A=1 B\n", "RUN ", "RUN echo ", "COPY a b\n", "COPY "),
    *("ADD ", "ENV ", "LABEL ", "ENV a=", "CMD ", "ENTRYPOINT ", "SHELL ", "WORKDIR ", "USER "),
    *("EXPOSE 80 ", "VOLUME ", "STOPSIGNAL ", "MAINTAINER ", "HEALTHCHECK ", "ONBUILD ", "NONE"),
    *("--mount=type=bind ", "--from=x ", "--link ", "--chown=", "--interval=5s ", "--", " -- "),
    *("<<EOF", "<<-EOF ", "3<<'E F'", '<<"EOF" ', "\nEOF\n", "\n\tEOF\n", "\nE F\n", "<< EOF"),
    *('["a", "b"]', '["a",1]', "[]", '["a"', "\\\n", " \\ \n", "`\n", "# escape=`\n", "# c\n"),
    *("# check=skip=all\n", "#syntax=x\n", "((", "${a:-b}", "${a", "CMD x\n", " AS b\n"),
)
ARGUMENTS = (
    *"ab01 \t\\`\"'$={}[]<>#-:/.,*",
    "\r",
    "\v",
    "\f",
    "\xa0",
    "\x00",
    "é",
    "\\\n",
    "`\n \t",
    *(
        "a ",
        " b",
        "A=1 ",
        "k='v w'",
        '"q r"',
        " /d",
        "x y",
        " \\\n\n",
        "\\\n # c\n",
        "--a=b ",
        "-- ",
    ),
    *("--mount=a ", "--mount='b c' ", "--from=x ", "--link ", "--chown=é ", "--interval=1m5s "),
    *('["a", "b"]', '["a b", "\\u00e9"]', "[]", '["a"', " [", "NONE", "CMD ", "RUN ", "COPY a "),
    *("<<EOF", " <<-EOF ", " 3<<'E F' ", ' <<"E" ', " << EOF", " <<E\\ F ", "<<<", "((", "))"),
)
BODIES = ("", "", "", "x\nEOF\n", "\ty\n\tEOF\n", "E F\n", "E\nEOF\n", "a\r\nEOF\r\nEOF\n", "\n")
KEYWORDS = (
    *("ADD", "ARG", "CMD", "COPY", "COPY", "ENTRYPOINT", "ENV", "ENV", "EXPOSE", "FROM", "RUN"),
    *("HEALTHCHECK", "HEALTHCHECK CMD", "LABEL", "MAINTAINER", "ONBUILD RUN", "ONBUILD COPY a"),
    *("ONBUILD", "run", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR", "# comment", "#", "\n"),
)
LINES = st.tuples(
    st.sampled_from(KEYWORDS),
    st.lists(st.sampled_from(ARGUMENTS), max_size=6).map("".join),
    st.sampled_from(BODIES),
).map(lambda line: f"{line[0]} {line[1]}\n{line[2]}")
TOPS = st.sampled_from(
    ("", "# escape=`\n", "#syntax = a/b\n# escape=`\n", "\ufeff", "# escape=`", "\n# escape=`\n")
)
DOCKERFILES = st.tuples(TOPS, st.lists(LINES, max_size=4)).map(
    lambda parts: parts[0] + "FROM base\n" + "".join(parts[1])
)
TEXTS = st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join)
SCRIPTS = st.one_of(DOCKERFILES, DOCKERFILES, DOCKERFILES, TEXTS.map("FROM base\n".__add__), TEXTS)

WORD_PIECES = (
    *("$", "{", "}", "a", "b", "_", "1", "é", " ", "\\", "`", '"', "'", ":", "-", "+", "?"),
    *("#", "%", "/", "*", "=", "@", "\n", "${a", "${b:-", "${c:+x}", "${a%", "${b//", "${a##*"),
)
WORDS = st.lists(st.sampled_from(WORD_PIECES), max_size=30).map("".join)
VARIABLES = {"a": "one/two", "b": "", "é": "x y  z"}


def refusal(text: str) -> DockerfileError | None:
    try:
        parse(text)
    except DockerfileError as error:
        return error
    return None


@given(SCRIPTS)
@settings(max_examples=400, deadline=None)
def test_a_text_parses_or_is_refused_and_survives_being_printed(text: str) -> None:
    error = refusal(text)
    if error is None:
        dockerfile = parse(text)
        printed = print_dockerfile(dockerfile)
        again = parse(printed)
        assert again == dockerfile
        assert print_dockerfile(again) == printed
        json.dumps(to_json(dockerfile))
    else:
        assert 1 <= error.span.first <= error.span.last <= text.count("\n") + 1
        assert str(error).startswith(f"dockerfile parse error on line {error.span.first}: ")
        assert excerpt(text, error.span)


@given(st.text(max_size=60), st.booleans())
@settings(max_examples=100, deadline=None)
def test_any_characters_are_taken(text: str, stage: bool) -> None:
    refusal(f"FROM x\nRUN {text}" if stage else text)


@given(st.binary(max_size=40))
@settings(max_examples=50, deadline=None)
def test_any_bytes_are_taken(data: bytes) -> None:
    with suppress(DockerfileError):
        parse(b"FROM x\nENV a=" + data)


@given(SCRIPTS)
@settings(max_examples=100, deadline=None)
def test_one_instruction_is_itself_or_refused(text: str) -> None:
    with suppress(DockerfileError):
        node = parse_instruction(text.partition("\n")[2], "ONBUILD")
        assert parse_instruction(print_instruction(node), "again") == node


@given(SCRIPTS)
@settings(max_examples=200, deadline=None)
def test_a_scan_moves_no_character(text: str) -> None:
    lines = text.removeprefix("\ufeff").split("\n")
    with suppress(DockerfileError):
        scanned = scan(text, "Dockerfile")
        for offset, character in enumerate(scanned.text):
            if character != "\n":
                line, column = scanned.locate(offset)
                assert lines[line - 1][column - 1] == character
        for statement in scanned.statements:
            end = statement.offset + len(statement.source)
            assert scanned.text[statement.offset : end + 1] == statement.source + "\n"


@given(WORDS, st.sampled_from("\\`"))
@settings(max_examples=300, deadline=None)
def test_a_word_expands_or_is_refused(word: str, escape: str) -> None:
    for expansion in (expand, expand_words):
        with suppress(WordError):
            expanded = expansion(word, VARIABLES, escape=escape)
            assert expanded.used <= set(VARIABLES)
            assert not expanded.unset & set(VARIABLES)
    with suppress(WordError):
        expand_heredoc(word, VARIABLES, escape)


@given(st.text(alphabet="ab *?", max_size=8), st.text(alphabet="ab \n", max_size=8))
@settings(max_examples=100, deadline=None)
def test_words_are_the_text_split(word: str, value: str) -> None:
    text = word + "$x" + " " + value
    whole = expand(text, {"x": value}).text
    assert expand_words(text, {"x": value}).words == tuple(whole.split())


@pytest.mark.parametrize("count", [1_000, 100_000])
@pytest.mark.parametrize(
    "pattern",
    [
        "${a:-{}}",
        '"${a:-{}}"',
        "{}$",
        "{}\\",
        "{}'",
        '{}"',
        "{}a ",
        "${v//{}/x}",
        "${v#*{}}",
        "${v%%?{}*a*}",
    ],
)
def test_long_and_deep_words_end(pattern: str, count: int) -> None:
    opening, _, closing = pattern.partition("{}")
    for word in (opening * count + closing * count, opening + "a" * count + closing):
        with suppress(WordError):
            expand(word, {"v": "ab" * (count // 2)})


@pytest.mark.parametrize(
    "line",
    [
        "RUN {}",
        "ENV a={}",
        'ENV a="{}"',
        'ENV a="{}',
        "ENV a='{}\\",
        "ENV {}",
        "ARG {}",
        "COPY {} b",
        "COPY <<{} b",
        "RUN --mount={} x",
        "RUN --mount='{} x",
        "CMD [{}",
        "{} x",
        "HEALTHCHECK --interval={}h CMD x",
        "HEALTHCHECK --retries={} CMD x",
        "ONBUILD {}",
        "FROM x AS {}",
        "FROM {}",
    ],
)
def test_long_lines_end(line: str) -> None:
    for filling in ("a", "[", '"', "\\", "<<", "--a ", '"",', "1", "= ", "ONBUILD "):
        text = line.replace("{}", filling * (100_000 // len(filling)))
        error = refusal(f"FROM x\n{text}\n")
        assert error is None or len(error.message) < 1_000
