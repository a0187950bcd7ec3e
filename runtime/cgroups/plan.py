"""Limits as what has to be written where: pure, for each version of cgroups.

Conversions from version 1 to 2 are runc's.
"""

from __future__ import annotations

from collections.abc import Iterator

from runtime.cgroups.limits import UNLIMITED, Limits, Rate

Write = tuple[str, str, tuple[tuple[str, str], ...]]
"""A controller, docker's option, and (file, value): the first whose file is there is written.

Without any of them, the kernel has no such limit.
"""

_PERIOD = 100_000


def plan_v1(limits: Limits) -> tuple[Write, ...]:
    """What to write into the hierarchies of version 1, in this order."""
    return tuple(_v1(limits))


def plan_v2(limits: Limits) -> tuple[Write, ...]:
    """What to write into the one of version 2, in this order."""
    return tuple(_v2(limits))


def total_swap(limits: Limits) -> int | None:
    """Bytes of memory and swap together: as docker, twice the memory unless something is said."""
    if limits.memory_swap is not None or limits.memory is None:
        return limits.memory_swap
    return 2 * limits.memory


def weight_of_shares(shares: int) -> int:
    """`cpu.weight` (1 to 10000) of `cpu.shares` (2 to 262144)."""
    return 1 + (min(max(shares, 2), 262_144) - 2) * 9999 // 262_142


def weight_of_blkio(weight: int) -> int:
    """`io.weight` (1 to 10000) of `blkio.weight` (10 to 1000)."""
    return 1 + (weight - 10) * 9999 // 990


def _v1(limits: Limits) -> Iterator[Write]:
    def one(controller: str, option: str, *choices: tuple[str, object]) -> Write:
        return controller, option, tuple((file, str(value)) for file, value in choices)

    if limits.memory is not None:
        yield one("memory", "--memory", ("memory.limit_in_bytes", limits.memory))
    if (swap := total_swap(limits)) is not None:
        yield one("memory", "--memory-swap", ("memory.memsw.limit_in_bytes", swap))
    if (reserved := limits.memory_reservation) is not None:
        yield one("memory", "--memory-reservation", ("memory.soft_limit_in_bytes", reserved))
    if (swappiness := limits.memory_swappiness) is not None:
        yield one("memory", "--memory-swappiness", ("memory.swappiness", swappiness))
    if limits.oom_kill_disable:
        yield one("memory", "--oom-kill-disable", ("memory.oom_control", 1))
    if limits.cpu_shares is not None:
        yield one("cpu", "--cpu-shares", ("cpu.shares", limits.cpu_shares))
    if limits.cpu_period is not None:
        yield one("cpu", "--cpu-period", ("cpu.cfs_period_us", limits.cpu_period))
    if limits.cpu_quota is not None:
        yield one("cpu", "--cpu-quota", ("cpu.cfs_quota_us", limits.cpu_quota))
    yield from _cpuset(limits)
    yield from _pids(limits)
    if (weight := limits.blkio_weight) is not None:
        choices = (("blkio.weight", weight), ("blkio.bfq.weight", weight))
        yield one("blkio", "--blkio-weight", *choices)
    for name, rates in _rates(limits):
        for major, minor, rate in rates:
            file = f"blkio.throttle.{name}_device"
            yield one("blkio", _rate_option(name), (file, f"{major}:{minor} {rate}"))


def _v2(limits: Limits) -> Iterator[Write]:
    def one(controller: str, option: str, *choices: tuple[str, object]) -> Write:
        return controller, option, tuple((file, str(value)) for file, value in choices)

    memory = limits.memory
    if memory is not None:
        yield one("memory", "--memory", ("memory.max", memory))
    if (swap := total_swap(limits)) is not None:
        rest = "max" if swap == UNLIMITED else max(0, swap - (memory or 0))
        yield one("memory", "--memory-swap", ("memory.swap.max", rest))
    if (reserved := limits.memory_reservation) is not None:
        yield one("memory", "--memory-reservation", ("memory.low", reserved))
    if limits.memory_swappiness is not None:
        yield one("memory", "--memory-swappiness")
    if limits.oom_kill_disable:
        yield one("memory", "--oom-kill-disable")
    if (shares := limits.cpu_shares) is not None:
        yield one("cpu", "--cpu-shares", ("cpu.weight", weight_of_shares(shares)))
    quota, period = limits.cpu_quota, limits.cpu_period
    if quota is not None or period is not None:
        option = "--cpu-quota" if quota is not None else "--cpu-period"
        most = "max" if quota is None or quota < 0 else quota
        yield one("cpu", option, ("cpu.max", f"{most} {period or _PERIOD}"))
    yield from _cpuset(limits)
    yield from _pids(limits)
    if (weight := limits.blkio_weight) is not None:
        choices = (("io.bfq.weight", weight), ("io.weight", weight_of_blkio(weight)))
        yield one("io", "--blkio-weight", *choices)
    for name, rates in _rates(limits):
        key = {"read_bps": "rbps", "write_bps": "wbps", "read_iops": "riops"}.get(name, "wiops")
        for major, minor, rate in rates:
            yield one("io", _rate_option(name), ("io.max", f"{major}:{minor} {key}={rate}"))


def _cpuset(limits: Limits) -> Iterator[Write]:
    """The same in both versions."""
    if limits.cpuset_cpus is not None:
        yield "cpuset", "--cpuset-cpus", (("cpuset.cpus", limits.cpuset_cpus),)
    if limits.cpuset_mems is not None:
        yield "cpuset", "--cpuset-mems", (("cpuset.mems", limits.cpuset_mems),)


def _pids(limits: Limits) -> Iterator[Write]:
    if limits.pids is not None:
        most = "max" if limits.pids == UNLIMITED else str(limits.pids)
        yield "pids", "--pids-limit", (("pids.max", most),)


def _rates(limits: Limits) -> Iterator[tuple[str, tuple[Rate, ...]]]:
    for name in ("read_bps", "write_bps", "read_iops", "write_iops"):
        # Named as the files of version 1 are.
        rates: tuple[Rate, ...] = getattr(limits, name)
        yield name, rates


def _rate_option(name: str) -> str:
    return f"--device-{name.replace('_', '-')}"
