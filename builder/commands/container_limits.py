"""A container's limits as docker's `inspect` shows them, and saying which have no effect."""

from __future__ import annotations

from typing import Any

from builder.commands.failures import say
from runtime.cgroups.limits import Rate
from runtime.containers.spec import ContainerSpec


def say_unenforced(spec: ContainerSpec) -> None:
    """A line on standard error if limits have no effect; with `--strict` a `SandboxUnavailable`."""
    from runtime.containers.limiting import check_limits

    found = check_limits(spec)
    if found is not None and found.missing:
        remedy = f"; {found.remedy}" if found.remedy else ""
        say(f"warning: no effect has {', '.join(found.missing)}: {found.why}{remedy}")


def say_if_out_of_memory(root: str, container_id: str) -> None:
    """A line on standard error if a container that has just ended ran out of memory."""
    from runtime.containers.folder import containers_directory
    from runtime.containers.limited import OUT_OF_MEMORY
    from runtime.monitor.events import last_actions

    if "oom" in last_actions(containers_directory(root), container_id):
        say(OUT_OF_MEMORY)


def limits_document(spec: ContainerSpec) -> dict[str, Any]:
    """The members of `HostConfig`; 0 is no limit."""
    from runtime.cgroups.plan import total_swap
    from runtime.sandbox.rlimits import ulimit_name

    limits = spec.limits
    return {
        "Memory": limits.memory or 0,
        "MemorySwap": total_swap(limits) or 0,
        "MemoryReservation": limits.memory_reservation or 0,
        "MemorySwappiness": limits.memory_swappiness,
        "OomKillDisable": limits.oom_kill_disable,
        "OomScoreAdj": spec.oom_score_adj or 0,
        "CpuPeriod": limits.cpu_period or 0,
        "CpuQuota": limits.cpu_quota or 0,
        "CpuShares": limits.cpu_shares or 0,
        "CpusetCpus": limits.cpuset_cpus or "",
        "CpusetMems": limits.cpuset_mems or "",
        "PidsLimit": limits.pids,
        "BlkioWeight": limits.blkio_weight or 0,
        "BlkioDeviceReadBps": _rates(limits.read_bps),
        "BlkioDeviceWriteBps": _rates(limits.write_bps),
        "BlkioDeviceReadIOps": _rates(limits.read_iops),
        "BlkioDeviceWriteIOps": _rates(limits.write_iops),
        "CgroupParent": spec.cgroup_parent or "",
        "Ulimits": [
            {"Name": ulimit_name(resource), "Soft": soft, "Hard": hard}
            for resource, soft, hard in spec.ulimits
        ],
    }


def _rates(rates: tuple[Rate, ...]) -> list[dict[str, Any]]:
    return [{"Path": f"{major}:{minor}", "Rate": rate} for major, minor, rate in rates]
