"""Measuring by turns: A B A B, so that what the machine does meanwhile falls on all alike."""

from __future__ import annotations

import math
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tools import CommandFailed, Tool
from benchmarks.workloads import Action, Workload, remove

FAILURES_BORNE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What one tool took for one workload, in seconds, in the order measured."""

    workload: str
    tool: str
    seconds: tuple[float, ...]
    processor: tuple[float, ...]
    """Seconds of processor time, which what else the machine does disturbs less."""
    failures: int = 0  # times it failed, and was measured again

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def median_processor(self) -> float:
        return statistics.median(self.processor)


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
    taken: dict[str, list[Taken]] = {tool.name: [] for tool in chosen}
    failures = dict.fromkeys(taken, 0)
    for own in folders.values():
        own.mkdir()
    for turn in range(1 + math.ceil(rounds * workload.rounds)):
        for tool in chosen:
            action = workload.prepare(tool, folders[tool.name], turn)
            while (one := _measured(workload, tool, action, told)) is None:
                failures[tool.name] += 1
                if failures[tool.name] > FAILURES_BORNE:
                    raise CommandFailed([tool.name], f"{workload.name} fails again and again")
            if turn > 0:
                taken[tool.name].append(one)
        times = "  ".join(f"{name} {each[-1].seconds:.3f}" for name, each in taken.items() if each)
        told(f"{workload.name} {turn}: {times or 'warm'}")
    for own in folders.values():
        remove(own)
    return [
        Series(
            workload=workload.name,
            tool=name,
            seconds=tuple(one.seconds for one in each),
            processor=tuple(one.processor for one in each),
            failures=failures[name],
        )
        for name, each in taken.items()
    ]


@dataclass(frozen=True, slots=True)
class Taken:
    """What one measurement took: seconds by the clock, and of processors (daemons' apart)."""

    seconds: float
    processor: float


def _measured(
    workload: Workload, tool: Tool, action: Action, told: Callable[[str], None]
) -> Taken | None:
    try:
        return _timed(action, told)
    finally:
        workload.undo(tool)


def _timed(action: Action, told: Callable[[str], None]) -> Taken | None:
    """What it took; `None` if it failed, which some tools now and then do."""
    os.sync()
    before = _processor_seconds()
    begin = time.perf_counter()
    try:
        action()
    except CommandFailed as error:
        told(str(error))
        return None
    return Taken(time.perf_counter() - begin, _processor_seconds() - before)


def _processor_seconds() -> float:
    """Of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
