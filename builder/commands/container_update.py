"""`lamina update`: other limits for containers."""

from __future__ import annotations

from typing import Any

import click

from builder.commands.container_limits_options import parse_limits
from builder.commands.each import each
from builder.commands.refusals import Missing, refusing
from builder.errors import OptionError
from runtime.cgroups.limits import NO_LIMITS
from runtime.containers.folder import find_container
from runtime.containers.prepare import event

_REFUSED = {
    "--restart": Missing(why="a restart policy cannot be changed", hint="lamina rm, lamina run"),
    "--kernel-memory": Missing(why="Linux no longer limits the kernel's memory by itself"),
    "--cpu-rt-period": Missing(why="real-time scheduling cannot be given to containers"),
    "--cpu-rt-runtime": Missing(why="real-time scheduling cannot be given to containers"),
}
_OTHERS = {
    "memory_swappiness": -1, "oom_kill_disable": False, "device_read_bps": (),
    "device_write_bps": (), "device_read_iops": (), "device_write_iops": (),
}  # fmt: skip


@click.command("update", cls=refusing(_REFUSED), short_help="Change the limits of containers.")
@click.argument("names", nargs=-1, required=True)
@click.option("-m", "--memory", metavar="SIZE")
@click.option("--memory-swap", metavar="SIZE", help="Memory and swap together; -1 is any.")
@click.option("--memory-reservation", metavar="SIZE")
@click.option("--cpus", metavar="N")
@click.option("--cpu-period", type=int, default=0, metavar="MICROSECONDS")
@click.option("--cpu-quota", type=int, default=0, metavar="MICROSECONDS")
@click.option("-c", "--cpu-shares", type=int, default=0, metavar="WEIGHT")
@click.option("--cpuset-cpus", metavar="0-3,5")
@click.option("--cpuset-mems", metavar="0,1")
@click.option("--pids-limit", type=int, metavar="N", help="-1 is any number.")
@click.option("--blkio-weight", type=int, default=0, metavar="10-1000")
@click.pass_obj
def update_command(root: str, /, names: tuple[str, ...], **options: Any) -> int:
    """Change the limits of containers, whether they run or not; those not given stay."""
    from runtime.containers.update import update

    def act(name: str) -> None:
        container = find_container(root, name)
        given = _OTHERS | options
        if options["memory_swap"] and not options["memory"] and container.spec.limits.memory:
            given["memory"] = str(container.spec.limits.memory)
        changes = parse_limits(given)
        if changes == NO_LIMITS:
            raise OptionError("you must provide one or more options")
        event(update(container, changes), "update")

    return each(names, act)
