"""Which processes of the machine are a container's."""

from __future__ import annotations

import os

from runtime.cgroups.groups import Groups, all_groups
from runtime.cgroups.layout import find_layout, read_text
from runtime.containers.limiting import group_path
from runtime.containers.record import Container


def groups_of(container: Container) -> Groups | None:
    """The cgroups of a container that runs; `None` if it has none."""
    path = group_path(container.folder)
    if path is None:
        return None
    groups = all_groups(find_layout(), path).there()
    return groups if groups.directories else None


def processes_of(container: Container) -> list[int]:
    """The IDs of a container's processes, with those that `exec` started, in their order."""
    process = container.state.process
    if process is None:
        return []
    groups = groups_of(container)
    if groups is not None:
        return groups.processes()
    namespace = _pid_namespace(str(process.pid))
    if namespace is not None and namespace != _pid_namespace("self"):
        return [pid for pid in _all() if _pid_namespace(str(pid)) == namespace]
    # It shares ours, in which all others are as well.
    return _descendants(process.pid)


def _all() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())


def _pid_namespace(process: str) -> int | None:
    try:
        return os.stat(f"/proc/{process}/ns/pid").st_ino
    except OSError:
        return None  # ended, or somebody else's


def _descendants(first: int) -> list[int]:
    found = {first}
    for pid in _all():
        above = _parents(pid)
        if found.intersection(above):
            found.add(pid)
    return sorted(found)


def _parents(pid: int) -> list[int]:
    """The processes above one, up to the first."""
    above: list[int] = []
    while pid > 1 and pid not in above[:-1]:
        # proc_pid_stat(5): the parent is the second field after the name.
        fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
        pid = int(fields[1]) if fields else 0
        above.append(pid)
    return above
