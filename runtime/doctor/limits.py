"""Whether containers can be limited, found out by making the cgroup that theirs would be in."""

from __future__ import annotations

from runtime.cgroups.layout import default_parent, find_layout, owns_hierarchies
from runtime.cgroups.limits import Limits
from runtime.containers.limiting import enforcement
from runtime.containers.spec import ContainerSpec
from runtime.doctor.findings import Finding

_NAME = "limits"
_EVERY = Limits(
    memory=1 << 30,
    memory_reservation=1 << 20,
    cpu_quota=100_000,
    cpu_shares=1024,
    cpuset_cpus="0",
    pids=100,
    blkio_weight=500,
)
"""All kinds of limits that both versions have."""


def probe_limits() -> Finding:
    """Which version of cgroups there is, and what it lets this user limit."""
    layout = find_layout()
    kind = "no cgroups" if layout.kind == "none" else f"cgroup {layout.kind}"
    found = enforcement(ContainerSpec(image="", limits=_EVERY))
    if found.path is None:
        return Finding(
            name=_NAME,
            state="limited",
            detail=f"{kind}, none for this user: {found.why}",
            remedy=found.remedy,
        )
    there = ", ".join(
        dict.fromkeys(
            option.removeprefix("--").partition("-")[0]
            for _, option, _ in found.writes
            if option not in found.missing
        )
    )
    place = default_parent(layout)
    if not found.missing:
        return Finding(name=_NAME, state="works", detail=f"{kind}, in {place}: {there}")
    missing = ", ".join(found.missing)
    mended = None
    if not owns_hierarchies():
        mended = (
            "as root: systemctl edit user@.service: [Service] Delegate=cpu cpuset io memory pids"
        )
    return Finding(
        name=_NAME,
        state="limited",
        detail=f"{kind}, in {place}: {there or 'nothing'}; without {missing}",
        remedy=mended,
    )
