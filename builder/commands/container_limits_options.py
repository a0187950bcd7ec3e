"""The options of `run` and `create` that limit what a container may use."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any

import click

from builder.commands.values import size_in_bytes, ulimits_of
from builder.errors import OptionError
from runtime.cgroups.limits import UNLIMITED, Limits, Rate

Decorated = Callable[..., Any]

_LEAST_MEMORY = 6 << 20
_PERIOD = 100_000


def limits_options(command: Decorated) -> Decorated:
    """What a container may use of the machine."""
    for option in reversed((
        click.option("-m", "--memory", metavar="SIZE", help="The most memory, as 512m."),
        click.option("--memory-swap", metavar="SIZE",
                     help="Memory and swap together; -1 is any. [default: twice --memory]"),
        click.option("--memory-reservation", metavar="SIZE",
                     help="What is left to it when memory gets short."),
        click.option("--memory-swappiness", type=int, default=-1, metavar="0-100"),
        click.option("--oom-kill-disable", is_flag=True, help="Wait for memory instead."),
        click.option("--oom-score-adj", type=int, metavar="-1000-1000",
                     help="How readily it is killed when the machine has no memory left."),
        click.option("--cpus", metavar="N", help="The most processor time, as 1.5."),
        click.option("--cpu-period", type=int, default=0, metavar="MICROSECONDS"),
        click.option("--cpu-quota", type=int, default=0, metavar="MICROSECONDS",
                     help="The most processor time in a period."),
        click.option("-c", "--cpu-shares", type=int, default=0, metavar="WEIGHT",
                     help="Processor time relative to others. [default: 1024]"),
        click.option("--cpuset-cpus", metavar="0-3,5", help="Processors it may use."),
        click.option("--cpuset-mems", metavar="0,1", help="Memory nodes it may use."),
        click.option("--pids-limit", type=int, metavar="N",
                     help="The most processes and threads; -1 is any number."),
        click.option("--blkio-weight", type=int, default=0, metavar="10-1000",
                     help="Disk time relative to others."),
        *(click.option(f"--device-{name}", multiple=True, metavar="DEVICE:RATE", help=text)
          for name, text in (
              ("read-bps", "The most bytes a second, as /dev/sda:1mb."), ("write-bps", ""),
              ("read-iops", "The most operations a second, as /dev/sda:100."), ("write-iops", ""),
          )),
        click.option("--cgroup-parent", metavar="PATH", help="Where its cgroup is made."),
        click.option("--ulimit", "ulimits", multiple=True, metavar="NAME=SOFT[:HARD]",
                     help="[default: nofile=1024:524288]"),
        click.option("--strict", is_flag=True, help="Refuse limits that cannot be enforced."),
    )):  # fmt: skip
        command = option(command)
    return command


def limits_of(options: dict[str, Any]) -> dict[str, Any]:
    """Members of a `ContainerSpec` that these options make; `OptionError`."""
    score = options["oom_score_adj"]
    if score is not None and not -1000 <= score <= 1000:
        raise OptionError(f"--oom-score-adj {score} is not between -1000 and 1000")
    return {
        "limits": parse_limits(options),
        "cgroup_parent": options["cgroup_parent"] or None,
        "strict": options["strict"],
        "ulimits": ulimits_of(options["ulimits"]),
        "oom_score_adj": score,
    }


def parse_limits(options: dict[str, Any]) -> Limits:
    """The limits among these options; `OptionError`."""
    memory, swap, reservation = _memory(options)
    swappiness = options["memory_swappiness"]
    if not -1 <= swappiness <= 100:
        raise OptionError(f"--memory-swappiness {swappiness} is not between 0 and 100")
    if options["oom_kill_disable"] and memory is None:
        raise OptionError(
            "--oom-kill-disable needs --memory: else the whole machine could wait for memory"
        )
    period, quota = _processors(options)
    pids = options["pids_limit"]
    return Limits(
        memory=memory,
        memory_swap=swap,
        memory_reservation=reservation,
        memory_swappiness=None if swappiness == -1 else swappiness,
        oom_kill_disable=options["oom_kill_disable"],
        cpu_period=period,
        cpu_quota=quota,
        cpu_shares=_at_least(options["cpu_shares"], 2, "--cpu-shares"),
        cpuset_cpus=_numbers(options["cpuset_cpus"], "--cpuset-cpus"),
        cpuset_mems=_numbers(options["cpuset_mems"], "--cpuset-mems"),
        pids=None if pids is None else (pids if pids > 0 else UNLIMITED),
        blkio_weight=_blkio_weight(options["blkio_weight"]),
        read_bps=_rates(options["device_read_bps"], "--device-read-bps", in_bytes=True),
        write_bps=_rates(options["device_write_bps"], "--device-write-bps", in_bytes=True),
        read_iops=_rates(options["device_read_iops"], "--device-read-iops", in_bytes=False),
        write_iops=_rates(options["device_write_iops"], "--device-write-iops", in_bytes=False),
    )


def _memory(options: dict[str, Any]) -> tuple[int | None, int | None, int | None]:
    """Docker's rules for memory, swap and reservation."""
    memory = size_in_bytes(options["memory"], "--memory") or None
    text = options["memory_swap"]
    swap = UNLIMITED if text == "-1" else size_in_bytes(text, "--memory-swap") or None
    reservation = size_in_bytes(options["memory_reservation"], "--memory-reservation") or None
    if memory is not None and memory < _LEAST_MEMORY:
        raise OptionError("--memory: the least that is allowed is 6m")
    if swap is not None and memory is None:
        raise OptionError("--memory-swap needs --memory")
    if swap is not None and memory is not None and UNLIMITED != swap < memory:
        raise OptionError("--memory-swap is memory and swap together: no less than --memory")
    if reservation is not None and memory is not None and reservation > memory:
        raise OptionError("--memory-reservation cannot be more than --memory")
    return memory, swap, reservation


def _processors(options: dict[str, Any]) -> tuple[int | None, int | None]:
    """Period and quota in microseconds."""
    period = options["cpu_period"] or None
    quota = options["cpu_quota"] or None
    text = options["cpus"]
    if text is not None:
        if period is not None or quota is not None:
            raise OptionError("conflicting options: --cpus and --cpu-period or --cpu-quota")
        try:
            cpus = float(text)
        except ValueError as error:
            raise OptionError(f"invalid --cpus {text!r}", hint="a number like 1.5") from error
        there = os.cpu_count() or 1
        if cpus == 0:
            return None, None
        if not 0.01 <= cpus <= there:
            raise OptionError(
                f"--cpus {text} is not between 0.01 and {there}, the processors of this machine"
            )
        return _PERIOD, round(cpus * _PERIOD)
    if period is not None and not 1000 <= period <= 1_000_000:
        raise OptionError("--cpu-period is not between 1000 and 1000000 microseconds")
    if quota is not None and 0 <= quota < 1000:
        raise OptionError("--cpu-quota cannot be less than 1000 microseconds")
    return period, quota


def _at_least(number: int, least: int, option: str) -> int | None:
    if number and number < least:
        raise OptionError(f"{option} cannot be less than {least}")
    return number or None


def _blkio_weight(weight: int) -> int | None:
    if weight and not 10 <= weight <= 1000:
        raise OptionError(f"--blkio-weight {weight} is not between 10 and 1000")
    return weight or None


def _numbers(text: str | None, option: str) -> str | None:
    """A list like `0-2,4`; the kernel says which of them there are."""
    if not text:
        return None
    for part in text.split(","):
        first, dash, last = part.partition("-")
        fine = first.isdecimal() and (not dash or last.isdecimal())
        if not fine or (dash and int(first) > int(last)):
            raise OptionError(f"invalid {option} {text!r}", hint="numbers like 0-2,4")
    return text


def _rates(texts: tuple[str, ...], option: str, *, in_bytes: bool) -> tuple[Rate, ...]:
    found = []
    for text in texts:
        path, colon, rate = text.rpartition(":")
        if not colon or not path.startswith("/"):
            raise OptionError(f"invalid {option} {text!r}", hint="as /dev/sda:1mb")
        if in_bytes:
            amount = size_in_bytes(rate, option) or 0
        elif rate.isdecimal():
            amount = int(rate)
        else:
            raise OptionError(f"{option} {text}: {rate!r} is no number of operations")
        try:
            status = os.stat(path)
        except OSError as error:
            raise OptionError(f"{option} {path}: {(error.strerror or '').lower()}") from error
        if not stat.S_ISBLK(status.st_mode):
            raise OptionError(f"{option} {path}: is no block device")
        found.append((os.major(status.st_rdev), os.minor(status.st_rdev), amount))
    return tuple(found)
