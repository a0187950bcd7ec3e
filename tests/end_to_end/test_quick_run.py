"""A container whose start is remembered is what it was the first time, and costs few imports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest

from builder.commands.container_run import run_command
from builder.quick import FLAGS, VALUES, wanted
from support.cli import Lamina, Outcome
from support.containers import wait_for

pytestmark = pytest.mark.namespaces

GRAIN = 0.1
"""Seconds after which the store's database is old enough to be known by its times."""
PLAIN = ("--rm", "--network", "none")
IMPORTS = {"PYTHONPROFILEIMPORTTIME": "1"}


class Run:
    """What a `lamina run` did: its exit status, what it said, and the modules it imported."""

    def __init__(self, outcome: Outcome) -> None:
        lines = outcome.stderr.splitlines()
        told = [line for line in lines if not line.startswith("import time:")]
        self.modules = {
            line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")
        }
        self.said = outcome.status, outcome.stdout, told

    @property
    def is_quick(self) -> bool:
        return "click" not in self.modules


def run(lamina: Lamina, *words: str | Path, stdin: str = "") -> Run:
    time.sleep(GRAIN)
    return Run(lamina("run", *words, status=None, stdin=stdin, environment=IMPORTS))


def twice(lamina: Lamina, *words: str | Path, stdin: str = "") -> tuple[Run, Run]:
    """The ordinary run, and the quick one."""
    return run(lamina, *words, stdin=stdin), run(lamina, *words, stdin=stdin)


SHOWN = (
    "id; pwd; env | sort; hostname; cat /etc/hosts; stat -c '%n %a %u %g' / /etc /dev /proc /sys;"
    " stat -c %y /etc; grep -c . /proc/mounts"
)
SAME = [
    ("busybox", "sh", "-c", "echo out; echo err >&2; exit 3"),
    ("busybox", "sh", "-c", "kill -TERM $$"),
    ("busybox", "no-such-command"),
    ("busybox", "/etc"),
    ("--user", "nobody", "busybox", "true"),
    ("-i", "busybox", "cat"),
    ("--hostname=h", "-e", "A=1", "--env=A=2", "-e", "HOSTNAME=x", "busybox", "sh", "-c", SHOWN),
    (
        "-w", "/made/here", "-u", "1:2", "--read-only", "--tmpfs", "/t/u:size=1m", "--init",
        "--label=a=b", "--shm-size", "1m", "--stop-signal", "INT", "busybox", "sh", "-c",
        f"{SHOWN}; df /dev/shm /t/u; touch /x; cat /proc/1/comm",
    ),
    ("--entrypoint", "/bin/sh", "busybox", "-c", "grep -e Seccomp -e Cap /proc/self/status"),
    ("--entrypoint=", "busybox"),
]  # fmt: skip


@pytest.mark.parametrize("words", SAME, ids=lambda words: " ".join(words)[:30])
def test_the_second_run_is_like_the_first(lamina: Lamina, words: tuple[str, ...]) -> None:
    first, second = twice(lamina, *PLAIN, *words, stdin="in\n")
    if first.said[0] in (125, 126, 127):  # What was never started is not remembered.
        run(lamina, *PLAIN, *words[:-1], "true")
    third = run(lamina, *PLAIN, *words, stdin="in\n")
    own = os.uname().nodename
    assert own not in str(first.said)
    assert without_ids(first) == without_ids(second) == without_ids(third)


def without_ids(run: Run) -> tuple[int, str, list[str]]:
    """What was said, less the container's ID as a host name."""
    status, stdout, stderr = run.said
    words = [w for w in stdout.split() if len(w) == 12 and set(w) <= set("0123456789abcdef")]
    for word in words:
        stdout = stdout.replace(word, "ID")
    return status, stdout, stderr


def test_it_imports_next_to_nothing(private_lamina: Lamina) -> None:
    words = (*PLAIN, "busybox", "true")
    runs = [run(private_lamina, *words) for _ in range(3)]
    assert [each.is_quick for each in runs] == [False, True, True]
    assert [each.said for each in runs] == [(0, "", [])] * 3
    other = run(private_lamina, *PLAIN, "--name", "some", "-e", "A=b", "busybox", "echo", "x")
    assert other.said == (0, "x\n", [])
    assert other.is_quick
    slow = {
        "collections.abc", "contextlib", "ctypes", "dataclasses", "hashlib", "json", "signal",
        "sqlite3", "subprocess", "threading", "typing",
    }  # fmt: skip
    assert not slow & other.modules
    ours = {name for name in other.modules if name.startswith(("builder.", "runtime."))}
    assert len(ours) < 40


@contextmanager
def running(lamina: Lamina, *words: str) -> Iterator[subprocess.Popen[str]]:
    with lamina.start("run", *words) as process:
        try:
            yield process
        finally:
            process.kill()


def described(lamina: Lamina, name: str) -> Any:
    """A container's description, less what is its own only."""

    def is_up() -> bool:
        return f"{name} running" in lamina("ps", "--format", "{{.Names}} {{.State}}").stdout

    wait_for(is_up)
    (document,) = json.loads(lamina("inspect", name).stdout)
    text = json.dumps(document, sort_keys=True).replace(document["Id"], "ID")
    document = json.loads(text.replace(document["Id"][:12], "ID"))
    for key in ("Created", "Name"):
        del document[key]
    for key in ("Pid", "StartedAt"):
        del document["State"][key]
    return document


def test_its_description_is_the_same(private_lamina: Lamina) -> None:
    lamina = private_lamina
    words = ("--label", "x=y", "-e", "A=b", "--stop-timeout", "7", "busybox", "sleep", "100")
    found = []
    for name in ("one", "two"):
        time.sleep(GRAIN)
        with running(lamina, *PLAIN, "--name", name, *words) as process:
            found.append(described(lamina, name))
            assert lamina("exec", name, "sh", "-c", "echo $A").stdout == "b\n"
            lamina("rename", name, "other")
            process.send_signal(signal.SIGTERM)
            lamina("kill", "other")
            assert process.wait(20) == 137
        assert lamina("ps", "-aq").stdout == ""
        assert os.listdir(lamina.root / "containers" / "names") == []
    assert found[0] == found[1]
    lines = (lamina.root / "containers" / "events").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    actions: dict[str, list[str]] = {}
    for event in events:
        if event["Type"] == "container" and not event["Action"].startswith("exec"):
            actions.setdefault(event["Actor"]["ID"], []).append(event["Action"])
    first, second = actions.values()
    # Whether `kill` or the container's end is recorded first is a matter of luck.
    assert sorted(first) == sorted(second)
    own = [action for action in second if action not in ("kill", "rename")]
    assert own == ["create", "start", "die", "destroy"]


def test_a_name_that_stands_for_another_image_is_another_start(private_lamina: Lamina) -> None:
    lamina = private_lamina
    lamina("tag", "busybox", "app")
    words = (*PLAIN, "app", "sh", "-c", "cat /new || true")
    assert [each.is_quick for each in twice(lamina, *words)] == [False, True]
    context = lamina.root.parent / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo new > /new\n")
    lamina("build", "-q", "-t", "app", context)
    changed, again = twice(lamina, *words)
    assert changed.said == again.said == (0, "new\n", [])
    assert (changed.is_quick, again.is_quick) == (False, True)
    lamina("rmi", "app")
    gone = run(lamina, *PLAIN, "--pull", "never", "app", "true")
    assert gone.said[0] == 125
    assert run(lamina, *words).said[0] == 125


def test_a_damaged_one_is_none(private_lamina: Lamina) -> None:
    words = (*PLAIN, "busybox", "true")
    assert [each.is_quick for each in twice(private_lamina, *words)] == [False, True]
    (file,) = (private_lamina.root / "containers" / "starts").iterdir()
    data = file.read_bytes()
    for damaged in (b"", data[:-1], data[:100] + b"?" + data[101:], b"\xff" * len(data)):
        file.write_bytes(damaged)
        outcome = run(private_lamina, *words)
        assert outcome.said == (0, "", [])
        assert not outcome.is_quick
    assert run(private_lamina, *words).is_quick


def test_layers_stay_while_it_runs_and_nothing_stays_when_it_is_killed(
    private_lamina: Lamina,
) -> None:
    lamina = private_lamina
    twice(lamina, *PLAIN, "busybox", "true")
    with running(lamina, *PLAIN, "--name", "kept", "busybox", "sh", "-c", "exec sleep 1000") as it:
        assert described(lamina, "kept")["State"]["Running"]
        (pid,) = lamina("inspect", "--format", "{{.State.Pid}}", "kept").stdout.split()
        lamina("rmi", "-f", "busybox")
        lamina("prune", "--all", "--force")
        assert lamina("exec", "kept", "ls", "/bin/sleep").stdout == "/bin/sleep\n"
        it.kill()
        it.wait()
    wait_for(lambda: not Path("/proc", pid).exists())
    lamina.root.with_name(f"{lamina.root.name}.busybox.imported").unlink(missing_ok=True)
    assert "kept" not in lamina("ps", "--format", "{{.Names}}").stdout


def test_what_a_killed_one_left_the_next_removes(private_lamina: Lamina) -> None:
    lamina = private_lamina
    twice(lamina, *PLAIN, "busybox", "true")
    with running(lamina, *PLAIN, "--name", "kept", "busybox", "sleep", "1000") as process:
        described(lamina, "kept")
        process.kill()
        process.wait()
    assert len(list((lamina.root / "containers").glob("?" * 64))) == 1

    def is_gone() -> bool:
        lamina("run", *PLAIN, "busybox", "true")
        return not list((lamina.root / "containers").glob("?" * 64))

    wait_for(is_gone)


def options_of_run() -> dict[str, click.Option]:
    return {
        name: option
        for option in run_command.params
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
    }


def test_its_options_are_the_commands_own() -> None:
    known = options_of_run()
    assert known.keys() >= FLAGS | VALUES | {"-e", "--env", "--name"}
    assert all(known[name].is_flag for name in FLAGS)
    assert not any(known[name].is_flag for name in VALUES)
    assert all(known[name].nargs == 1 for name in VALUES)


def test_what_it_does_not_know_is_for_the_command_line() -> None:
    assert wanted([*PLAIN, "busybox"]) is not None
    for name, option in options_of_run().items():
        if name in FLAGS | VALUES | {"-e", "--env", "--name"}:
            continue
        value = () if option.is_flag else ("none",)
        assert wanted([*PLAIN, name, *value, "busybox"]) is None
    for words in (
        ["--rm", "busybox"],
        ["--network", "none", "busybox"],
        ["--rm", "--network", "bridge", "busybox"],
        ["--rm", "--network"],
        [*PLAIN],
        [*PLAIN, "-e", "NAME", "busybox"],
        [*PLAIN, "-e", "=x", "busybox"],
        [*PLAIN, "-it", "busybox"],
        [*PLAIN, "-w/", "busybox"],
        [*PLAIN, "--rm=true", "busybox"],
        [*PLAIN, "--", "busybox"],
        [*PLAIN, "--unheard-of", "busybox"],
    ):
        assert wanted(words) is None, words


def test_the_order_of_options_counts_and_that_of_words_does_not() -> None:
    def key(*words: str) -> str | None:
        found = wanted(words)
        return found.key if found is not None else None

    assert key(*PLAIN, "-u", "1", "-u", "2", "b") != key(*PLAIN, "-u", "2", "-u", "1", "b")
    assert key(*PLAIN, "b", "x") == key(*PLAIN, "-e", "A=b", "--name", "some", "b", "--rm", "-u")
    assert key(*PLAIN, "b") != key(*PLAIN, "c")


def test_killed_at_any_moment_it_leaves_nothing(private_lamina: Lamina) -> None:
    lamina = private_lamina
    twice(lamina, *PLAIN, "busybox", "true")
    began = time.monotonic()
    assert run(lamina, *PLAIN, "busybox", "true").is_quick
    lasting = time.monotonic() - began
    moments = 24
    for moment in range(moments):
        with running(lamina, *PLAIN, "busybox", "sleep", "1000") as process:
            time.sleep(lasting * moment / moments)
            process.kill()
            process.wait()

    def is_gone() -> bool:
        lamina("run", *PLAIN, "busybox", "true")
        return not list((lamina.root / "containers").glob("?" * 64))

    wait_for(is_gone)
    assert os.listdir(lamina.root / "containers" / "names") == []
    assert lamina("ps", "-aq").stdout == ""
    assert lamina("fsck").status == 0
