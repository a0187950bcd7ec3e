"""`--build-context`: what a name means then, in a plan and in an option."""

from __future__ import annotations

from pathlib import Path

import pytest

import grammar
from builder.errors import OptionError
from builder.plan.build_plan import FoundImage, PlanOptions, plan
from builder.plan.named_contexts import (
    NamedContext,
    NamedContexts,
    NamedDirectory,
    NamedImage,
    find_named,
    parse_named_contexts,
)
from builder.plan.remote_names import RemoteFile, Repository
from builder.plan.steps import (
    BindRequest,
    CopyStep,
    FromImage,
    FromNamed,
    FromNothing,
    ImageBase,
    NamedBase,
    Plan,
    RunStep,
    ScratchBase,
)
from runtime.image.digest import Digest
from runtime.image.model import ImageConfig
from runtime.image.platform import Platform

AMD64 = Platform("linux", "amd64")
HERE = NamedDirectory("/here")
ID = Digest("sha256:" + "1" * 64)


class AnyImage:
    def find(self, reference: str, platform: Platform) -> FoundImage:
        return FoundImage(reference, ID, ImageConfig(architecture="amd64"))


def planned(text: str, target: str | None = None, **contexts: NamedContext) -> Plan:
    options = PlanOptions(platform=AMD64, target=target, contexts=contexts)
    return plan(grammar.parse(text), options, AnyImage())


def parsed(*texts: str) -> NamedContexts:
    return parse_named_contexts(texts)


def test_values_say_what_they_are(tmp_path: Path) -> None:
    assert parsed(
        f"a={tmp_path}",
        "docker.io/library/b:latest=docker-image://alpine",
        "c:1=oci-layout:///x:tag",
        "d=https://h/x.git#main",
        "e=https://h/x.tar",
        "f::linux/amd64=docker-image://f",
        "a=docker-image://last",
    ) == {
        "a": NamedImage("docker.io/library/last:latest"),
        "b": NamedImage("docker.io/library/alpine:latest"),
        "c:1": NamedImage("oci-layout:///x:tag"),
        "d": Repository(url="https://h/x.git", ref="main"),
        "e": RemoteFile(url="https://h/x.tar"),
        "f::linux/amd64": NamedImage("docker.io/library/f:latest"),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "invalid --build-context"),
        ("=x", "invalid --build-context"),
        ("a=/no/such/directory", "not found"),
        ("a=/dev/null", "is not a directory"),
        ("a=docker-image://A B", "invalid reference"),
        ("a=target:b", "for bake files only"),
        ("a=https://h/x.git#a..b", "invalid git ref"),
        ("a::linux/=docker-image://a", "invalid platform"),
        ("scratch=.", "always means the same"),
        ("context=.", "always means the same"),
    ],
)
def test_options_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parsed(text)


@pytest.mark.parametrize("name", ["a", "a:latest", "docker.io/library/a", "library/a:latest"])
def test_a_name_is_found_however_it_is_written(name: str) -> None:
    assert find_named({"a": HERE}, name, AMD64) == ("a", HERE)


def test_a_platform_of_its_own_comes_first() -> None:
    contexts: NamedContexts = {"a": HERE, "a::linux/amd64": NamedImage("b")}
    assert find_named(contexts, "a", AMD64) == ("a::linux/amd64", NamedImage("b"))
    assert find_named(contexts, "a", Platform("linux", "arm64")) == ("a", HERE)


def test_bases_copies_and_mounts_take_it() -> None:
    target = planned(
        "FROM base:latest\nCOPY --from=base x /\nRUN --mount=from=base,target=/m true\n", base=HERE
    ).target
    copy, run = (planned.step for planned in target.steps)
    assert isinstance(copy, CopyStep)
    assert isinstance(run, RunStep)
    assert target.base == NamedBase("base")
    assert copy.input == FromNamed("base")
    assert run.mounts == (BindRequest(target="/m", input=FromNamed("base")),)


def test_an_image_is_taken_for_another() -> None:
    target = planned("FROM base\nCOPY --from=base x /\n", base=NamedImage("other")).target
    assert isinstance(target.base, ImageBase)
    assert target.base.reference == "other"
    step = target.steps[0].step
    assert isinstance(step, CopyStep)
    assert step.input == FromImage("other", ID)


def test_a_stage_of_that_name_is_replaced_whole() -> None:
    text = "FROM one AS first\nRUN true\nFROM two AS second\nCOPY --from=first x /\nFROM first\n"
    copying = planned(text, "second", first=HERE)
    step = copying.target.steps[0].step
    assert isinstance(step, CopyStep)
    assert step.input == FromNamed("first")
    assert len(copying.stages) == 1
    assert planned(text, first=HERE).target.base == NamedBase("first")
    by_stage = planned(text.replace("=first", "=FIRST"), "second", first=HERE)
    assert by_stage.stages[0].base == NamedBase("first")
    replaced = planned(text, "first", first=HERE).target
    assert (replaced.base, replaced.steps) == (NamedBase("first"), ())


def test_scratch_always_means_the_same() -> None:
    target = planned("FROM scratch\nCOPY --from=scratch x /\n", scratch=HERE).target
    step = target.steps[0].step
    assert target.base == ScratchBase()
    assert isinstance(step, CopyStep)
    assert step.input == FromNothing()
