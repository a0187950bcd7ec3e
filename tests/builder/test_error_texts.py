"""The errors that users know from BuildKit and search for, each by its number in the reference.

(dockerfile.md 1.9.) Ours may say more: file, line, excerpt and remedy; the words stay.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.errors import BuildError
from builder.plan.build_plan import FoundImage, PlanOptions, plan
from builder.plan.checks import plan_checked
from grammar import DockerfileError, parse
from runtime.image.digest import Digest
from runtime.image.errors import ImageNotFound
from runtime.image.model import ImageConfig
from runtime.image.platform import Platform
from runtime.image.reference import Reference
from support.cli import Lamina

OPTIONS = PlanOptions(platform=Platform("linux", "amd64"))


class Busybox:
    """There is one image."""

    def find(self, reference: str, platform: Platform) -> FoundImage:
        if Reference.parse(reference).path != "library/busybox":
            raise ImageNotFound(reference)
        config = ImageConfig(architecture="amd64", created="2023-11-14T22:13:20Z")
        return FoundImage(reference, Digest("sha256:" + "1" * 64), config)


def said(text: str, target: str | None = None) -> str:
    """What parsing and planning a Dockerfile fails with."""
    try:
        dockerfile = parse(text)
        options = PlanOptions(platform=OPTIONS.platform, target=target)
        plan(dockerfile, options, Busybox())
    except (DockerfileError, BuildError) as error:
        return str(error)
    return "nothing"


FROM = "FROM busybox\n"
MOUNT = f"{FROM}RUN --mount="


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "the Dockerfile cannot be empty", id="1"),
        pytest.param("# only\n", "file with no instructions", id="2"),
        pytest.param("ARG A\n", "dockerfile contains no stages to build", id="3"),
        pytest.param("RUN x\n", "no build stage in current context", id="4"),
        pytest.param(
            f"{FROM}RNU x\n",
            "dockerfile parse error on line 2: unknown instruction: RNU (did you mean RUN?)",
            id="5",
        ),
        pytest.param(
            f"{FROM}COPY --form=a b c\n", "unknown flag: --form (did you mean from?)", id="6"
        ),
        pytest.param(
            f"{FROM}COPY --from=a --from=b c d\n", "duplicate flag specified: --from", id="7"
        ),
        pytest.param(f"{FROM}COPY --chown a b\n", "missing a value on flag: --chown", id="8"),
        pytest.param(
            f"{FROM}COPY --link=maybe a b\n",
            "expecting boolean value for flag --link, not: maybe",
            id="9",
        ),
        pytest.param(f"{FROM}RUN\n", "RUN requires at least one argument", id="10"),
        pytest.param(f"{FROM}WORKDIR\n", "WORKDIR requires exactly one argument", id="11"),
        pytest.param(
            f"{FROM}COPY a\n",
            "COPY requires at least two arguments, but only one was provided."
            " Destination could not be determined",
            id="12",
        ),
        pytest.param("FROM a b\n", "FROM requires either one or three arguments", id="13"),
        pytest.param(
            "FROM busybox AS 1a\n",
            'invalid name for build stage: "1a",'
            " name can't start with a number or contain symbols",
            id="14",
        ),
        pytest.param("FROM $A\n", "base name ($A) should not be blank", id="15"),
        pytest.param(
            "FROM Busy/Box\n",
            'failed to parse stage name "Busy/Box": invalid reference format',
            id="16",
        ),
        pytest.param(
            "FROM nosuch:1\n",
            "nosuch:1: failed to resolve source metadata for docker.io/library/nosuch:1: ",
            id="18",
        ),
        pytest.param(
            f'{FROM}RUN ["a", 1]\n',
            "when using JSON array syntax, arrays must be comprised of strings only",
            id="21",
        ),
        pytest.param(f"{FROM}RUN <<E\n", "unterminated heredoc", id="22"),
        pytest.param(
            f"{FROM}ENV a='b\n",
            'failed to process "\'b": unexpected end of statement while looking for matching'
            " single-quote",
            id="23 single",
        ),
        pytest.param(
            f'{FROM}ENV a="b\n',
            'failed to process "\\"b": unexpected end of statement while looking for matching'
            " double-quote",
            id="23 double",
        ),
        pytest.param(
            f"{FROM}ENV a=b c\n",
            'Syntax error - can\'t find = in "c". Must be of the form: name=value',
            id="24",
        ),
        pytest.param(f"{FROM}ENV a\n", "ENV must have two arguments", id="25"),
        pytest.param(f"{FROM}LABEL =a\n", "LABEL names can not be blank", id="26"),
        pytest.param(
            f"{FROM}COPY --from=$a b c\n",
            "variable expansion is not supported for --from, define a new stage with FROM using"
            " ARG from global scope as a workaround",
            id="27",
        ),
        pytest.param(
            f"{MOUNT}from=$a,target=/b true\n",
            "'from' doesn't support variable expansion, define alias stage instead",
            id="28",
        ),
        pytest.param(f"{FROM}COPY --from=9 a b\n", "invalid stage index 9", id="29"),
        pytest.param(f"{MOUNT}what=a true\n", "unexpected key 'what' in 'what=a'", id="30 key"),
        pytest.param(f"{MOUNT}type=what true\n", 'unsupported mount type "what"', id="30 type"),
        pytest.param(
            f"{MOUNT}type=bind,what true\n",
            "invalid field 'what' must be a key=value pair",
            id="30 field",
        ),
        pytest.param(
            f"{MOUNT}type=cache,target=/a,sharing=what true\n",
            'unsupported sharing value "what"',
            id="30 sharing",
        ),
        pytest.param(
            f"{MOUNT}type=bind,target=/a,mode=0755 true\n",
            'mode not allowed for "bind" type mounts',
            id="30 mode",
        ),
        pytest.param(
            f"{MOUNT}type=secret true\n",
            "invalid secret mount. one of source, target required",
            id="31",
        ),
        pytest.param(
            f"{FROM}RUN --network=what true\n", 'invalid network mode "what"', id="33 network"
        ),
        pytest.param(
            f"{FROM}RUN --security=what true\n", 'security "what" is not valid', id="33 security"
        ),
        pytest.param(
            f"{FROM}HEALTHCHECK what x\n",
            'Unknown type "WHAT" in HEALTHCHECK (try CMD)',
            id="34 type",
        ),
        pytest.param(
            f"{FROM}HEALTHCHECK CMD\n", "Missing command after HEALTHCHECK CMD", id="34 command"
        ),
        pytest.param(
            f"{FROM}HEALTHCHECK --interval=1ns CMD x\n",
            'Interval "interval" cannot be less than 1ms',
            id="34 interval",
        ),
        pytest.param(
            f"{FROM}ONBUILD ONBUILD RUN x\n",
            "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
            id="35 chain",
        ),
        pytest.param(
            f"{FROM}ONBUILD FROM x\n", "FROM isn't allowed as an ONBUILD trigger", id="35 from"
        ),
        pytest.param(f"{FROM}EXPOSE what\n", "invalid containerPort: what", id="36 port"),
        pytest.param(
            f"{FROM}EXPOSE 80/what\n", 'invalid port: "80/what": invalid proto: what', id="36 proto"
        ),
        pytest.param(
            "FROM busybox AS a\nCOPY --from=a b c\n",
            "circular dependency detected on stage: a",
            id="38",
        ),
        pytest.param(
            "FROM --platform=$A busybox\n", "empty platform value from expression $A", id="39"
        ),
    ],
)
def test_the_words_of_error(text: str, message: str) -> None:
    assert message in said(text)


def test_the_words_of_error_17() -> None:
    message = 'target stage "biuld" could not be found (did you mean build?)'
    assert message in said("FROM busybox AS build\n", target="biuld")


def test_the_words_of_error_40() -> None:
    text = "# check=error=true\nFROM busybox as Base\n"
    told: list[object] = []
    with pytest.raises(BuildError) as caught:
        plan_checked(parse(text), text, OPTIONS, Busybox(), Busybox(), None, told.append)
    message = "lint violation found for rules: FromAsCasing, StageNameCasing"
    assert str(caught.value) == message
    assert len(told) == 2


@pytest.mark.namespaces
@pytest.mark.parametrize(
    ("step", "message"),
    [
        pytest.param(
            "COPY nosuch /", 'failed to calculate checksum of ref context: "/nosuch": not found',
            id="19",
        ),
        pytest.param(
            "RUN exit 3",
            'process "/bin/sh -c exit 3" did not complete successfully: exit code: 3',
            id="20",
        ),
        pytest.param(
            "RUN --mount=type=secret,id=what,required=true true", "secret what: not found", id="32"
        ),
    ],
)  # fmt: skip
def test_the_words_of_error_of_a_step(
    lamina: Lamina, tmp_path: Path, step: str, message: str
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM busybox\n{step}\n")
    outcome = lamina("build", tmp_path, status=1)
    assert f"ERROR: failed to solve: {message}" in outcome.stderr
    assert "Dockerfile:2" in outcome.stderr


def test_the_words_of_error_37(lamina: Lamina, tmp_path: Path) -> None:
    outcome = lamina("build", tmp_path, status=1)
    message = "failed to read dockerfile: open Dockerfile: no such file or directory"
    assert message in outcome.stderr
