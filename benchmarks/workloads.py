"""What is measured: each workload prepares outside the clock and acts inside it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.layouts import write_layout
from benchmarks.tools import Tool, call
from benchmarks.trees import make_tree

Action = Callable[[], None]
SMALL_FILES = 30_000
DETACHED = 50
LAYER_FILES, LAYER_SIZE = 30_000, 400 << 20
LARGE_FILES, LARGE_SIZE = 40_000, 600 << 20


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
    undo: Callable[[Tool], None] = lambda _: None  # after each measurement, outside the clock


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


def _detach(tool: Tool, folder: Path, turn: int) -> Action:
    return lambda: tool.detach(DETACHED)


def _tree(folder: Path) -> Path:
    """The tree that layers are made of, made once for all tools."""
    tree = folder.parent / "layer-tree"
    if not tree.exists():
        tree.mkdir()
        make_tree(tree, files=LAYER_FILES, size=LAYER_SIZE)
    return tree


def _layout(folder: Path) -> Path:
    layout = folder.parent / "layer-layout"
    if not layout.exists():
        blob = folder.parent / "layer-blob"
        diff_id = call(
            sys.executable, "-m", "benchmarks.layer_jobs", "pack", _tree(folder), blob
        ).strip()
        write_layout(layout, blob, diff_id)
    return layout


def _emptied(folder: Path) -> Path:
    """A new folder in which a layer is made or unpacked; the last one is removed."""
    target = folder / "target"
    if target.exists():
        remove(target)
    target.mkdir()
    return target


def _pack(tool: Tool, folder: Path, turn: int) -> Action:
    tree = _tree(folder)
    target = _emptied(folder)
    return lambda: tool.pack(tree, target)


def _unpack(tool: Tool, folder: Path, turn: int) -> Action:
    layout = _layout(folder)
    target = _emptied(folder)
    return lambda: tool.unpack(layout, target)


def _large_context(folder: Path) -> Path:
    """A folder of many files to copy, the same for all tools: a context of each one's own."""
    context = folder / "context"
    if not context.exists():
        (context / "files").mkdir(parents=True)
        make_tree(context / "files", files=LARGE_FILES, size=LARGE_SIZE)
        (context / "Dockerfile").write_text("FROM scratch\nCOPY files /files\n")
    return context


def _archive(tool: Tool, folder: Path, turn: int) -> Action:
    context = _large_context(folder)
    # Every file is new to the tool, though no content is written again.
    (context / "Dockerfile").write_text(f"FROM scratch\nCOPY files /files-{turn}\n")
    return lambda: tool.archive(context, folder / f"{turn}.tar")


def _rebuild_archive(tool: Tool, folder: Path, turn: int) -> Action:
    context = _large_context(folder)
    if turn == 0:
        tool.archive(context, folder / "first.tar")
    return lambda: tool.archive(context, folder / f"{turn}.tar")


def _change_archive(tool: Tool, folder: Path, turn: int) -> Action:
    context = _large_context(folder)
    if turn == 0:
        tool.archive(context, folder / "first.tar")
    changed = min(path for path in (context / "files").rglob("*.py"))
    changed.write_bytes(bytes((turn + 65,)) + changed.read_bytes()[1:])
    return lambda: tool.archive(context, folder / f"{turn}.tar")


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
    Workload(
        name="detach-50",
        title=f"{DETACHED} containers in the background at once",
        prepare=_detach,
        verb="detach",
        rounds=0.6,
        undo=lambda tool: tool.remove_all(),
    ),
    Workload(name="pack", title="tree to gzip blob", prepare=_pack, verb="pack"),
    Workload(name="unpack", title="gzip blob to tree", prepare=_unpack, verb="unpack"),
    Workload(
        name="archive",
        title=f"COPY of {LARGE_FILES:,} files, 600 MB, to an OCI archive",
        prepare=_archive,
        verb="archive",
        rounds=0.6,
    ),
    Workload(
        name="rebuild-archive",
        title="the archive again, nothing changed",
        prepare=_rebuild_archive,
        verb="archive",
        rounds=0.6,
    ),
    Workload(
        name="change-archive",
        title="the archive again, one byte changed",
        prepare=_change_archive,
        verb="archive",
        rounds=0.6,
    ),
)


def remove(folder: Path) -> None:
    """Remove a folder, and first what a tool may have left mounted in it."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in reversed(points):
        if Path(point).is_relative_to(folder):
            call("umount", point)
    enter = [] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--map-auto"]
    call(*enter, "rm", "-rf", "--one-file-system", folder)
