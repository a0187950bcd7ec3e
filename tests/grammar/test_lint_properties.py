"""Whatever parses can be linted: no exception, and every finding lies in the text."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from grammar import DockerfileError, parse
from grammar.dockerignore import parse_patterns
from grammar.lint import BaseImage, InvalidCheck, Surroundings, check_options, lint

PIECES = (
    *("$a", "${a:-b}", "${", "${a/b/c}", "$PATH", "$TARGETPLATFORM", "a", "A=b", "/x", ":", "/"),
    *("=", "'", '"', "\\", "\\\n", "\\\n\n", " ", " ", "\t", "\v", "\xa0", "é", "*", "!", "[", "]"),
    *(
        '["a"]',
        "<<E",
        "\nE\n",
        "--platform=",
        "--mount=",
        "--from=",
        "type=cache,target=",
        "80/TCP",
    ),
    *(" AS ", " as B", ",", "#", "\n", "http://x", "1:2:3", "all", ";error=true"),
)
KEYWORDS = (
    *("ADD", "ARG", "arg", "CMD", "COPY", "copy", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "from"),
    *("HEALTHCHECK CMD", "LABEL", "MAINTAINER", "ONBUILD COPY", "ONBUILD", "RUN", "SHELL"),
    *("STOPSIGNAL", "USER", "VOLUME", "WORKDIR", "# check=", "# check=skip=", "# a", "#"),
)
LINES = st.tuples(
    st.sampled_from(KEYWORDS), st.lists(st.sampled_from(PIECES), max_size=5).map("".join)
).map(lambda line: f"{line[0]} {line[1]}\n")
TEXTS = st.tuples(
    st.sampled_from(("", "# check=experimental=all\n", "# check=\v\n", "# escape=`\n", "ARG a\n")),
    st.lists(LINES, min_size=1, max_size=6).map("".join),
).map(lambda parts: f"{parts[0]}FROM base AS one\n{parts[1]}")
SURROUNDINGS = Surroundings(
    build_args={"a": "given"},
    find_base={"base": BaseImage(on_build=("COPY $b /",), platform="linux/x")}.get,
    ignored=parse_patterns("a\n*x\n"),
)


@given(TEXTS)
@settings(max_examples=150, deadline=None)
def test_what_parses_can_be_linted(text: str) -> None:
    with suppress(DockerfileError, InvalidCheck):
        dockerfile = parse(text)
        options = check_options(dockerfile, text)
        for surroundings in (None, SURROUNDINGS):
            found = lint(dockerfile, options, surroundings)
            lines = [finding.span.first for finding in found]
            assert lines == sorted(lines)
            assert all(1 <= line <= text.count("\n") + 1 for line in lines)
            assert len(set(found)) == len(found)
