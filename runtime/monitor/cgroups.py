"""Where a process is in the unified hierarchy of cgroups."""

from __future__ import annotations

import os

_PLACES = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")


def hierarchy() -> str:
    """Where the unified hierarchy is mounted; empty if it is not."""
    for place in _PLACES:
        if os.path.exists(f"{place}/cgroup.procs") and os.path.exists(
            f"{place}/cgroup.subtree_control"
        ):
            return place
    return ""


def cgroup_of(pid: int) -> str:
    """The path of a process's cgroup there; empty if it has none."""
    for line in read_text(f"/proc/{pid}/cgroup").splitlines():
        if line.startswith("0::"):
            return line[3:]
    return ""


def is_frozen(pid: int) -> bool:
    """Whether a process is in a cgroup that is frozen."""
    path = cgroup_of(pid)
    return path not in ("", "/") and read_text(f"{hierarchy()}{path}/cgroup.freeze") == "1"


def read_text(path: str) -> str:
    """The text of a small file of the kernel's, without blanks around it; empty if it is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, 1 << 16).decode("utf-8", "surrogateescape").strip()
    except OSError:
        return ""
    finally:
        os.close(fd)
