"""What is measured: each workload prepares outside the clock and acts inside it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tools import Tool

Action = Callable[[], None]
SMALL_FILES = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """`prepare(tool, folder, round)` gives what one measurement of a tool does.

    `folder` is the tool's own for this workload, kept over the rounds. What `round` stands in
    is new in every round, for every tool alike.
    """

    name: str
    title: str
    prepare: Callable[[Tool, Path, int], Action]
    verb: str = "build"
    rounds: float = 1.0  # times the rounds asked for: short ones are measured more often


def _write(context: Path, tool: Tool, *instructions: str) -> None:
    context.mkdir(exist_ok=True)
    lines = [tool.from_line, *instructions]
    (context / "Dockerfile").write_text("\n".join(lines) + "\n")


def _runs(number: int) -> Callable[[Tool, Path, int], Action]:
    """That many steps which each write a line, none of them ever seen before."""

    def prepare(tool: Tool, folder: Path, turn: int) -> Action:
        steps = (f"RUN echo {turn} > /file-{step}" for step in range(number))
        _write(folder / "context", tool, *steps)
        return lambda: tool.build(folder / "context", f"runs-{number}", cached=False)

    return prepare


def _no_ops(number: int) -> Callable[[Tool, Path, int], Action]:
    """That many steps which do nothing at all."""

    def prepare(tool: Tool, folder: Path, turn: int) -> Action:
        _write(folder / "context", tool, *(f"RUN true {turn} {step}" for step in range(number)))
        return lambda: tool.build(folder / "context", f"no-ops-{number}", cached=False)

    return prepare


def _rebuild_runs(tool: Tool, folder: Path, turn: int) -> Action:
    context = folder / "context"
    if turn == 0:
        _write(context, tool, *(f"RUN echo {step} > /file-{step}" for step in range(20)))
        tool.build(context, "rebuild-runs", cached=True)
    return lambda: tool.build(context, "rebuild-runs", cached=True)


def _small_files(folder: Path, content: str) -> None:
    """Write many small files, spread over many folders as source trees are."""
    for number in range(SMALL_FILES):
        if number % 100 == 0:
            (folder / f"{number // 100:03}").mkdir(parents=True, exist_ok=True)
        path = folder / f"{number // 100:03}" / f"file-{number}.txt"
        path.write_text(f"{content} {number}\n" * (1 + number % 100))


def _copy(tool: Tool, folder: Path, turn: int) -> Action:
    _write(folder / "context", tool, "COPY files /files")
    _small_files(folder / "context" / "files", f"round {turn}")
    return lambda: tool.build(folder / "context", "copy", cached=False)


def _rebuild_copy(tool: Tool, folder: Path, turn: int) -> Action:
    context = folder / "context"
    if turn == 0:
        _write(context, tool, "COPY files /files")
        _small_files(context / "files", "the same")
        tool.build(context, "rebuild-copy", cached=True)
    return lambda: tool.build(context, "rebuild-copy", cached=True)


def _start(tool: Tool, folder: Path, turn: int) -> Action:
    return lambda: tool.run("true")


WORKLOADS = (
    Workload(name="runs", title="twenty trivial RUN steps", prepare=_runs(20)),
    Workload(
        name="rebuild-runs",
        title="RUN again, nothing changed",
        prepare=_rebuild_runs,
        rounds=2.0,
    ),
    Workload(name="copy", title=f"COPY of {SMALL_FILES:,} small files", prepare=_copy, rounds=0.6),
    Workload(
        name="rebuild-copy", title="COPY again, nothing changed", prepare=_rebuild_copy, rounds=0.6
    ),
    Workload(name="no-op-1", title="one RUN step that does nothing", prepare=_no_ops(1)),
    Workload(name="no-op-21", title="twenty-one of them", prepare=_no_ops(21)),
    Workload(
        name="start",
        title="start of `true` in a container",
        prepare=_start,
        verb="run",
        rounds=4.0,
    ),
)


def clear(folder: Path) -> None:
    """Remove a workload's context, which nothing but this module wrote."""
    shutil.rmtree(folder)
