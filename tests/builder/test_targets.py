"""`--call targets` and `--call outline`: what a Dockerfile offers, without running anything."""

from __future__ import annotations

import json

import pytest

import grammar
from builder.commands.calls import (
    Call,
    outline_json,
    outline_text,
    parse_call,
    targets_json,
    targets_text,
)
from builder.errors import OptionError, PlanError
from builder.plan.build_plan import PlanOptions
from builder.plan.describe import Outline, outline, targets
from builder.plan.frontend import foreign_syntax
from runtime.image.platform import Platform

TEXT = """\
# GO version of the compiler
ARG GO=1.22
ARG BASE=golang:$GO
ARG UNUSED=1
# this is about nothing
ARG OTHER

# builder compiles everything
FROM $BASE AS Builder
# FLAGS for the compiler
ARG FLAGS=-v-$GO
ENV HOME=/root
ARG DIR=$HOME/src
RUN --mount=type=secret,id=token,required=true --mount=type=ssh make

FROM scratch AS release
COPY --from=builder /app /
FROM release
ARG LAST
RUN --mount=type=secret,id=token --mount=type=secret,id=other true
"""


def outlined(target: str | None = None, **build_args: str) -> Outline:
    options = PlanOptions(platform=Platform("linux", "amd64"), target=target, build_args=build_args)
    return outline(grammar.parse(TEXT), options)


def values(found: Outline) -> dict[str, str | None]:
    return {argument.name: argument.value for argument in found.arguments}


def test_targets_are_listed_with_descriptions_and_the_default() -> None:
    text = targets_text(targets(grammar.parse(TEXT)))
    assert text.splitlines() == [
        "TARGET      DESCRIPTION",
        "Builder     compiles everything",
        "release",
        "(default)",
    ]


def test_targets_as_json() -> None:
    document = json.loads(targets_json(targets(grammar.parse(TEXT))))
    first, second, last = document["targets"]
    assert first["name"] == "Builder"
    assert first["description"] == "compiles everything"
    assert first["base"] == "$BASE"
    assert first["location"]["ranges"][0]["start"]["line"] == 9
    assert "default" not in second
    assert last["default"] is True


def test_an_outline_has_what_the_needed_stages_take() -> None:
    found = outlined("builder")
    assert (found.name, found.description) == ("builder", "compiles everything")
    # $GO is not visible in a stage that does not declare it.
    assert values(found) == {
        "GO": "1.22", "BASE": "golang:1.22", "FLAGS": "-v-", "DIR": "/root/src",
    }  # fmt: skip
    described = {argument.name: argument.description for argument in found.arguments}
    assert described["GO"] == "version of the compiler"
    assert described["FLAGS"] == "for the compiler"
    assert [(need.name, need.required) for need in found.secrets] == [("token", True)]
    assert [(need.name, need.required) for need in found.agents] == [("default", False)]


def test_an_outline_of_the_default_follows_the_stages() -> None:
    found = outlined()
    assert {"GO", "BASE", "FLAGS", "LAST"} <= values(found).keys()
    assert not {"UNUSED", "OTHER"} & values(found).keys()
    assert [need.name for need in found.secrets] == ["token", "other"]
    assert outlined("release").secrets == found.secrets[:1]


def test_given_arguments_are_the_values() -> None:
    found = outlined("builder", GO="2", FLAGS="-x")
    assert values(found)["BASE"] == "golang:2"
    assert values(found)["FLAGS"] == "-x"


def test_an_outline_as_text_and_json() -> None:
    text = outline_text(outlined("builder"))
    assert "TARGET:        builder" in text
    assert "GO          1.22          version of the compiler" in text
    assert "token    true" in text
    document = json.loads(outline_json(outlined("builder")))
    assert {"GO", "BASE"} <= {argument["name"] for argument in document["args"]}
    assert document["secrets"][0]["required"] is True


def test_an_unknown_target() -> None:
    with pytest.raises(PlanError, match="could not be found"):
        outlined("nosuch")


def test_calls_are_read() -> None:
    assert parse_call("outline") == Call("outline")
    assert parse_call("targets,format=json") == Call("targets", as_json=True)
    with pytest.raises(OptionError, match="unknown --call 'lint'"):
        parse_call("lint")
    with pytest.raises(OptionError, match="unknown option 'x=y'"):
        parse_call("outline,x=y")


@pytest.mark.parametrize(
    ("syntax", "foreign"),
    [
        ("docker/dockerfile:1", False),
        ("docker/dockerfile:1.7-labs", False),
        ("docker.io/docker/dockerfile@sha256:" + "1" * 64, False),
        ("localhost:5000/mirror/docker/dockerfile-upstream:master", False),
        ("example/other:1", True),
    ],
)
def test_only_foreign_frontends_are_noticed(syntax: str, foreign: bool) -> None:
    dockerfile = grammar.parse(f"# syntax={syntax}\nFROM scratch\n")
    assert foreign_syntax(dockerfile, {}) == (syntax if foreign else None)
    assert foreign_syntax(dockerfile, {"BUILDKIT_SYNTAX": "x/y"}) == "x/y"


def test_an_argument_may_have_a_name_that_means_something_in_an_expression() -> None:
    """No word can refer to it, and that is no reason to fail (found by test_mutations)."""
    text = "ARG [::1 (x a$ A\nFROM b${A:-c}\n"
    found = outline(grammar.parse(text), PlanOptions(platform=Platform("linux", "amd64")))
    assert [argument.name for argument in found.arguments] == ["A"]
