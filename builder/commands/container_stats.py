"""`lamina stats`: what containers use."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import click

from builder.commands.tables import formatted, size_text, table
from runtime.cgroups.usage import Usage, usage_of
from runtime.containers.folder import find_container, list_containers
from runtime.containers.processes import groups_of, processes_of
from runtime.containers.record import Container
from runtime.errors import ContainerNotFound

HEADS = {
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
    "Container": "CONTAINER",
}
_SHOWN = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")
_SHORT = 12
_SECONDS = 1.0
_HOME, _ERASE_BELOW, _ERASE_LINE = "\x1b[H", "\x1b[J", "\x1b[K"


@dataclass(frozen=True, slots=True)
class Sample:
    """What a container used at a time, in nanoseconds; nothing if it did not run."""

    container: Container
    taken_ns: int
    usage: Usage | None


@click.command("stats", short_help="Show what containers use.")
@click.argument("names", nargs=-1)
@click.option("-a", "--all", "all_", is_flag=True, help="Those that do not run, too.")
@click.option("--no-stream", is_flag=True, help="Once only.")
@click.option("--no-trunc", is_flag=True, help="Whole IDs.")
@click.option("--format", "form", metavar="table|json|TEMPLATE", default="table")
@click.pass_obj
def stats_command(
    root: str, /, names: tuple[str, ...], all_: bool, no_stream: bool, no_trunc: bool, form: str
) -> int:
    """Show the processor time, memory, network and disk that containers use, each second.

    Without NAMES of all that run. Of one without a cgroup, what its processes say.
    """
    for name in names:
        find_container(root, name)
    before = _samples(root, names, all_=all_)
    while True:
        time.sleep(_SECONDS)
        now = _samples(root, names, all_=all_)
        rows = _rows(before, now, no_trunc=no_trunc)
        text = _text(rows, form)
        if no_stream:
            click.echo(text, nl=False)
            return 0
        if os.isatty(1):
            lines = text.replace("\n", f"{_ERASE_LINE}\n")
            text = f"{_HOME}{lines}{_ERASE_BELOW}"
        click.echo(text, nl=False)
        before = now


def _samples(root: str, names: Sequence[str], *, all_: bool) -> dict[str, Sample]:
    if names:
        containers = []
        for name in names:
            try:
                containers.append(find_container(root, name))
            except ContainerNotFound:
                continue  # It has ended meanwhile, and was to be removed then.
    else:
        containers = [each for each in list_containers(root) if all_ or each.is_running]
    return {container.id: _sample(container) for container in containers}


def _sample(container: Container) -> Sample:
    process = container.state.process
    usage = None
    if container.is_running and process is not None:
        groups = groups_of(container)
        pids = () if groups is not None else processes_of(container)
        usage = usage_of(groups, process.pid, pids)
    return Sample(container, time.monotonic_ns(), usage)


def _rows(
    before: dict[str, Sample], now: dict[str, Sample], *, no_trunc: bool
) -> list[dict[str, str]]:
    return [_row(before.get(key), sample, no_trunc=no_trunc) for key, sample in now.items()]


def _row(before: Sample | None, sample: Sample, *, no_trunc: bool) -> dict[str, str]:
    container, used = sample.container, sample.usage
    row = {
        "ID": container.id if no_trunc else container.id[:_SHORT],
        "Name": container.name,
        "Container": container.name,
    }
    if used is None:
        return row | {
            "CPUPerc": "--", "MemUsage": "-- / --", "MemPerc": "--", "NetIO": "--",
            "BlockIO": "--", "PIDs": "--",
        }  # fmt: skip
    share = 0.0
    if before is not None and before.usage is not None:
        spent = max(0, used.cpu_ns - before.usage.cpu_ns)
        share = spent / max(1, sample.taken_ns - before.taken_ns)
    return row | {
        "CPUPerc": f"{share * 100:.2f}%",
        "MemUsage": f"{binary_size(used.memory)} / {binary_size(used.memory_limit)}",
        "MemPerc": f"{used.memory / max(1, used.memory_limit) * 100:.2f}%",
        "NetIO": f"{size_text(used.received)} / {size_text(used.sent)}",
        "BlockIO": f"{size_text(used.read)} / {size_text(used.written)}",
        "PIDs": str(used.pids),
    }


def binary_size(size: int) -> str:
    """`5.629MiB`, as docker writes memory: four digits that count."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.4g}{unit}"
        amount /= 1024
    return f"{amount:.4g}TiB"


def _text(rows: list[dict[str, str]], form: str) -> str:
    if form == "table":
        heads = [HEADS[key] for key in _SHOWN]
        return table(heads, [[row[key] for key in _SHOWN] for row in rows]) + "\n"
    if form == "json":
        return "".join(json.dumps(row) + "\n" for row in rows)
    return formatted(form, rows, HEADS)
