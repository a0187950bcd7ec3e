"""The options of `build` that limit what its steps may use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from runtime.cgroups.limits import Limits

Decorated = Callable[..., Any]

_OF_CONTAINERS = {
    "memory_reservation": None, "memory_swappiness": -1, "oom_kill_disable": False,
    "blkio_weight": 0, "device_read_bps": (), "device_write_bps": (), "device_read_iops": (),
    "device_write_iops": (),
}  # fmt: skip


def build_limits_options(command: Decorated) -> Decorated:
    """What each RUN may use of the machine."""
    for option in reversed((
        click.option("-m", "--memory", metavar="SIZE", help="The most memory of each RUN."),
        click.option("--memory-swap", metavar="SIZE", help="Memory and swap together; -1 is any."),
        click.option("--cpus", metavar="N", help="The most processor time of each RUN, as 1.5."),
        click.option("--cpu-period", type=int, default=0, metavar="MICROSECONDS"),
        click.option("--cpu-quota", type=int, default=0, metavar="MICROSECONDS"),
        click.option("-c", "--cpu-shares", type=int, default=0, metavar="WEIGHT"),
        click.option("--cpuset-cpus", metavar="0-3,5", help="Processors that RUN may use."),
        click.option("--cpuset-mems", metavar="0,1"),
        click.option("--pids-limit", type=int, metavar="N", help="The most processes of each RUN."),
        click.option("--cgroup-parent", metavar="PATH", help="Where cgroups of RUN are made."),
    )):  # fmt: skip
        command = option(command)
    return command


def limits_of_steps(options: dict[str, Any]) -> dict[str, Any]:
    """Members of `ExecuteOptions`; `OptionError`. Nothing is imported where nothing is limited."""
    names = ("memory", "memory_swap", "cpus", "cpuset_cpus", "cpuset_mems", "cgroup_parent")
    numbers = ("cpu_period", "cpu_quota", "cpu_shares")
    given = any(options[name] for name in (*names, *numbers))
    if not given and options["pids_limit"] is None:
        return {}
    from builder.commands.container_limits_options import parse_limits

    limits: Limits = parse_limits(_OF_CONTAINERS | options)
    return {"limits": limits, "cgroup_parent": options["cgroup_parent"]}
