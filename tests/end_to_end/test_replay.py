"""A build that changes nothing is answered without one, and any change is seen."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.cli import Lamina, Outcome

pytestmark = [pytest.mark.namespaces, pytest.mark.any_user]

DOCKERFILE = """\
FROM busybox
ARG WHO=nobody
COPY docs /docs
COPY *.txt /texts/
RUN echo $WHO > /who
"""
GRAIN = 0.1
"""Seconds after which a file is old enough to be known by its times."""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "docs" / "deep").mkdir(parents=True)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / ".dockerignore").write_text("*.log\n")
    (folder / "a.txt").write_text("a\n")
    (folder / "noise.log").write_text("noise\n")
    (folder / "docs" / "deep" / "page").write_text("page\n")
    (folder / "docs" / "link").symlink_to("deep/page")
    return folder


def build(lamina: Lamina, *arguments: str | Path, cwd: Path | None = None, **more: str) -> Outcome:
    """A build that also says, on standard error, which modules were imported."""
    environment = {"PYTHONPROFILEIMPORTTIME": "1", **more}
    time.sleep(GRAIN)
    return lamina("build", *arguments, environment=environment, cwd=cwd)


def answered(outcome: Outcome) -> bool:
    return "builder.execution" not in outcome.stderr


def shown(outcome: Outcome) -> list[str]:
    lines = [line for line in outcome.stderr.splitlines() if not line.startswith("import time:")]
    assert lines[-1].startswith("built sha256:")
    return lines[:-1]


def test_the_second_build_says_what_an_ordinary_one_says(
    private_lamina: Lamina, context: Path
) -> None:
    first = build(private_lamina, "-t", "app", context)
    assert not answered(first)
    image = private_lamina.inspect("app")["Id"]
    second = build(private_lamina, "-t", "app", context)
    assert answered(second)
    ordinary = build(private_lamina, "-t", "app", "--no-cache-filter", "none", context)
    assert not answered(ordinary)
    assert shown(second) == shown(ordinary)
    assert f"built {image} in " in second.stderr
    quiet = [build(private_lamina, "-q", "-t", "app", context) for _ in range(2)]
    assert [answered(outcome) for outcome in quiet] == [False, True]
    assert quiet[0].stdout == quiet[1].stdout == f"{image}\n"


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file": lambda folder: (folder / "a.txt").write_text("b\n"),
    "a file of equal size and time": lambda folder: rewrite(folder / "docs/deep/page"),
    "a mode": lambda folder: (folder / "a.txt").chmod(0o600),
    "a new file": lambda folder: (folder / "b.txt").write_text(""),
    "a new file deep down": lambda folder: (folder / "docs/deep/new").write_text(""),
    "a missing file": lambda folder: (folder / "docs/link").unlink(),
    "a link": lambda folder: relink(folder / "docs/link", "deep"),
    "the ignore file": lambda folder: (folder / ".dockerignore").write_text("docs/link\n"),
    "an ignore file of the Dockerfile's": lambda folder: (
        folder / "Dockerfile.dockerignore"
    ).write_text("docs/link\n"),
    "the Dockerfile": lambda folder: (folder / "Dockerfile").write_text(f"{DOCKERFILE}ENV A=b\n"),
}


def rewrite(path: Path) -> None:
    """Other bytes, and all that `touch -r` can hide put back."""
    status = path.stat()
    path.write_text("PAGE\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def relink(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(private_lamina: Lamina, context: Path, change: str) -> None:
    build(private_lamina, "-t", "app", context)
    before = private_lamina.inspect("app")["Id"]
    CHANGES[change](context)
    assert not answered(build(private_lamina, "-t", "app", context))
    assert private_lamina.inspect("app")["Id"] != before


def test_what_is_ignored_changes_nothing(private_lamina: Lamina, context: Path) -> None:
    build(private_lamina, "-t", "app", context)
    (context / "noise.log").write_text("louder\n")
    assert answered(build(private_lamina, "-t", "app", context))


def test_a_context_behind_another_link(
    private_lamina: Lamina, context: Path, tmp_path: Path
) -> None:
    (tmp_path / "other" / "docs").mkdir(parents=True)
    (tmp_path / "other" / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "other" / "z.txt").write_text("z\n")
    relink_to = tmp_path / "here"
    relink_to.symlink_to(context)
    build(private_lamina, "-t", "app", relink_to)
    assert answered(build(private_lamina, "-t", "app", relink_to))
    relink(relink_to, "other")
    assert not answered(build(private_lamina, "-t", "app", relink_to))


def test_the_environment_and_the_directory_count(
    private_lamina: Lamina, context: Path, tmp_path: Path
) -> None:
    call = ("-t", "app", "--build-arg", "WHO", "context")
    build(private_lamina, *call, cwd=tmp_path, WHO="me")
    assert answered(build(private_lamina, *call, cwd=tmp_path, WHO="me"))
    assert not answered(build(private_lamina, *call, cwd=tmp_path, WHO="you"))
    (tmp_path / "elsewhere").mkdir()
    missing = private_lamina("build", *call, cwd=tmp_path / "elsewhere", status=1)
    assert "not found" in missing.stderr or "no such file" in missing.stderr


def test_another_base_of_the_same_name(private_lamina: Lamina, context: Path) -> None:
    build(private_lamina, "-t", "app", context)
    private_lamina.build(context, "busybox")
    assert not answered(build(private_lamina, "-t", "app", context))


def test_names_are_given_again(private_lamina: Lamina, context: Path) -> None:
    build(private_lamina, "-t", "app", "-t", "app:two", context)
    private_lamina("tag", "busybox", "app")
    assert answered(build(private_lamina, "-t", "app", "-t", "app:two", context))
    assert private_lamina.inspect("app")["Id"] == private_lamina.inspect("app:two")["Id"]


def test_a_removed_image_is_built_again(private_lamina: Lamina, context: Path) -> None:
    build(private_lamina, "-t", "app", context)
    private_lamina("rmi", "app")
    assert not answered(build(private_lamina, "-t", "app", context))
    assert private_lamina.inspect("app")


def test_what_is_asked_anew_each_time_is_not_remembered(
    private_lamina: Lamina, context: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    archive = tmp_path / "app.tar"
    for option in (
        ("--no-cache",),
        ("--secret", f"id=x,src={secret}"),
        ("--output", f"type=oci,dest={archive}"),
        ("--iidfile", str(tmp_path / "iid")),
        ("--progress", "json"),
    ):
        for _ in range(2):
            outcome = private_lamina(
                "build", "-t", "app", *option, context, environment={"PYTHONPROFILEIMPORTTIME": "1"}
            )
            assert not answered(outcome), option
