"""A container's limits as `linux.resources` of a config. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from runtime.cgroups.devices import Rule
from runtime.cgroups.limits import Limits, Rate
from runtime.cgroups.plan import total_swap

_THROTTLES: Final = {
    "throttleReadBpsDevice": "read_bps",
    "throttleWriteBpsDevice": "write_bps",
    "throttleReadIOPSDevice": "read_iops",
    "throttleWriteIOPSDevice": "write_iops",
}


def resources(limits: Limits, rules: Iterable[Rule]) -> dict[str, Any]:
    """What a container may use; of devices those that the rules allow, and no others."""
    found = {
        "memory": _given(
            limit=limits.memory,
            swap=total_swap(limits),
            reservation=limits.memory_reservation,
            swappiness=limits.memory_swappiness,
            disableOOMKiller=True if limits.oom_kill_disable else None,
        ),
        "cpu": _given(
            shares=limits.cpu_shares,
            quota=limits.cpu_quota,
            period=limits.cpu_period,
            cpus=limits.cpuset_cpus,
            mems=limits.cpuset_mems,
        ),
        "pids": _given(limit=limits.pids),
        "blockIO": _given(
            weight=limits.blkio_weight,
            **{name: _rates(getattr(limits, member)) for name, member in _THROTTLES.items()},
        ),
    }
    devices = [{"allow": False, "access": "rwm"}, *map(_rule, rules)]
    return {"devices": devices, **{name: part for name, part in found.items() if part}}


def _given(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _rates(rates: tuple[Rate, ...]) -> list[dict[str, int]] | None:
    return [{"major": major, "minor": minor, "rate": rate} for major, minor, rate in rates] or None


def _rule(rule: Rule) -> dict[str, Any]:
    kind, major, minor, access = rule
    numbers = {"major": major, "minor": minor}
    known = {name: number for name, number in numbers.items() if number >= 0}
    return {"allow": True, "type": kind, **known, "access": access}
