"""A build may be killed at any instruction: the next one gives the same image, and cleans up."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support import leaks
from support.cli import Lamina

pytestmark = pytest.mark.namespaces

DOCKERFILE = """\
FROM busybox
COPY files /files
RUN sha256sum /files/* > /sums
RUN echo waiting; i=0; while [ $i -lt 60 ]; do i=$((i + 1)); sleep 0.01; done; echo waited > /waited
RUN cat /sums /waited | sha256sum > /result
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "files").mkdir()
    for number in range(200):
        (tmp_path / "files" / f"{number:03}").write_bytes(b"%d" % number * 10_000)
    return tmp_path


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


def left_running(root: Path) -> list[str]:
    """What still uses a store, after what dies by itself has had the time to."""
    deadline = time.monotonic() + 10
    while (left := [*leaks.processes_using(root).values()]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left + leaks.mounts_below(root)


def paths_below(root: Path) -> set[str]:
    """Every path in a store, read as its owner sees it; of locks and the database none."""
    enter = [] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--map-auto"]
    found = subprocess.run(
        [*enter, "find", ".", "!", "-path", "./locks/*", "!", "-name", "store.db*"],
        cwd=root,
        check=True,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    return set(found.stdout.splitlines())


def test_killed_in_a_step(
    private_lamina: Lamina, another_private_lamina: Lamina, context: Path
) -> None:
    command = ("build", "--progress", "plain", "-t", "image", context)
    with private_lamina.start(*command, merged=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.rstrip().endswith("waiting") and "RUN" not in line:
                break
        kill(process)
    assert not left_running(private_lamina.root)

    private_lamina.build(context, "image")
    another_private_lamina.build(context, "image")
    described = private_lamina.inspect("image")
    assert described["Id"] == another_private_lamina.inspect("image")["Id"]
    assert paths_below(private_lamina.root) == paths_below(another_private_lamina.root)


@pytest.mark.parametrize("milliseconds", [30, 100, 200, 350, 500, 800])
def test_killed_at_any_time(private_lamina: Lamina, context: Path, milliseconds: int) -> None:
    with private_lamina.start("build", "-t", "image", context) as process:
        time.sleep(milliseconds / 1000)
        kill(process)
    assert not left_running(private_lamina.root)
    private_lamina.build(context, "image")
    sums = "cat /sums /waited | sha256sum | diff - /result"
    private_lamina("run", "--rm", "image", "sh", "-c", sums)
    assert not left_running(private_lamina.root)
