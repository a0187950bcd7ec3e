"""Ten thousand Dockerfiles that somebody's editor, merge or disk has spoilt.

Each goes through the parser, the planner, the linter and the questions that `--call` asks. What
comes out is a result or an error of ours that says where in the file it is; never a traceback.
The texts are the fixtures', changed by a generator with a fixed seed: a failure names the text.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.cache.keys import identity
from builder.errors import BuildError
from builder.plan.build_plan import FoundImage, PlanOptions, plan, plan_every_stage
from builder.plan.checks import read_options, surroundings
from builder.plan.describe import outline, targets
from grammar import DockerfileError, parse
from grammar.lint import lint
from grammar.nodes import Span
from grammar.to_json import to_json
from runtime.image.digest import Digest
from runtime.image.model import ImageConfig, RuntimeConfig
from runtime.image.platform import Platform
from runtime.image.reference import Reference
from support.bases import REPOSITORY

TEXTS = 10_000
SHARDS = 8

EVERYTHING = rb"""# syntax=docker/dockerfile:1
# escape=\
# check=skip=JSONArgsRecommended
ARG BASE=busybox TAG
FROM scratch AS other
# base what the rest stands on
FROM --platform=$TARGETPLATFORM ${BASE}:${TAG:-latest} AS base
ARG GREETING="hello \"you\"" EMPTY TARGETARCH
ENV A=1 B="two words" C='$A' D=$A\ b
ENV legacy the rest of it
LABEL org.example.title="${GREETING%o*}" key=v
SHELL ["/bin/sh", "-euc"]
WORKDIR /srv/${A}
WORKDIR below
COPY --chown=1000:1000 --chmod=u=rwX,go=rX --link src/*.py lib[0-9] ./
COPY --parents --exclude=*.md --exclude=!keep.md a/./b/**/c.txt /parents/
COPY ["a b", "c", "/d d/"]
COPY <<one <<-'two three' /texts/
$A ${B} \$C
one
	tab $A
	two three
ADD --checksum=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef \
    http://127.0.0.1:1/x.tar.gz /
ADD --keep-git-dir=true --unpack=false https://127.0.0.1/r.git#main:sub /git
RUN --mount=type=bind,from=other,source=/etc,target=/e,readwrite \
    --mount=type=cache,id=c,target=/c,sharing=locked,mode=0700,uid=1,gid=2 \
    # a comment in between
    --mount=type=tmpfs,target=/t,size=64m --mount=type=secret,id=s,env=S,required=true \
    --mount=type=ssh,id=default,mode=0600 --network=none --security=sandbox \
    echo "$A" && \

    true
RUN <<EOF
#!/bin/sh
echo ${#A}
EOF
RUN ["/bin/true", "\u00e9\n"]
FROM base as Second
ONBUILD RUN <<E
echo on build
E
ONBUILD COPY --from=other a b
EXPOSE 80 443/tcp 8000-8010/udp
VOLUME /data /v
VOLUME ["/x", "/y"]
USER ${USERNAME:-nobody}:${GROUP:-nogroup}
STOPSIGNAL ${SIGNAL:-SIGTERM}
HEALTHCHECK --interval=5s --timeout=1m30s --start-period=0s --start-interval=1s --retries=3 \
    CMD curl -f http://localhost/ || exit 1
HEALTHCHECK NONE
MAINTAINER someone <someone@example.com>
ENTRYPOINT ["a", "b"]
CMD c ${d}
FROM scratch
COPY --from=second /data /data
COPY --from=0 / /copy
FROM busybox:onbuild as last
RUN echo ${A:?not set} ${B/1/2} ${C//a/$1} ${D##*/}
"""

PIECES = (
    *(b" ", b"\t", b"\n", b"\r\n", b"\\", b"\\\n", b"`", b'"', b"'", b"$", b"${", b"}", b":", b"="),
    *(b"#", b"/", b"<<", b"<<-", b"<<EOF", b"EOF", b"[", b"]", b",", b"--", b"-", b"@", b"*", b"!"),
    *(b"\0", b"\x1b", b"\x7f", b"\x80", b"\xff", b"\xc3", "é".encode(), "\u2028".encode()),
    *("\U0001f433".encode(), "\ufeff".encode(), b"\xed\xa0\x80", b"\v", b"\f", b"0", b"-1"),
    *(b"99999999999999999999", b"0x10", b"08", b"1e9", b"~", b"^", b"%", b"//", b"/./", b"/../"),
    *(b"${a:-${b:+${c}}}", b"${a?}", b"${a#[}", b"${a/", b"${}", b"${#a}", b"$$", b"$1", b"${a^^}"),
    *(b"scratch", b"context", b"base", b"linux/arm64/v8", b"windows/amd64", b"sha256:", b"0/tcp"),
    *(b"--from=9 ", b"--from=", b"--link ", b"--chown= ", b"--chmod=9 ", b"--mount= ", b"--mount="),
    *(b"--platform= ", b"--interval=1ns ", b"--retries=-1 ", b"--checksum=x ", b"--exclude=[ "),
    *(b"type=bind,", b"target=/,", b"size=-1,", b"sharing=none,", b"mode=9,", b"uid=-1,", b'"'),
    *(b"\nFROM ", b"\nARG ", b"\nRUN ", b"\nCOPY ", b"\nONBUILD ", b"\nENV ", b"\nUSER ", b" AS "),
    *(b"\n# escape=`\n", b"# check=skip=all;error=true\n", b"# check=x=y\n", b"\n#syntax=a\n"),
    *(b"https://127.0.0.1/r.git?ref=a&checksum=b", b"git@127.0.0.1:r.git#:", b"http://[::1"),
)  # fmt: skip

Mutation = Callable[[random.Random, bytes, list[bytes]], bytes]


def seeds() -> list[bytes]:
    """The Dockerfiles to start from: ours, and the recorded ones where they are at hand."""
    found = sorted((REPOSITORY / "fixtures" / "Dockerfiles").glob("**/Dockerfile"))
    recorded = REPOSITORY.parent / "shared" / "conformance" / "parse"
    found += sorted(recorded.glob("*/Dockerfile"))
    return [*[EVERYTHING] * 12, *(path.read_bytes() for path in found)]


def change_byte(rng: random.Random, text: bytes, _: list[bytes]) -> bytes:
    place = rng.randrange(len(text) + 1)
    return text[:place] + bytes([rng.randrange(256)]) + text[place + 1 :]


def drop_bytes(rng: random.Random, text: bytes, _: list[bytes]) -> bytes:
    place = rng.randrange(len(text) + 1)
    return text[:place] + text[place + rng.randrange(1, 12) :]


def add_piece(rng: random.Random, text: bytes, _: list[bytes]) -> bytes:
    place = rng.randrange(len(text) + 1)
    return text[:place] + rng.choice(PIECES) + text[place:]


def replace_piece(rng: random.Random, text: bytes, _: list[bytes]) -> bytes:
    place = rng.randrange(len(text) + 1)
    return text[:place] + rng.choice(PIECES) + text[place + rng.randrange(1, 8) :]


def repeat_bytes(rng: random.Random, text: bytes, _: list[bytes]) -> bytes:
    place = rng.randrange(len(text) + 1)
    part = text[place : place + rng.randrange(1, 24)]
    return text[:place] + part * rng.choice((2, 3, 40)) + text[place:]


def cut_short(rng: random.Random, text: bytes, _: list[bytes]) -> bytes:
    return text[: rng.randrange(len(text) + 1)]


def drop_line(rng: random.Random, text: bytes, _: list[bytes]) -> bytes:
    lines = text.split(b"\n")
    del lines[rng.randrange(len(lines))]
    return b"\n".join(lines)


def swap_lines(rng: random.Random, text: bytes, _: list[bytes]) -> bytes:
    lines = text.split(b"\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"\n".join(lines)


def join_lines(rng: random.Random, text: bytes, _: list[bytes]) -> bytes:
    lines = text.split(b"\n")
    place = rng.randrange(len(lines))
    lines[place : place + 2] = [b" ".join(lines[place : place + 2])]
    return b"\n".join(lines)


def borrow_lines(rng: random.Random, text: bytes, others: list[bytes]) -> bytes:
    lines, borrowed = text.split(b"\n"), rng.choice(others).split(b"\n")
    start, place = rng.randrange(len(borrowed)), rng.randrange(len(lines) + 1)
    lines[place:place] = borrowed[start : start + rng.randrange(1, 4)]
    return b"\n".join(lines)


MUTATIONS: tuple[Mutation, ...] = (
    *(change_byte, drop_bytes, add_piece, add_piece, replace_piece, replace_piece, repeat_bytes),
    *(cut_short, drop_line, swap_lines, join_lines, borrow_lines, borrow_lines),
)


def mutated(rng: random.Random, texts: list[bytes]) -> bytes:
    text = rng.choice(texts)
    for _ in range(rng.choice((1, 1, 2, 2, 3, 5))):
        text = rng.choice(MUTATIONS)(rng, text, texts)
    return text


class OneImage:
    """Every well-formed name is the same image; one tag of it has triggers."""

    def find(self, reference: str, platform: Platform) -> FoundImage:
        Reference.parse(reference)
        runtime = RuntimeConfig(env=(("PATH", "/bin"),))
        if reference.endswith("onbuild"):
            triggers = ("RUN echo $A", "COPY --from=base a b", "ARG X\n", "COPY <<E /e\n$X\nE")
            runtime = RuntimeConfig(env=(("PATH", "/bin"),), on_build=triggers)
        config = ImageConfig(architecture="amd64", created="2023-11-14T22:13:20Z", config=runtime)
        return FoundImage(reference, Digest("sha256:" + "1" * 64), config)


OPTIONS = PlanOptions(platform=Platform("linux", "amd64"), build_args={"TAG": "1", "EMPTY": ""})


def well_placed(span: Span | None, text: bytes) -> bool:
    return span is not None and 1 <= span.first <= span.last <= text.count(b"\n") + 1


def carried(text: bytes) -> tuple[str, DockerfileError | BuildError | None]:
    """How far a text gets, and the error that ended it."""
    try:
        dockerfile = parse(text)
        check = read_options(dockerfile, text.decode(), OPTIONS)
    except DockerfileError as error:
        return "refused", error
    json.dumps(to_json(dockerfile))
    targets(dockerfile)
    for finding in lint(dockerfile, check, surroundings(OPTIONS, OneImage(), None)):
        assert well_placed(finding.span, text), finding
        assert finding.message.isprintable(), finding
    try:
        outline(dockerfile, OPTIONS)
        plan_every_stage(dockerfile, OPTIONS, OneImage())
        identity(plan(dockerfile, OPTIONS, OneImage()))
    except BuildError as error:
        return "impossible", error
    return "planned", None


def judge(text: bytes) -> str:
    """How far a text gets; an `AssertionError` where an error of it has no place."""
    came, error = carried(text)
    if error is not None:
        assert error.message
        assert well_placed(error.span, text), error
    return came


def test_the_dockerfile_with_everything_in_it_is_planned() -> None:
    assert judge(EVERYTHING) == "planned"


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_spoilt_dockerfile_is_planned_or_refused_with_its_place(
    shard: int, tmp_path: Path
) -> None:
    rng = random.Random(f"dockerfiles {shard}")
    texts = seeds()
    came = {"refused": 0, "impossible": 0, "planned": 0}
    for number in range(TEXTS // SHARDS):
        text = mutated(rng, texts)
        try:
            came[judge(text)] += 1
        except Exception as error:
            kept = tmp_path / "Dockerfile"
            kept.write_bytes(text)
            raise AssertionError(f"text {number} of shard {shard}, kept as {kept}") from error
    # The mutations are neither so wild nor so mild that one of the three is hardly tried.
    assert min(came.values()) > TEXTS // SHARDS // 20, came
