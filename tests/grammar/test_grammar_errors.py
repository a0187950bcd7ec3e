"""What is refused, in which words, and where the finger points."""

from __future__ import annotations

import pickle

import pytest

from grammar import (
    DockerfileError,
    FlagError,
    GrammarError,
    InvalidPattern,
    Span,
    UnknownInstruction,
    WordError,
    excerpt,
    parse,
    parse_instruction,
)
from grammar.errors import quoted
from grammar.suggest import closest, distance

TWO_ARGUMENTS = (
    " requires at least two arguments, but only one was provided. "
    "Destination could not be determined"
)
NOT_STRINGS = "when using JSON array syntax, arrays must be comprised of strings only"


def refused(text: str | bytes) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        parse(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("", "the Dockerfile cannot be empty", 1),
        ("\n# nothing\n", "file with no instructions", 1),
        ("ARG a\nARG b\n", "dockerfile contains no stages to build", 2),
        ("ARG a\nRUN b\n", "no build stage in current context", 2),
        ("MAINTAINER a\n", "no build stage in current context", 1),
        ("ONBUILD RUN x\n", "no build stage in current context", 1),
    ],
)
def test_texts_without_stages(text: str, message: str, line: int) -> None:
    error = refused(text)
    assert (error.message, error.span.first) == (message, line)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("FNTRYPOINT x", "unknown instruction: FNTRYPOINT (did you mean ENTRYPOINT?)"),
        ("rnu x", "unknown instruction: rnu (did you mean RUN?)"),
        ("HELLO x", "unknown instruction: HELLO (did you mean SHELL?)"),
        ("XYZZY", "unknown instruction: XYZZY"),
        ('"RUN" x', 'unknown instruction: "RUN" (did you mean RUN?)'),
        ("RUN\u00a0x", "unknown instruction: RUN\\xa0x (did you mean RUN?)"),
        ("\x1b[31m x", "unknown instruction: \\x1b[31m"),
        ("ONBUILD CMDD x", "unknown instruction: CMDD (did you mean CMD?)"),
        ("FROM a b", "FROM requires either one or three arguments"),
        ("FROM", "FROM requires either one or three arguments"),
        ("FROM a as", "FROM requires either one or three arguments"),
        ("FROM a AS b c", "FROM requires either one or three arguments"),
        ("FROM a SA b", "FROM requires either one or three arguments"),
        (
            "FROM a AS 1b",
            'invalid name for build stage: "1b", '
            "name can't start with a number or contain symbols",
        ),
        (
            "FROM a AS b/c",
            'invalid name for build stage: "b/c", '
            "name can't start with a number or contain symbols",
        ),
        *(
            (keyword, f"{keyword} requires at least one argument")
            for keyword in ("RUN", "CMD", "ENTRYPOINT", "ARG", "ENV", "LABEL", "EXPOSE", "VOLUME")
        ),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("SHELL", "SHELL requires at least one argument"),
        ("run  \t", "RUN requires at least one argument"),
        ("RUN []", "RUN requires at least one argument"),
        ("SHELL []", "SHELL requires at least one argument"),
        ("VOLUME []", "VOLUME requires at least one argument"),
        ("ONBUILD RUN", "RUN requires at least one argument"),
        *(
            (keyword, f"{keyword} requires exactly one argument")
            for keyword in ("USER", "WORKDIR", "STOPSIGNAL", "MAINTAINER")
        ),
        ("COPY a", "COPY" + TWO_ARGUMENTS),
        ("copy", "COPY" + TWO_ARGUMENTS),
        ('ADD ["a"]', "ADD" + TWO_ARGUMENTS),
        ("COPY --from=a b", "COPY" + TWO_ARGUMENTS),
        ("ADD <<E\nE", "ADD" + TWO_ARGUMENTS),
        ("COPY a <<E\nE", "COPY cannot accept a heredoc as a destination"),
        ("ADD a <<E\nE", "ADD cannot accept a heredoc as a destination"),
        ("RUN <<E\na", "unterminated heredoc"),
        ("ENV a", "ENV must have two arguments"),
        ("LABEL a", "LABEL must have two arguments"),
        ("ENV a=b c", 'Syntax error - can\'t find = in "c". Must be of the form: name=value'),
        (
            "LABEL a=b 'c d' e=f",
            "Syntax error - can't find = in \"'c\". Must be of the form: name=value",
        ),
        (
            "ENV 'a=b' c",
            "Syntax error - can't find = in \"'a=b'\". Must be of the form: name=value",
        ),
        ("ENV =b", "ENV names can not be blank"),
        ("LABEL a=b =c", "LABEL names can not be blank"),
        ("ARG =b", "ARG names can not be blank"),
        ("SHELL bash -c", "SHELL requires the arguments to be in JSON form"),
        ("SHELL ['bash']", "SHELL requires the arguments to be in JSON form"),
        *((f"{word} [1]", NOT_STRINGS) for word in ("RUN", "CMD", "ENTRYPOINT", "VOLUME")),
        *((f'{word} ["a", null]', NOT_STRINGS) for word in ("COPY", "ADD")),
        ('CMD ["a", ["b"]]', NOT_STRINGS),
        ("HEALTHCHECK CMD [{}]", NOT_STRINGS),
        ("VOLUME ['a', 1", ""),
        ('VOLUME ["a", " "]', "VOLUME specified can not be an empty string"),
        ("HEALTHCHECK foo x", 'Unknown type "FOO" in HEALTHCHECK (try CMD)'),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK cmd []", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK --interval=1us CMD x", 'Interval "interval" cannot be less than 1ms'),
        ("HEALTHCHECK --timeout=-1s CMD x", 'Interval "timeout" cannot be less than 1ms'),
        ("HEALTHCHECK --interval=3 CMD x", 'time: missing unit in duration "3"'),
        ("HEALTHCHECK --start-period=3d CMD x", 'time: unknown unit "d" in duration "3d"'),
        ("HEALTHCHECK --start-interval=x CMD x", 'time: invalid duration "x"'),
        ("HEALTHCHECK --retries=x CMD x", '--retries: parsing "x": invalid syntax'),
        ("HEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative (-1)"),
        (
            "HEALTHCHECK --retries=3000000000 CMD x",
            '--retries: parsing "3000000000": value out of range',
        ),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD from x", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD MAINTAINER x", "MAINTAINER isn't allowed as an ONBUILD trigger"),
        ("COPY --form=a b c", "unknown flag: --form (did you mean from?)"),
        ("RUN --mout=a b", "unknown flag: --mout (did you mean mount?)"),
        ("ENV --a b=c", "unknown flag: --a"),
        ("WORKDIR --b", "WORKDIR requires exactly one argument"),
        ("COPY --größe=1 b c", "unknown flag: --größe"),
        ("COPY --from=a --from=b c d", "duplicate flag specified: --from"),
        ("COPY --link --link=false c d", "duplicate flag specified: --link"),
        ("COPY --chown c d", "missing a value on flag: --chown"),
        ("COPY --link= c d", "missing a value on flag: --link"),
        ("RUN --mount x", "missing a value on flag: --mount"),
        ("ADD --unpack=maybe c d", "expecting boolean value for flag --unpack, not: maybe"),
        ("ADD --parents c d", "unknown flag: --parents"),
        ("COPY --checksum=x c d", "unknown flag: --checksum"),
    ],
)
def test_a_mistake_has_the_words_users_know(line: str, message: str) -> None:
    if not message:
        parse(f"FROM x\n{line}\n")
        return
    error = refused(f"FROM x\n\n{line}\n")
    assert error.message == message
    assert error.span.first == 3
    assert str(error) == f"dockerfile parse error on line 3: {message}"


def test_a_caller_can_tell_errors_apart() -> None:
    assert isinstance(refused("FORM x"), UnknownInstruction)
    assert isinstance(refused("FROM x\nCOPY --a b c"), FlagError)
    assert issubclass(DockerfileError, GrammarError)
    assert issubclass(WordError, GrammarError)
    assert issubclass(InvalidPattern, GrammarError)


@pytest.mark.parametrize(
    ("data", "message", "line"),
    [
        (b"FROM x\nRUN \xe9\n", "the Dockerfile is not valid UTF-8: byte 0xe9", 2),
        (b"\xff\xfeF\x00", "the Dockerfile is not valid UTF-8: byte 0xff", 1),
        ("FROM x\n\nRUN \udc80", "the Dockerfile is not valid Unicode: lone surrogate U+DC80", 3),
    ],
)
def test_what_is_not_text(data: str | bytes, message: str, line: int) -> None:
    error = refused(data)
    assert (error.message, error.span.first) == (message, line)


def test_a_lone_surrogate_in_an_array_is_replaced() -> None:
    assert parse('FROM x\nCMD ["\\ud800", "\\ud83d\\ude00"]\n') == parse(
        'FROM x\nCMD ["\ufffd", "\U0001f600"]\n'
    )


def test_the_mistake_is_shown_where_it_is() -> None:
    text = "FROM x\nRUN a\nCOPY \\\n\t--link --form=y \\\n  b c\nRUN d\n"
    error = refused(text)
    assert error.span == Span("Dockerfile", 4, 4, 2)
    assert excerpt(text, error.span) == (
        "Dockerfile:4\n"
        "--------------------\n"
        "   2 |     RUN a\n"
        "   3 |     COPY \\\n"
        "   4 | >>> \t--link --form=y \\\n"
        "     |     \t^\n"
        "   5 |       b c\n"
        "   6 |     RUN d\n"
        "--------------------\n"
    )


def test_several_lines_are_shown_with_one_around() -> None:
    text = "a\nb\nc\nd\ne\nf"
    assert excerpt(text, Span("x/Dockerfile", 3, 4)) == (
        "x/Dockerfile:3\n"
        "--------------------\n"
        "   2 |     b\n"
        "   3 | >>> c\n"
        "   4 | >>> d\n"
        "   5 |     e\n"
        "--------------------\n"
    )


@pytest.mark.parametrize(
    ("text", "span", "shown"),
    [
        ("\ufeffFROM\r\n", Span("D", 1, 1, 3), "   1 | >>> FROM\n     |       ^\n   2 |\n"),
        ("a\x1b[31m", Span("D", 1, 9), "   1 | >>> a\ufffd[31m\n"),
        ("a", Span("D", 1, 1, 7), "   1 | >>> a\n"),
        ("a" * 9_999, Span("D", 1, 1, 5_000), "   1 | >>> " + "a" * 400 + "\n"),
    ],
)
def test_what_is_shown_stays_on_the_screen(text: str, span: Span, shown: str) -> None:
    line = "--------------------\n"
    assert excerpt(text, span) == f"D:1\n{line}{shown}{line}"


def test_a_place_outside_the_text_shows_nothing() -> None:
    assert excerpt("a", Span("D", 2, 2)) == ""
    assert excerpt("a", Span("D", 0, 0)) == ""


def test_an_error_in_one_instruction_names_where_it_is_from() -> None:
    with pytest.raises(DockerfileError) as caught:
        parse_instruction("CPOY a b", "ONBUILD")
    assert str(caught.value.span) == "ONBUILD:1"
    with pytest.raises(DockerfileError, match="the Dockerfile cannot be empty"):
        parse_instruction("", "ONBUILD")
    with pytest.raises(DockerfileError, match="requires at least two arguments"):
        parse_instruction("COPY a", "ONBUILD")


def test_a_from_is_no_single_instruction() -> None:
    with pytest.raises(DockerfileError, match="FROM isn't allowed as an ONBUILD trigger"):
        parse_instruction("FROM a", "ONBUILD")


@pytest.mark.parametrize(
    "error",
    [
        refused("FORM x"),
        refused("FROM x\nRUN <<E"),
        WordError("$x", "why"),
        InvalidPattern("!", "illegal exclusion pattern", 3),
    ],
)
def test_errors_survive_pickling(error: GrammarError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)


def test_quoting_is_one_short_line() -> None:
    assert quoted('a"b\\c\n\x00é') == '"a\\"b\\\\c\\n\\x00é"'
    assert len(quoted("a" * 10_000)) < 300


@pytest.mark.parametrize(
    ("one", "other", "steps"),
    [
        ("", "", 0),
        ("a", "", 1),
        ("abc", "abd", 1),
        ("abc", "acb", 1),
        ("bulid", "build", 1),
        ("ab", "cd", 2),
    ],
)
def test_distance(one: str, other: str, steps: int) -> None:
    assert distance(one, other) == distance(other, one) == steps


def test_only_what_is_near_is_suggested() -> None:
    assert closest("biuld", ["base", "build", "builder"]) == "build"
    assert closest("x", ["build"]) is None
    assert closest("build", ["build"]) is None


def test_what_cannot_be_shown_is_never_suggested() -> None:
    assert closest("GREETING", ["GREE\x06ING"]) is None
