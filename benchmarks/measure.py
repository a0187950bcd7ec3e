"""Measuring by turns: A B A B, so that what the machine does meanwhile falls on all alike."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tools import CommandFailed, Tool
from benchmarks.workloads import Action, Workload, clear

FAILURES_BORNE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What one tool took for one workload, in seconds, in the order measured."""

    workload: str
    tool: str
    seconds: tuple[float, ...]
    failures: int = 0  # times it failed, and was measured again

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def measure(
    workload: Workload,
    tools: Iterable[Tool],
    folder: Path,
    *,
    rounds: int,
    told: Callable[[str], None],
) -> list[Series]:
    """One series for each tool that the workload is for.

    A first round warms caches and is not counted. Dirty pages are written back before each
    measurement, so that no tool pays for another's.
    """
    chosen = [tool for tool in tools if workload.verb in tool.verbs]
    folders = {tool.name: folder / f"{workload.name}-{tool.name}" for tool in chosen}
    seconds: dict[str, list[float]] = {tool.name: [] for tool in chosen}
    failures = dict.fromkeys(seconds, 0)
    for own in folders.values():
        own.mkdir()
    for turn in range(1 + math.ceil(rounds * workload.rounds)):
        for tool in chosen:
            action = workload.prepare(tool, folders[tool.name], turn)
            while (taken := _timed(action, told)) is None:
                failures[tool.name] += 1
                if failures[tool.name] > FAILURES_BORNE:
                    raise CommandFailed([tool.name], f"{workload.name} fails again and again")
            if turn > 0:
                seconds[tool.name].append(taken)
        times = "  ".join(f"{name} {taken[-1]:.3f}" for name, taken in seconds.items() if taken)
        told(f"{workload.name} {turn}: {times or 'warm'}")
    for own in folders.values():
        clear(own)
    return [
        Series(workload=workload.name, tool=name, seconds=tuple(taken), failures=failures[name])
        for name, taken in seconds.items()
    ]


def _timed(action: Action, told: Callable[[str], None]) -> float | None:
    """The seconds it took; `None` if it failed, which some tools now and then do."""
    os.sync()
    begin = time.perf_counter()
    try:
        action()
    except CommandFailed as error:
        told(str(error))
        return None
    return time.perf_counter() - begin
