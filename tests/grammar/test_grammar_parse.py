"""Every instruction in every form, and where it stands."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TypedDict

import pytest

from grammar import parse, parse_instruction
from grammar.durations import InvalidDuration, parse_duration
from grammar.flags import FLAGS
from grammar.mistakes import INSTRUCTIONS
from grammar.nodes import (
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Exec,
    Expose,
    From,
    Healthcheck,
    Heredoc,
    Instruction,
    Label,
    Maintainer,
    Node,
    Onbuild,
    Run,
    SetShell,
    Shell,
    Span,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from grammar.parser import lark_parser

NOWHERE: Span = Span("", 0, 0)


class Place(TypedDict):
    """The fields of a node that do not take part in comparison."""

    source: str
    span: Span


S: Place = {"source": "", "span": NOWHERE}


def one(text: str, escape: str = "\\") -> Instruction:
    return parse_instruction(text, "Dockerfile", escape)


def run(command: Shell | Exec, **flags: object) -> Run:
    return replace(Run(source="", span=NOWHERE, command=command), **flags)  # type: ignore[arg-type]


def copy(*sources: str | Heredoc, to: str, **flags: object) -> Copy:
    node = Copy(source="", span=NOWHERE, sources=sources, destination=to)
    return replace(node, **flags)  # type: ignore[arg-type]


def add(*sources: str | Heredoc, to: str, **flags: object) -> Add:
    node = Add(source="", span=NOWHERE, sources=sources, destination=to)
    return replace(node, **flags)  # type: ignore[arg-type]


def env(*pairs: tuple[str, str], legacy: bool = False) -> Env:
    return Env(source="", span=NOWHERE, pairs=pairs, legacy=legacy)


def base(text: str) -> From:
    return parse(text).stages[0].base


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("RUN make all", run(Shell("make all"))),
        ('RUN ["make", "a b"]', run(Exec(("make", "a b")))),
        ('RUN ["a"] && b', run(Shell('["a"] && b'))),
        ("RUN ['a', 'b']", run(Shell("['a', 'b']"))),
        ('RUN ["a",]', run(Shell('["a",]'))),
        ('RUN ["a\tb"]', run(Shell('["a\tb"]'))),
        ("RUN [ -e x ]", run(Shell("[ -e x ]"))),
        ("RUN echo '#' # all of it", run(Shell("echo '#' # all of it"))),
        ("RUN -- --help", run(Shell("--help"))),
        (
            'RUN --mount=type=cache,target=/c --mount=type=tmpfs,target="/a b" --network=none'
            " --security=insecure --device=v/c=d x --y",
            run(
                Shell("x --y"),
                mounts=("type=cache,target=/c", "type=tmpfs,target=/a b"),
                network="none",
                security="insecure",
                devices=("v/c=d",),
            ),
        ),
        (
            "RUN --mount=type=bind,source=/größe\\ 1 x",
            run(Shell("x"), mounts=("type=bind,source=/größe 1",)),
        ),
        ("COPY a b c /d/", copy("a", "b", "c", to="/d/")),
        ('COPY ["a b", "c"]', copy("a b", to="c")),
        ('COPY "a b" c', copy('"a', 'b"', to="c")),
        ("COPY [a b", copy("[a", to="b")),
        (
            "COPY --from=x --chown=1:2 --chmod=755 --link --parents=true --exclude=*.a"
            " --exclude='b c' d e",
            copy(
                "d",
                to="e",
                from_="x",
                chown="1:2",
                chmod="755",
                link=True,
                parents=True,
                exclude=("*.a", "b c"),
            ),
        ),
        ("COPY --link=FALSE a b", copy("a", to="b")),
        ("ADD a b", add("a", to="b")),
        (
            "ADD --chown=u --chmod=+x --link --checksum=sha256:0 --keep-git-dir=false --unpack"
            " --exclude=x https://h/f /d",
            add(
                "https://h/f",
                to="/d",
                chown="u",
                chmod="+x",
                link=True,
                checksum="sha256:0",
                keep_git_dir=False,
                unpack=True,
                exclude=("x",),
            ),
        ),
        (
            "ENV a=b c='d e' f=\"g\" h=i\\ j k=",
            env(("a", "b"), ("c", "'d e'"), ("f", '"g"'), ("h", "i\\ j"), ("k", "")),
        ),
        ("ENV a b  c=d", env(("a", "b  c=d"), legacy=True)),
        ("ENV a 'b", env(("a", "'b"), legacy=True)),
        ("ENV a='b c", env(("a", "'b c"))),
        ("ENV 'a b'=c d=e=f", env(("'a b'", "c"), ("d", "e=f"))),
        ('LABEL "a.b"=c', Label(**S, pairs=(('"a.b"', "c"),))),
        ("LABEL a b c", Label(**S, pairs=(("a", "b c"),), legacy=True)),
        ("ARG a", Arg(**S, pairs=(("a", None),))),
        ("ARG a= b=c d='e f'", Arg(**S, pairs=(("a", ""), ("b", "c"), ("d", "'e f'")))),
        ("CMD a b", Cmd(**S, command=Shell("a b"))),
        ('cmd ["a", "\\u00e9\\n"]', Cmd(**S, command=Exec(("a", "é\n")))),
        ("CMD []", Cmd(**S, command=Exec(()))),
        ("ENTRYPOINT [ ]", Entrypoint(**S, command=Exec(()))),
        ("ENTRYPOINT exec x", Entrypoint(**S, command=Shell("exec x"))),
        ('SHELL ["/bin/bash", "-c"]', SetShell(**S, argv=("/bin/bash", "-c"))),
        ("WORKDIR /a b/$c", Workdir(**S, path="/a b/$c")),
        ("USER a:b", User(**S, user="a:b")),
        ("EXPOSE 80 81/udp\t$p", Expose(**S, ports=("80", "81/udp", "$p"))),
        ("VOLUME /a /b", Volume(**S, paths=("/a", "/b"))),
        ('VOLUME ["/a b"]', Volume(**S, paths=("/a b",))),
        ("STOPSIGNAL SIGTERM", StopSignal(**S, signal="SIGTERM")),
        ("MAINTAINER A B <c@d>", Maintainer(**S, name="A B <c@d>")),
        ("HEALTHCHECK NONE", Healthcheck(**S, command=None)),
        ("HEALTHCHECK none", Healthcheck(**S, command=None)),
        ("HEALTHCHECK CMD x y", Healthcheck(**S, command=Shell("x y"))),
        (
            "HEALTHCHECK --interval=1m30s --timeout=500ms --start-period=0 --start-interval=1h"
            ' --retries=3 cmd ["x"]',
            Healthcheck(
                **S,
                command=Exec(("x",)),
                interval=90_000_000_000,
                timeout=500_000_000,
                start_period=0,
                start_interval=3_600_000_000_000,
                retries=3,
            ),
        ),
        ("ONBUILD run x", Onbuild(**S, text="run x", trigger=run(Shell("x")))),
        ("ONBUILD  COPY  a   b", Onbuild(**S, text="COPY  a   b", trigger=copy("a", to="b"))),
    ],
)
def test_an_instruction(text: str, node: Node) -> None:
    assert one(text) == node
    assert one(f"  {text} \t\r\n") == node


def test_a_backtick_escapes_where_the_directive_says_so() -> None:
    dockerfile = parse(
        '# escape=`\nFROM x\nENV a=b` c d=C:\\ e="`""\nCOPY a `\n C:\\x\nRUN --mount=a`,\\b x\n'
    )
    assert dockerfile.escape == "`"
    assert dockerfile.stages[0].instructions == (
        env(("a", "b` c"), ("d", "C:\\"), ("e", '"`""')),
        copy("a", to="C:\\x"),
        run(Shell("x"), mounts=("a,\\b",)),
    )


def test_stages_and_their_bases() -> None:
    dockerfile = parse(
        "ARG V=1\nARG W\n"
        "FROM --platform=$BUILDPLATFORM a:$V AS Build-1.x_y\nRUN b\n"
        "FROM Build-1.x_y\n"
    )
    assert [argument.pairs for argument in dockerfile.arguments] == [(("V", "1"),), (("W", None),)]
    first, second = dockerfile.stages
    assert (first.index, second.index) == (0, 1)
    assert first.base.image == "a:$V"
    assert first.base.platform == "$BUILDPLATFORM"
    assert first.base.name == "build-1.x_y"
    assert first.base.written_name == "Build-1.x_y"
    assert first.instructions == (run(Shell("b")),)
    assert (second.base.image, second.base.name) == ("Build-1.x_y", None)
    assert second.instructions == ()


@pytest.mark.parametrize(
    ("text", "image", "name"),
    [
        ("from as", "as", None),
        ("FROM as as as", "as", "as"),
        ("FROM a@sha256:0 aS b", "a@sha256:0", "b"),
        ("FROM -- --x", "--x", None),
    ],
)
def test_a_base(text: str, image: str, name: str | None) -> None:
    assert (base(text).image, base(text).name) == (image, name)


def test_where_a_thing_is_written_is_no_part_of_what_it_is() -> None:
    here, there = one("RUN x"), one("\n\n# c\n  run x")
    assert here == there
    assert here.source == "RUN x"
    assert there.source == "run x"
    assert here.span == Span("Dockerfile", 1, 1)
    assert there.span == Span("Dockerfile", 4, 4, 3)
    assert there.comments == ("c",)


def test_spans_cover_continuations_and_heredocs() -> None:
    text = "FROM x\nRUN a \\\n  b\nCOPY <<E /e\n1\nE\nONBUILD \\\n RUN y\n"
    copied, made, kept = (parse(text, "D").stages[0].instructions[i] for i in (1, 0, 2))
    assert made.span == Span("D", 2, 3)
    assert made.source == "RUN a   b"
    assert copied.span == Span("D", 4, 6)
    assert isinstance(kept, Onbuild)
    assert kept.span == Span("D", 7, 8)
    assert kept.trigger.span == Span("D", 8, 8, 2)
    assert kept.trigger.source == "RUN y"


def test_comments_directly_above_belong_to_an_instruction() -> None:
    text = "# far\n\n# a\n#\n#  b \nFROM x\nRUN a \\\n # inside\n b\n# c\n\nRUN d\n"
    stage = parse(text).stages[0]
    assert stage.base.comments == ("a", "", "b")
    assert [node.comments for node in stage.instructions] == [(), ()]


def test_more_than_one_instruction_is_not_one() -> None:
    with pytest.raises(Exception, match="there is more than one instruction"):
        one("RUN a\nRUN b")


@pytest.mark.parametrize("keyword", INSTRUCTIONS)
def test_every_instruction_has_a_rule_and_a_method(keyword: str) -> None:
    arguments = {
        "SHELL": '["a"]',
        "HEALTHCHECK": "NONE",
        "ONBUILD": "RUN x",
        "ENV": "a=b",
        "LABEL": "a=b",
    }
    line = f"{keyword.title()} {arguments.get(keyword, 'a' if keyword == 'FROM' else 'a b')}\n"
    assert parse(f"FROM x\n{line}").stages


@pytest.mark.parametrize("keyword", sorted(FLAGS))
def test_flags_are_those_of_known_instructions(keyword: str) -> None:
    assert keyword in INSTRUCTIONS


@pytest.mark.parametrize("escape", ["\\", "`"])
@pytest.mark.parametrize("start", ["dockerfile", "instruction"])
def test_the_grammar_is_unambiguous(escape: str, start: str) -> None:
    pytest.importorskip("interegular", reason="lark looks for colliding terminals with it")
    lark_parser(escape, start, strict=True)


def test_importing_the_package_does_not_import_lark() -> None:
    code = (
        "import sys, grammar, grammar.words, grammar.dockerignore, grammar.printer;"
        "sys.exit('lark' in sys.modules or not callable(grammar.parse));"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_parser_is_built_once() -> None:
    assert lark_parser("\\", "dockerfile") is lark_parser("\\", "dockerfile")


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("1.5s", 1_500_000_000),
        (".5m", 30_000_000_000),
        ("1.s", 1_000_000_000),
        ("1h1m1s1ms1us1ns", 3_661_001_001_001),
        ("2µs", 2_000),
        ("2μs", 2_000),
        ("+3s", 3_000_000_000),
        ("-3s", -3_000_000_000),
        ("0.0000000001s", 0),
    ],
)
def test_a_duration(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    "text", ["", "-", "s", "1", "1x", "1 s", "1s1", "٣s", "1e3s", "9999999h", "--1s"]
)
def test_not_a_duration(text: str) -> None:
    with pytest.raises(InvalidDuration):
        parse_duration(text)
