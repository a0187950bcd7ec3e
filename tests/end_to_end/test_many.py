"""Fifty containers in the background at once: all start, and their monitors are small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.cli import Lamina
from support.containers import Containers

pytestmark = pytest.mark.namespaces

NUMBER = 50
LARGEST = 15 << 20
"""Of a monitor that has nothing to do: what it has alone, and its part of what it shares."""


def test_fifty_start_at_once(lamina: Lamina, containers: Containers) -> None:
    names = [containers.name(str(number)) for number in range(NUMBER)]
    words = ("run", "-d", "--network", "none", "--name")
    processes = [lamina.start(*words, name, "busybox", "sleep", "1000") for name in names]
    said = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * NUMBER, said
    assert sorted(containers.listed()) == sorted(names)
    documents = json.loads(lamina("inspect", *names).stdout)
    assert {document["State"]["Status"] for document in documents} == {"running"}
    runners = []
    for document in documents:
        folder = lamina.root / "containers" / document["Id"]
        runners.append(json.loads((folder / "state.json").read_text())["runner"]["pid"])
    assert len(set(runners)) == NUMBER
    assert [size for size in map(_proportional_size, runners) if size >= LARGEST] == []


def _proportional_size(pid: int) -> int:
    """Of a process, in bytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) << 10
    raise AssertionError("the kernel does not say")
