"""From Dockerfiles to plans: nothing is run, and base images are values."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

import grammar
from builder.errors import PlanError
from builder.plan.build_plan import FoundImage, PlanOptions, plan
from builder.plan.steps import (
    ConfigStep,
    CopyStep,
    FromContext,
    FromImage,
    FromStage,
    ImageBase,
    Plan,
    RunStep,
    ScratchBase,
    StageBase,
    WorkdirStep,
)
from grammar.nodes import Heredoc
from runtime.image.digest import Digest
from runtime.image.errors import ImageNotFound
from runtime.image.model import ImageConfig, RuntimeConfig, rfc3339
from runtime.image.platform import Platform

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
IMAGE_ID = Digest("sha256:" + "1" * 64)


class Known:
    """Images by name."""

    def __init__(self, configs: Mapping[str, ImageConfig]) -> None:
        self._configs = configs

    def find(self, reference: str, platform: Platform) -> FoundImage:
        if reference not in self._configs:
            raise ImageNotFound(reference)
        return FoundImage(reference, IMAGE_ID, self._configs[reference])


def base(**config: object) -> ImageConfig:
    runtime = RuntimeConfig(**{"env": (("PATH", PATH),), **config})  # type: ignore[arg-type]
    return ImageConfig(architecture="amd64", created="2023-11-14T22:13:20Z", config=runtime)


def planned(text: str, **options: object) -> Plan:
    images = options.pop("images", {"busybox": base()})
    assert isinstance(images, dict)
    return plan(
        grammar.parse(text),
        PlanOptions(platform=Platform("linux", "amd64"), **options),  # type: ignore[arg-type]
        Known(images),
    )


def runs(result: Plan, stage: int = -1) -> list[RunStep]:
    return [p.step for p in result.stages[stage].steps if isinstance(p.step, RunStep)]


def copies(result: Plan) -> list[CopyStep]:
    return [p.step for p in result.target.steps if isinstance(p.step, CopyStep)]


def test_run_sees_environment_arguments_and_epoch_in_order() -> None:
    result = planned(
        "FROM busybox\nENV A=1 B=$A\nARG C=$A-x\nENV A=2\nWORKDIR /w\nUSER bob\nRUN make $A\n"
    )
    (step,) = runs(result)
    assert step.argv == ("/bin/sh", "-c", "make $A")
    assert step.env == (
        ("PATH", PATH), ("A", "2"), ("B", ""), ("C", "1-x"), ("SOURCE_DATE_EPOCH", "1700000000"),
    )  # fmt: skip
    assert (step.workdir, step.user) == ("/w", "bob")
    assert result.target.config.config.env == (("PATH", PATH), ("A", "2"), ("B", ""))


def test_shell_and_exec_form() -> None:
    result = planned('FROM busybox\nSHELL ["/bin/bash", "-ec"]\nRUN a b\nRUN ["c", "d"]\nCMD e f\n')
    assert [step.argv for step in runs(result)] == [("/bin/bash", "-ec", "a b"), ("c", "d")]
    assert result.target.config.config.cmd == ("/bin/bash", "-ec", "e f")
    assert result.target.config.config.shell == ("/bin/bash", "-ec")


def test_only_what_the_target_needs_is_planned() -> None:
    text = (
        "FROM busybox AS a\nRUN a\nFROM missing AS unused\nRUN x\n"
        "FROM busybox AS b\nCOPY --from=a /x /y\nFROM b AS c\nRUN c\nFROM missing\n"
    )
    result = planned(text, target="C")
    assert [stage.name for stage in result.stages] == ["a", "b", "c"]
    assert result.target.base == StageBase(2)
    assert result.target.needs == (2,)
    assert result.stages[1].needs == (0,)


def test_inputs_of_copies() -> None:
    result = planned(
        "FROM scratch AS a\nFROM busybox\nCOPY --from=A x /\nCOPY --from=0 x /\n"
        "COPY --from=busybox x /\nCOPY x /\n"
    )
    assert [step.input for step in copies(result)] == [
        FromStage(0), FromStage(0), FromImage("busybox", IMAGE_ID), FromContext(),
    ]  # fmt: skip


def test_destinations_keep_that_they_are_directories() -> None:
    result = planned(
        "FROM busybox\nWORKDIR /w\nCOPY a b\nCOPY a b/\nCOPY a .\nCOPY a ..\nCOPY a /x/../y\n"
    )
    assert [step.destination for step in copies(result)] == [
        "/w/b", "/w/b/", "/w/", "/", "/y",
    ]  # fmt: skip


def test_heredocs_of_run_and_copy() -> None:
    result = planned(
        "FROM busybox\nENV A=1\nRUN <<EOF\necho $A\nEOF\nRUN <<X\n#!/bin/awk\nBEGIN {}\nX\n"
        "RUN cat <<-T\n\tb\n\tT\nCOPY <<F <<'G' /d/\n$A\nF\n$A\nG\n"
    )
    first, second, third = runs(result)
    assert first.argv == ("/bin/sh", "-c", "echo $A\n")
    assert second.argv == ("/dev/pipes/X",)
    assert second.scripts[0].content == "#!/bin/awk\nBEGIN {}\n"
    assert third.argv == ("/bin/sh", "-c", "cat <<-T\n\tb\nT")
    files = [s for s in copies(result)[0].sources if isinstance(s, Heredoc)]
    assert [(file.name, file.content) for file in files] == [("F", "1\n"), ("G", "$A\n")]


def test_entrypoint_drops_an_inherited_cmd_but_not_the_stages_own() -> None:
    images = {"busybox": base(cmd=("sh",))}
    kept = planned('FROM busybox\nCMD ["a"]\nENTRYPOINT ["e"]\n', images=images)
    dropped = planned('FROM busybox\nENTRYPOINT ["e"]\n', images=images)
    assert kept.target.config.config.cmd == ("a",)
    assert dropped.target.config.config.cmd is None


def test_triggers_of_a_base_image_run_first_and_once() -> None:
    images = {"busybox": base(on_build=("RUN one", "COPY . /app"))}
    result = planned("FROM busybox AS a\nRUN two\nFROM a\nRUN three\n", images=images)
    assert [step.argv[-1] for step in runs(result, 0)] == ["one", "two"]
    assert [step.argv[-1] for step in runs(result, 1)] == ["three"]
    assert result.target.config.config.on_build == ()


def test_onbuild_is_kept_as_written_and_fires_in_a_child_stage() -> None:
    result = planned("FROM busybox AS a\nONBUILD RUN x\nFROM a\n")
    assert result.stages[0].config.config.on_build == ("RUN x",)
    assert [step.argv[-1] for step in runs(result, 1)] == ["x"]


def test_scratch_has_a_path_a_workdir_and_the_scratch_epoch() -> None:
    result = planned("FROM scratch\n")
    assert result.target.base == ScratchBase()
    assert result.target.config.config.env == (("PATH", PATH),)
    assert result.target.config.config.working_dir == "/"
    assert result.target.epoch == 315532800
    assert planned("FROM scratch\n", epoch=5).target.epoch == 5


def test_build_arguments() -> None:
    text = "ARG IMAGE=busybox\nARG V=1\nFROM $IMAGE\nARG V\nARG W=w\nARG U\nRUN x\n"
    result = planned(text, build_args={"W": "given"})
    assert isinstance(result.target.base, ImageBase)
    env = dict(runs(result)[0].env)
    assert (env["V"], env["W"], "U" in env) == ("1", "given", False)
    texts = [p.created_by for p in result.target.steps]
    assert texts[:3] == ["ARG V=1", "ARG W=given", "ARG U"]
    assert texts[3] == "RUN |2 V=1 W=given /bin/sh -c x # buildkit"


def test_platform_arguments_are_there_when_declared() -> None:
    text = "FROM busybox\nRUN a\nARG TARGETPLATFORM\nARG TARGETARCH TARGETSTAGE\nRUN b\n"
    before, after = runs(planned(text))
    assert "TARGETPLATFORM" not in dict(before.env)
    env = dict(after.env)
    assert env["TARGETPLATFORM"] == "linux/amd64"
    assert (env["TARGETARCH"], env["TARGETSTAGE"]) == ("amd64", "default")


def test_config_instructions() -> None:
    config = planned(
        'FROM busybox\nEXPOSE 80 443/udp\nVOLUME ["/a", "/b"]\nLABEL k=v "a b"=c\nUSER 1:2\n'
        "STOPSIGNAL SIGINT\nMAINTAINER me <me@x>\n"
        "HEALTHCHECK --interval=5s --retries=3 CMD curl localhost\n"
    ).target.config
    assert config.config.exposed_ports == ("443/udp", "80/tcp")
    assert config.config.volumes == ("/a", "/b")
    assert dict(config.config.labels) == {"k": "v", "a b": "c"}
    assert (config.config.user, config.config.stop_signal) == ("1:2", "SIGINT")
    assert config.author == "me <me@x>"
    health = config.config.healthcheck
    assert health is not None
    assert health.test == ("CMD-SHELL", "curl localhost")
    assert (health.interval_ns, health.retries) == (5 * 10**9, 3)


def test_labels_of_the_command_line_win() -> None:
    result = planned("FROM busybox\nLABEL a=1 b=2\n", labels=(("a", "9"),))
    assert dict(result.target.config.config.labels) == {"a": "9", "b": "2"}


def test_workdirs_are_joined_and_root_is_no_step() -> None:
    result = planned("FROM busybox\nWORKDIR a\nWORKDIR b/../c\nWORKDIR /\n")
    steps = [p.step for p in result.target.steps]
    assert steps == [
        WorkdirStep(path="/a", user=""), WorkdirStep(path="/a/c", user=""), ConfigStep(),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (
            "FROM nosuch\n",
            1,
            "nosuch: failed to resolve source metadata for docker.io/library/nosuch:latest:"
            " no such image: nosuch",
        ),
        ("FROM $X\n", 1, r"base name \(\$X\) should not be blank"),
        (
            "FROM busybox AS a\nCOPY --from=b x /\nFROM busybox AS b\nFROM a\n",
            2,
            'cannot copy from stage "b", it needs to be defined before current stage "a"',
        ),
        (
            "FROM busybox AS a\nCOPY --from=a x /\n",
            2,
            "circular dependency detected on stage: a",
        ),
        ("FROM busybox\nCOPY --from=3 x /\n", 2, "invalid stage index 3"),
        ("FROM busybox\nCOPY --chmod=64a x /\n", 2, "invalid chmod parameter: '64a'"),
        ("FROM busybox\nVOLUME $X\n", 2, "VOLUME specified can not be an empty string"),
        ("FROM busybox\nEXPOSE x\n", 2, "invalid containerPort: x"),
        ("FROM busybox\nSTOPSIGNAL x\n", 2, "invalid signal: x"),
        ("FROM busybox\nRUN --network=x y\n", 2, 'invalid network mode "x"'),
        ("FROM busybox\nRUN --security=x y\n", 2, 'security "x" is not valid'),
        ("FROM busybox\n\nRUN --mount=typ=tmpfs x\n", 3, "unexpected key 'typ'"),
        ('FROM busybox\nENV A="${B:?no B}"\n', 2, "no B"),
        ("FROM busybox\nADD --checksum=sha256:0 x /\n", 2, "checksum requires"),
    ],
)
def test_plans_that_cannot_be(text: str, line: int, message: str) -> None:
    with pytest.raises(PlanError, match=message) as caught:
        planned(text)
    assert caught.value.span is not None
    assert caught.value.span.first == line


def test_a_mistyped_target() -> None:
    with pytest.raises(
        PlanError, match=r'target stage "bulid" could not be found \(did you mean build\?\)'
    ):
        planned("FROM busybox AS build\nFROM busybox\n", target="bulid")


@pytest.mark.parametrize(
    ("text", "options", "epoch", "created"),
    [
        ("FROM busybox\n", {}, 1700000000, 1700000000),
        ("FROM scratch\n", {}, 315532800, 315532800),
        ("FROM busybox\n", {"committed": 1600000000}, 1700000000, 1700000000),
        ("FROM busybox\n", {"committed": 1800000000}, 1700000000, 1800000000),
        ("FROM busybox\n", {"committed": 1800000000, "epoch": 5}, 5, 5),
        ("FROM busybox\n", {"epoch": 5, "build_args": {"SOURCE_DATE_EPOCH": "6"}}, 6, 6),
        ("FROM busybox\n", {"build_args": {"SOURCE_DATE_EPOCH": ""}}, 1700000000, 1700000000),
        ("ARG SOURCE_DATE_EPOCH=8\nFROM busybox\n", {}, 8, 8),
        ("ARG SOURCE_DATE_EPOCH=8\nFROM busybox\n", {"epoch": 9}, 9, 9),
        ("ARG SOURCE_DATE_EPOCH=context\nFROM busybox\n", {"committed": 7}, 7, 7),
        ("ARG SOURCE_DATE_EPOCH=context\nFROM busybox\n", {}, 1700000000, 1700000000),
    ],
)
def test_the_epoch_and_when_an_image_is_created(
    text: str, options: dict[str, object], epoch: int, created: int
) -> None:
    result = planned(text + "ARG SOURCE_DATE_EPOCH\nRUN true\n", **options).target
    assert result.epoch == epoch
    assert result.config.created == rfc3339(created)
    (step,) = (p.step for p in result.steps if isinstance(p.step, RunStep))
    assert dict(step.env)["SOURCE_DATE_EPOCH"] == str(epoch)


@pytest.mark.parametrize("value", ["yesterday", "-1", "1e9", "٣", "999999999999"])
def test_an_epoch_that_is_none(value: str) -> None:
    with pytest.raises(PlanError, match="invalid SOURCE_DATE_EPOCH") as caught:
        planned(f"# c\nARG SOURCE_DATE_EPOCH={value}\nFROM busybox\n")
    assert caught.value.span is not None
    assert caught.value.span.first == 2
    assert "seconds since 1970" in (caught.value.hint or "")
