"""`exec` by the order that is kept beside the container does what `exec` always does."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from builder.commands.container_exec import exec_command
from builder.quick import EXEC_FLAGS, EXEC_VALUES, exec_wanted
from support.cli import Lamina, Outcome
from support.containers import Containers, wait_for

pytestmark = pytest.mark.namespaces

IMPORTS = {"PYTHONPROFILEIMPORTTIME": "1"}
SHOWN = "id; pwd; env | sort; hostname; grep -e Seccomp -e Cap -e NoNew /proc/self/status"
WORDS = [
    ("sh", "-c", SHOWN),
    ("-e", "A=b", "--env=HOSTNAME=x", "-w", "/bin", "--user=1:2", "NAME", "sh", "-c", SHOWN),
    ("sh", "-c", "echo out; echo err >&2; kill -TERM $$"),
    ("no-such-command",),
    ("/etc",),
    ("-u", "nobody-there", "NAME", "true"),
    ("-w", "/no/such", "NAME", "pwd"),
    ("-i", "NAME", "cat"),
]


@pytest.fixture(scope="module")
def name(lamina: Lamina) -> Iterator[str]:
    made = Containers(lamina)
    yield made.detached("one", "--network", "none", "-e", "OWN=1", "-u", "3", "--", "sleep", "1000")
    made.remove_all()


def run(lamina: Lamina, *words: str) -> tuple[bool, tuple[int, str, list[str]]]:
    """Whether the command line was imported; then the exit status and what was said."""
    outcome: Outcome = lamina("exec", *words, status=None, stdin="in\n", environment=IMPORTS)
    lines = outcome.stderr.splitlines()
    said = [line for line in lines if not line.startswith("import time:")]
    ordinary = any(line.endswith(" click") for line in lines)
    return ordinary, (outcome.status, outcome.stdout, said)


@pytest.mark.parametrize("words", WORDS, ids=lambda words: " ".join(words)[:30])
def test_it_is_like_the_ordinary_way(lamina: Lamina, name: str, words: tuple[str, ...]) -> None:
    called = tuple(name if word == "NAME" else word for word in words)
    if "NAME" not in words:
        called = (name, *called)
    quick, said = run(lamina, *called)
    # An option that the quick way does not know, and that changes nothing.
    ordinary, expected = run(lamina, "--detach-keys", "ctrl-x", *called)
    assert said == expected
    assert (quick, ordinary) == (False, True)


def test_only_what_runs_is_entered(lamina: Lamina, containers: Containers) -> None:
    name = containers.sh("two", "sleep 1000")
    assert run(lamina, name, "true") == (False, (0, "", []))
    (full,) = lamina("ps", "-q", "--no-trunc", "--filter", f"name={name}").stdout.split()
    assert run(lamina, full, "true") == (False, (0, "", []))
    assert run(lamina, full[:12], "true") == (True, (0, "", []))
    entry = lamina.root / "containers" / full / "entry"
    kept = entry.read_bytes()
    entry.write_bytes(kept[:-1])
    assert run(lamina, name, "true") == (True, (0, "", []))
    entry.write_bytes(kept)
    lamina("rename", name, containers.name("other"))
    assert run(lamina, name, "true")[1][0] != 0
    lamina("kill", containers.name("other"))
    wait_for(lambda: containers.listed() == [])
    ordinary, (status, _, said) = run(lamina, containers.name("other"), "true")
    assert (ordinary, status) == (True, 1)
    assert "is not running" in said[0]


def test_what_it_does_not_know_is_for_the_command_line() -> None:
    known = {
        name: option
        for option in exec_command.params
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
    }
    assert known.keys() >= EXEC_FLAGS | EXEC_VALUES
    assert all(known[name].is_flag for name in EXEC_FLAGS)
    assert not any(known[name].is_flag for name in EXEC_VALUES)
    for name, option in known.items():
        if name not in EXEC_FLAGS | EXEC_VALUES:
            value = () if option.is_flag else ("x",)
            assert exec_wanted([name, *value, "name", "true"]) is None
    others = ["-e A name true", "-it name sh", "-- name x", "-w/ name x", "name", ""]
    assert [exec_wanted(words.split()) for words in others] == [None] * len(others)
