"""Many processes on one store at once: all do what they should, and the store is sound after it.

LAMINA_STRESS_SECONDS says for how long (8 if it is not set).
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.cli import Lamina

pytestmark = pytest.mark.namespaces

SECONDS = float(os.environ.get("LAMINA_STRESS_SECONDS", "8"))
VARIANTS = 4


def context_of(folder: Path, variant: int) -> Path:
    """A build whose variants share a layer, and have others of their own."""
    context = folder / str(variant)
    context.mkdir()
    (context / "file").write_text(f"{variant}\n" * 1000)
    (context / "Dockerfile").write_text(
        "FROM busybox\nRUN echo shared > /shared\nCOPY file /file\nRUN sort -u /file > /result\n"
    )
    return context


class Crowd:
    """What the processes do; `expected` are the IDs that the variants have in any store."""

    def __init__(self, lamina: Lamina, contexts: list[Path], expected: list[str]) -> None:
        self._lamina = lamina
        self._contexts = contexts
        self._expected = expected
        self._deadline = time.monotonic() + SECONDS

    def work(self, seed: int) -> int:
        """Do one thing after the other until the time is up; how many it were."""
        choice = random.Random(seed)
        roles: tuple[Callable[[random.Random], None], ...] = (
            self._build, self._build, self._build, self._run, self._remove, self._tag,
            self._prune, self._look,
        )  # fmt: skip
        count = 0
        while time.monotonic() < self._deadline:
            choice.choice(roles)(choice)
            count += 1
        return count

    def _build(self, choice: random.Random) -> None:
        variant = choice.randrange(VARIANTS)
        more = choice.choice(((), ("--no-cache",), ("--store-max-size", "6m")))
        said = self._lamina(
            "build", "-q", "-t", f"app{variant}", *more, self._contexts[variant]
        ).stdout
        assert said.strip() == self._expected[variant]

    def _run(self, choice: random.Random) -> None:
        variant = choice.randrange(VARIANTS)
        command = ("run", "--rm", "--pull", "never", f"app{variant}", "cat", "/result")
        ended = self._lamina(*command, status=None)
        if ended.status == 0:
            assert ended.stdout == f"{variant}\n"
        else:
            assert ended.status == 125, ended
            assert "no such image" in ended.stderr, ended

    def _remove(self, choice: random.Random) -> None:
        ended = self._lamina("rmi", f"app{choice.randrange(VARIANTS)}", status=None)
        assert ended.status == 0 or "no such image" in ended.stderr, ended

    def _tag(self, choice: random.Random) -> None:
        variant = choice.randrange(VARIANTS)
        ended = self._lamina("tag", f"app{variant}", f"other{variant}", status=None)
        assert ended.status == 0 or "no such image" in ended.stderr, ended

    def _prune(self, choice: random.Random) -> None:
        more = choice.choice(((), ("--all",), ("--keep-storage", "1m")))
        self._lamina("prune", "--force", *more)

    def _look(self, choice: random.Random) -> None:
        self._lamina(*choice.choice((("images",), ("df", "-v"), ("fsck", "--repair"))), status=None)


def test_twenty_processes_use_one_store(
    private_lamina: Lamina, another_private_lamina: Lamina, tmp_path: Path
) -> None:
    lamina = private_lamina
    contexts = [context_of(tmp_path, variant) for variant in range(VARIANTS)]
    expected = [another_private_lamina("build", "-q", c).stdout.strip() for c in contexts]
    lamina("run", "busybox", "true")  # A container keeps the base, whoever prunes.
    crowd = Crowd(lamina, contexts, expected)
    with ThreadPoolExecutor(20) as pool:
        counts = list(pool.map(crowd.work, range(20)))
    assert min(counts) > 0
    assert "nothing is wrong" in lamina("fsck").stdout
    found = [
        json.loads(line)
        for line in lamina("images", "--format", "json", "--no-trunc").stdout.splitlines()
    ]
    for row in found:
        name = row["Repository"].rpartition("/")[2]
        if name.startswith(("app", "other")):
            assert row["ID"] == expected[int(name[-1])]
            said = lamina("run", "--rm", f"{row['Repository']}:{row['Tag']}", "cat", "/result")
            assert said.stdout == f"{name[-1]}\n"


def test_thirty_containers_start_at_once(lamina: Lamina) -> None:
    def run(number: int) -> tuple[int, str]:
        ended = lamina("run", "--rm", "busybox", "echo", str(number), status=None)
        return ended.status, ended.stdout

    with ThreadPoolExecutor(30) as pool:
        ended = list(pool.map(run, range(30)))
    assert ended == [(0, f"{number}\n") for number in range(30)]
