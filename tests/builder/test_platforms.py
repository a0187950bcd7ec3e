"""Platforms: which is built for, what suits it, what can be run; and what a step is given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

import grammar
from builder.commands.values import host_address
from builder.errors import OptionError, PlanError
from builder.plan.build_plan import FoundImage, PlanOptions, plan
from builder.plan.platforms import check_runnable, handlers, parse_platforms
from builder.plan.steps import ImageBase, Plan, RunStep
from runtime.image.digest import Digest
from runtime.image.errors import ImageNotFound
from runtime.image.model import ImageConfig
from runtime.image.platform import Platform, default_platform, suits
from runtime.sandbox.rlimits import InvalidUlimit, parse_ulimit
from runtime.sandbox.spec import merged_rlimits

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
# As Debian's qemu-user-static registers it.
AARCH64 = """\
enabled
interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P
flags: {flags}
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
"""


class Known:
    def __init__(self, platforms: Mapping[str, Platform]) -> None:
        self._platforms = platforms

    def find(self, reference: str, platform: Platform) -> FoundImage:
        if reference not in self._platforms:
            raise ImageNotFound(reference)
        platform = self._platforms[reference]
        config = ImageConfig(architecture=platform.architecture, variant=platform.variant)
        return FoundImage(reference, Digest("sha256:" + "1" * 64), config)


IMAGES = {"amd": AMD64, "arm": ARM64, "armv6": Platform("linux", "arm", "v6")}


def planned(text: str, platform: Platform = ARM64, build: Platform = AMD64) -> Plan:
    options = PlanOptions(platform=platform, build_platform=build)
    return plan(grammar.parse(text), options, Known(IMAGES))


def test_platforms_are_taken_once() -> None:
    assert parse_platforms(()) == ()
    assert parse_platforms(("arm64",)) == (ARM64,)
    assert parse_platforms(("linux/aarch64", "linux/arm64/v8")) == (ARM64,)
    assert parse_platforms(("local",)) == (default_platform(),)
    assert parse_platforms(("linux/arm64,linux/riscv64",)) == (ARM64, Platform("linux", "riscv64"))
    with pytest.raises(OptionError, match="only images for linux"):
        parse_platforms(("windows/amd64",))
    with pytest.raises(OptionError, match="--platform"):
        parse_platforms(("a/b/c/d",))


def test_what_suits_what() -> None:
    assert suits(ARM64, Platform("linux", "arm64", "v8"))
    assert suits(Platform("linux", ""), ARM64)
    assert suits(Platform("linux", "arm", "v6"), Platform("linux", "arm", "v7"))
    assert not suits(Platform("linux", "arm", "v7"), Platform("linux", "arm", "v6"))
    assert not suits(AMD64, ARM64)


def test_cross_building_has_two_platforms() -> None:
    result = planned(
        "FROM --platform=$BUILDPLATFORM amd AS build\n"
        "ARG TARGETARCH BUILDARCH TARGETPLATFORM BUILDPLATFORM\nRUN make\n"
        "FROM scratch\nCOPY --from=build /app /\n"
    )
    (run,) = [p.step for p in result.stages[0].steps if isinstance(p.step, RunStep)]
    env = dict(run.env)
    assert (env["TARGETARCH"], env["BUILDARCH"]) == ("arm64", "amd64")
    assert (env["TARGETPLATFORM"], env["BUILDPLATFORM"]) == ("linux/arm64", "linux/amd64")
    assert isinstance(result.stages[0].base, ImageBase)
    assert result.stages[0].config.architecture == "amd64"
    assert result.target.config.architecture == "arm64"
    check_runnable(result, AMD64, "/nonexistent")


def test_a_stage_is_of_the_platform_of_the_stage_it_is_from() -> None:
    result = planned("FROM --platform=linux/amd64 scratch AS a\nFROM a\nCOPY x /\n")
    assert result.target.config.architecture == "amd64"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM --platform=$NOSUCH arm\n", "empty platform value from expression"),
        ("FROM --platform=a/b/c/d arm\n", "a/b/c/d"),
    ],
)
def test_platforms_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(PlanError, match=message) as caught:
        planned(text)
    assert caught.value.span is not None


@pytest.mark.parametrize("text", ["FROM amd\n", "FROM amd\nRUN true\n"])
def test_an_image_of_another_platform_is_taken_as_it_is(text: str) -> None:
    """BuildKit warns of it (the linter's InvalidBaseImagePlatform), and goes on."""
    result = planned(text)
    assert result.target.config.architecture == "amd64"
    check_runnable(result, AMD64, "/nonexistent")


def test_a_run_for_a_foreign_platform_needs_an_emulator(tmp_path: Path) -> None:
    result = planned("FROM arm\nCOPY a /\nRUN true\n")
    with pytest.raises(
        PlanError, match=r"cannot run a command for linux/arm64 on linux/amd64"
    ) as e:
        check_runnable(result, AMD64, str(tmp_path / "nosuch"))
    assert e.value.span is not None
    assert e.value.span.first == 3
    assert "qemu-user-static" in (e.value.hint or "")
    (tmp_path / "status").write_text("enabled\n")
    (tmp_path / "register").write_text("")
    (tmp_path / "qemu-aarch64").write_text(AARCH64.format(flags="PO"))
    with pytest.raises(PlanError, match="has not the flag F"):
        check_runnable(result, AMD64, str(tmp_path))
    (tmp_path / "qemu-aarch64").write_text(AARCH64.format(flags="POCF"))
    check_runnable(result, AMD64, str(tmp_path))
    (handler,) = handlers(str(tmp_path))
    assert handler.interpreter.endswith("aarch64-binfmt-P")
    (tmp_path / "qemu-aarch64").write_text("disabled\n")
    with pytest.raises(PlanError, match="no emulator is registered for it"):
        check_runnable(result, AMD64, str(tmp_path))


def test_what_needs_no_emulator() -> None:
    check_runnable(planned("FROM arm\nCOPY a /\n"), AMD64, "/nonexistent")
    check_runnable(planned("FROM arm\nRUN true\n", build=ARM64), ARM64, "/nonexistent")


def test_limits() -> None:
    assert parse_ulimit("nofile=1024:2048") == (7, 1024, 2048)
    assert parse_ulimit("nproc=5") == (6, 5, 5)
    assert parse_ulimit("core=0:-1") == (4, 0, -1)
    assert merged_rlimits(()) == ((7, 1024, 524288),)
    assert merged_rlimits(((7, 1, 2), (6, 3, 3), (7, 4, 5))) == ((7, 4, 5), (6, 3, 3))


@pytest.mark.parametrize("text", ["x=1", "nofile", "nofile=", "nofile=2:1", "cpu=-1:5", "core=-2"])
def test_limits_that_cannot_be(text: str) -> None:
    with pytest.raises(InvalidUlimit, match="ulimit"):
        parse_ulimit(text)


def test_hosts() -> None:
    assert host_address("a:1.2.3.4") == ("a", "1.2.3.4")
    assert host_address("a=[::1]") == ("a", "::1")
    assert host_address("a:host-gateway") == ("a", "127.0.0.1")
    with pytest.raises(OptionError, match="invalid IP address in --add-host"):
        host_address("a:1.2")
