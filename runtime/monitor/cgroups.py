"""Where a process is in the unified hierarchy of cgroups."""

from __future__ import annotations

from runtime.cgroups.layout import read_text
from runtime.monitor.hierarchy import hierarchy

_FREEZER = "/sys/fs/cgroup/freezer"


def cgroup_of(pid: int) -> str:
    """The path of a process's cgroup there; empty if it has none."""
    for line in read_text(f"/proc/{pid}/cgroup").splitlines():
        if line.startswith("0::"):
            return line[3:]
    return ""


def is_frozen(pid: int) -> bool:
    """Whether a process is in a cgroup that is frozen."""
    path = cgroup_of(pid) if hierarchy() else ""
    if path:
        return path != "/" and read_text(f"{hierarchy()}{path}/cgroup.freeze") == "1"
    # Without version 2 it is the freezer of version 1, where containers are given that.
    for line in read_text(f"/proc/{pid}/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if "freezer" in names.split(","):
            return read_text(f"{_FREEZER}{path}/freezer.state") in ("FROZEN", "FREEZING")
    return False
