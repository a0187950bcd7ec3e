"""Each folder under fixtures/Dockerfiles is built and run, and does what it says."""

from __future__ import annotations

import signal
import subprocess
import tarfile
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from support import fixtures
from support.bases import BUSYBOX, DEBIAN
from support.cli import Lamina, Outcome, check
from support.fixtures import ExpectedRun, Fixture

pytestmark = pytest.mark.namespaces


def cases() -> list[ParameterSet]:
    """The Debian ones share their first steps: one worker builds them, one after another."""
    return [
        pytest.param(
            fixture,
            id=fixture.path.name,
            marks=_marks(fixture),
        )
        for fixture in fixtures.valid()
    ]


def _marks(fixture: Fixture) -> list[pytest.MarkDecorator]:
    marks = [pytest.mark.xdist_group("debian")] if fixture.needs_debian else []
    if fixture.path.name in ("hello", "multi-stage-c", "python-app"):
        marks.append(pytest.mark.single_id)
    return marks


def finish(process: subprocess.Popen[str], run: ExpectedRun, command: str) -> None:
    """Wait for a container that was started, and compare what it did."""
    with process:
        stdout = ""
        if run.signal_after is not None:
            assert process.stdout is not None
            while run.signal_after not in stdout.splitlines():
                line = process.stdout.readline()
                assert line, f"ended before it wrote {run.signal_after!r}: {stdout!r}"
                stdout += line
            process.send_signal(signal.Signals[run.signal])
        rest, stderr = process.communicate(timeout=120)
    outcome = Outcome(
        command=command, status=process.returncode, stdout=stdout + rest, stderr=stderr
    )
    assert check(outcome, run.status).stdout == run.stdout


def tree(file: Path) -> dict[str, str]:
    """Every path in a tar, as `ExpectedImage.tree` has it."""
    found = {}
    with tarfile.open(file) as archive:
        for member in archive:
            what = "d" if member.isdir() else "l" if member.issym() else "f"
            content = member.linkname
            if member.isreg():
                opened = archive.extractfile(member)
                assert opened is not None
                content = opened.read().decode()
            words = f"{what} {member.mode:o} {member.uid}:{member.gid} {content}"
            found["/" + member.name] = words.removesuffix(" ")
    return found


@pytest.mark.parametrize("fixture", cases())
def test_builds_and_runs(fixture: Fixture, lamina: Lamina, tmp_path: Path) -> None:
    lamina.need(DEBIAN if fixture.needs_debian else BUSYBOX)
    for image in fixture.images:
        target = ("--target", image.target) if image.target else ()
        options = [option.format(folder=fixture.path) for option in image.options]
        lamina.build(fixture.path, image.name, *target, *options)
        description = lamina.inspect(image.name)
        config = description["Config"]
        assert {key: config.get(key) for key in image.config} == image.config
        if image.layers is not None:
            assert len(description["RootFS"]["Layers"]) == image.layers
        if image.tree is not None:
            file = tmp_path / "tree.tar"
            lamina.build(fixture.path, image.name, *options, "-o", f"type=tar,dest={file}")
            assert tree(file) == image.tree

    # All at once: each sees its own image, and nothing of the others.
    arguments = [("run", "--rm", *run.options, run.image, *run.command) for run in fixture.runs]
    started = [lamina.start(*words) for words in arguments]
    for process, run, words in zip(started, fixture.runs, arguments, strict=True):
        finish(process, run, " ".join(words))


@pytest.mark.parametrize("folder", fixtures.invalid(), ids=lambda folder: folder.name)
def test_says_what_is_wrong(folder: Path, lamina: Lamina) -> None:
    outcome = lamina.build(folder, f"invalid-{folder.name}", status=1)
    for fragment in (folder / "message").read_text().splitlines():
        assert fragment in outcome.text, outcome.text
    lamina("inspect", f"invalid-{folder.name}", status=1)


def test_every_folder_says_what_is_expected() -> None:
    folders = {path.parent for path in fixtures.FOLDER.rglob("Dockerfile")}
    told = {fixture.path for fixture in fixtures.valid()} | set(fixtures.invalid())
    assert folders == told
