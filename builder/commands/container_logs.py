"""`lamina logs`: what a container has written."""

from __future__ import annotations

import os
import sys

import click

from builder.commands.times import moment
from builder.errors import OptionError
from runtime.containers.folder import find_container
from runtime.containers.logs import read_log
from runtime.containers.record import confirmed, read_state
from runtime.errors import InvalidContainer


@click.command("logs", short_help="Show what a container has written.")
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until it ends.")
@click.option("--since", metavar="TIME", help="From then on: 2026-01-02T03:04:05Z, 10m, seconds.")
@click.option("--until", metavar="TIME", help="Up to then.")
@click.option("-n", "--tail", default="all", metavar="N|all", help="The last N lines.")
@click.option("-t", "--timestamps", is_flag=True, help="With times.")
@click.option("--details", is_flag=True, help="Accepted: there are none.")
@click.pass_obj
def logs_command(
    root: str,
    /,
    name: str,
    follow: bool,
    since: str | None,
    until: str | None,
    tail: str,
    timestamps: bool,
    details: bool,
) -> int:
    """Show the output of a container: its standard output and error, on ours."""
    container = find_container(root, name)
    if not container.spec.log.kept:
        raise InvalidContainer(f"{name} keeps no log", hint="it was made with --log-driver none")
    if container.state.status != "created" and not container.state.monitored:
        raise InvalidContainer(
            f"{name} has no log: it runs in the foreground, and its output goes there",
            hint="run it with -d, or without --rm",
        )
    folder = container.folder

    def may_go_on() -> bool:
        try:
            state = confirmed(read_state(folder), folder)
        except (OSError, ValueError, KeyError, TypeError):
            return False  # removed
        return state.status in ("created", "running", "paused", "restarting")

    records = read_log(
        folder,
        tail=_count(tail),
        since=moment(since, "--since") if since else "",
        until=moment(until, "--until") if until else "",
        follow=may_go_on if follow else None,
    )
    begins = {"stdout": True, "stderr": True}
    for record in records:
        out = sys.stderr if record.stream == "stderr" else sys.stdout
        data = record.data
        if timestamps and begins.get(record.stream, True):
            data = f"{record.time} ".encode() + data
        begins[record.stream] = data.endswith(b"\n")
        _write_all(out.fileno(), data)
    return 0


def _count(tail: str) -> int | None:
    if tail == "all" or tail.startswith("-"):
        return None
    if not tail.isdigit():
        raise OptionError(f"invalid --tail {tail!r}", hint="a number, or all")
    return int(tail)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
