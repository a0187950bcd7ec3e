"""Figures as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.measure import Series
from benchmarks.workloads import WORKLOADS

TITLES = {workload.name: workload.title for workload in WORKLOADS}
STEPS_BETWEEN = 20  # from no-op-1 to no-op-21


def of_one_step(series: Iterable[Series]) -> dict[str, float]:
    """What one more RUN step that does nothing costs each tool: a slope, free of start-up."""
    medians = {(one.workload, one.tool): one.median for one in series}
    return {
        tool: (medians["no-op-21", tool] - seconds) / STEPS_BETWEEN
        for (workload, tool), seconds in medians.items()
        if workload == "no-op-1" and ("no-op-21", tool) in medians
    }


def rows(series: list[Series]) -> list[tuple[str, ...]]:
    """Workload, tool, median, range, ratio to lamina's median; the same of processor time."""
    ours = {one.workload: one for one in series if one.tool == "lamina"}
    table: list[tuple[str, ...]] = []
    for one in series:
        lamina = ours.get(one.workload)
        ratio = f"{one.median / lamina.median:.1f}" if lamina else ""
        spread = f"{_time(min(one.seconds))} to {_time(max(one.seconds))}"
        used, used_ratio = _time(one.median_processor), ""
        if one.tool == "docker":
            used = ""  # its daemon's, of which nothing is known here
        elif lamina:
            used_ratio = f"{one.median_processor / lamina.median_processor:.1f}"
        title = TITLES[one.workload]
        table.append((title, one.tool, _time(one.median), spread, ratio, used, used_ratio))
    steps = of_one_step(series)
    for tool, seconds in steps.items():
        ratio = f"{seconds / steps['lamina']:.1f}" if "lamina" in steps else ""
        table.append(("one more no-op RUN step", tool, _time(seconds), "slope", ratio, "", ""))
    return table


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def markdown(series: list[Series], versions: dict[str, str], missing: Sequence[str]) -> str:
    """The page benchmarks/RESULTS.md is."""
    head = ("workload", "tool", "median", "range", "times lamina", "processors", "times lamina")
    body = [head, ("---",) * len(head), *rows(series)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in body)
    tools = "\n".join(f"- {name}: {version}" for name, version in versions.items())
    notes = [f"- not installed: {', '.join(missing)}"] if missing else []
    notes += [
        f"- {one.tool} failed {one.failures} times in `{one.workload}`, and was measured again"
        for one in series
        if one.failures
    ]
    notes_text = "\n".join(notes)
    return f"""\
# Results

Written by `python -m benchmarks` on {_machine()}.
What is measured, and how: README.md beside this file.

{tools}
{notes_text}

{table}
"""


def _machine() -> str:
    cpu = "an unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    cores = len(os.sched_getaffinity(0))
    return (
        f"{cpu}, {cores} cores, Linux {platform.release()}, "
        f"Python {platform.python_version()}, as {'root' if os.geteuid() == 0 else 'a plain user'}"
    )


def as_json(series: list[Series], versions: dict[str, str]) -> str:
    """Every single measurement."""
    document = {
        "machine": _machine(),
        "versions": versions,
        "series": [
            {
                "workload": one.workload,
                "tool": one.tool,
                "seconds": [round(seconds, 6) for seconds in one.seconds],
                "processor_seconds": [round(seconds, 6) for seconds in one.processor],
                "failures": one.failures,
            }
            for one in series
        ],
        "seconds_of_one_no_op_step": of_one_step(series),
    }
    return json.dumps(document, indent=1) + "\n"
