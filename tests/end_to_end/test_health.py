"""Containers that are asked whether they are well."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.cli import Lamina
from support.containers import Containers, wait_for

pytestmark = pytest.mark.namespaces

_QUICK = ("--health-interval", "100ms", "--health-timeout", "2s")


def health(containers: Containers, name: str) -> str:
    return str(containers.state(name)["Health"]["Status"])


def test_from_well_to_unwell_and_back(containers: Containers, lamina: Lamina) -> None:
    options = (*_QUICK, "--health-cmd", "echo asked; test -e /well", "--health-retries", "2")
    name = containers.sh("one", "sleep 600", *options)
    assert health(containers, name) in ("starting", "unhealthy")
    wait_for(lambda: health(containers, name) == "unhealthy")
    state = containers.state(name)["Health"]
    assert state["FailingStreak"] >= 2
    assert (state["Log"][-1]["ExitCode"], state["Log"][-1]["Output"]) == (1, "asked\n")
    assert len(state["Log"]) <= 5
    lamina("exec", name, "touch", "/well")
    wait_for(lambda: health(containers, name) == "healthy")
    assert "(healthy)" in lamina("ps", "--filter", f"name={name}").stdout
    assert containers.listed("--filter", "health=healthy") == [name]
    assert containers.listed("--filter", "health=unhealthy") == []
    lamina("stop", "-t", "0", name)


def test_the_images_own(containers: Containers, lamina: Lamina, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\nENV WORD=from-image\nWORKDIR /tmp\nUSER www-data\n"
        'HEALTHCHECK --interval=100ms CMD echo "$WORD $(pwd) $(id -un)"\n'
    )
    image = containers.name("image")
    lamina.build(tmp_path, image)
    name = containers.detached("one", "--", "sleep", "600", image=image)
    wait_for(lambda: health(containers, name) == "healthy")
    output = containers.state(name)["Health"]["Log"][0]["Output"]
    assert output == "from-image /tmp www-data\n"
    without = containers.detached("two", "--no-healthcheck", "--", "sleep", "600", image=image)
    assert "Health" not in containers.state(without)
    # Nobody could ask one in the foreground without a monitor: it has one then.
    lamina("run", "--rm", "--name", containers.name("three"), image, "true")
    lamina("rm", "-f", name, without)
    lamina("rmi", image)


def test_one_that_takes_too_long(containers: Containers) -> None:
    options = ("--health-interval", "100ms", "--health-timeout", "200ms", "--health-retries", "1")
    name = containers.sh("one", "sleep 600", *options, "--health-cmd", "sleep 600")
    wait_for(lambda: health(containers, name) == "unhealthy")
    last = containers.state(name)["Health"]["Log"][-1]
    assert (last["ExitCode"], last["Output"]) == (-1, "Health check exceeded timeout (0.2s)")


def test_failures_while_it_starts_do_not_count(containers: Containers) -> None:
    options = (*_QUICK, "--health-start-period", "1h", "--health-retries", "1")
    name = containers.sh("one", "sleep 600", *options, "--health-cmd", "exit 3")
    wait_for(lambda: len(containers.state(name)["Health"]["Log"]) > 2)
    state = containers.state(name)["Health"]
    assert (state["Status"], state["FailingStreak"]) == ("starting", 0)


def test_what_is_paused_is_not_asked(containers: Containers, lamina: Lamina) -> None:
    name = containers.sh("one", "sleep 600", *_QUICK, "--health-cmd", "true")
    wait_for(lambda: health(containers, name) == "healthy")
    if lamina("pause", name, status=None).status:
        pytest.skip("a plain user to whom no cgroup is delegated cannot pause")
    asked = containers.state(name)["Health"]["Log"][-1]["Start"]
    lamina("unpause", name)
    wait_for(lambda: containers.state(name)["Health"]["Log"][-1]["Start"] > asked)
    assert health(containers, name) == "healthy"


def test_options_that_contradict_each_other(lamina: Lamina) -> None:
    words = ("run", "--rm", "--no-healthcheck", "--health-retries", "2", "busybox", "true")
    assert "--no-healthcheck conflicts" in lamina(*words, status=2).stderr
    short = ("run", "--rm", "--health-interval", "1us", "busybox", "true")
    assert "cannot be less than 1ms" in lamina(*short, status=2).stderr
