"""Freezing all processes of a container: `pause` and `unpause`.

By the freezer of a cgroup, which is the only way that processes cannot notice or undo. Where
the container has no cgroup of its own in the unified hierarchy, one is made when it is paused
and its processes are moved there; frozen first, so none of them gets away.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Final

from runtime.containers.record import Container
from runtime.errors import InvalidContainer, NotRunning, SandboxUnavailable, SetupFailed
from runtime.monitor.cgroups import cgroup_of, hierarchy, read_text

_SECONDS: Final = 10


def pause(container: Container) -> None:
    """Stop all processes of a container where they are.

    `InvalidContainer` if it is paused; `SandboxUnavailable` where no cgroup can be made.
    """
    process = container.state.process
    if container.state.status == "paused":
        raise InvalidContainer(f"container {container.description.short_id} is already paused")
    if container.state.status != "running" or process is None:
        raise NotRunning(container.id)
    pid = process.pid
    place = hierarchy()
    own = f"{place}{cgroup_of(pid)}"
    if not own.endswith(container.id):
        own = f"{place}/lamina-{container.id}"
        with _explained():
            with suppress(FileExistsError):
                os.mkdir(own)
            _write(f"{own}/cgroup.freeze", "1")
            _move_all(pid, own)
    with _explained():
        _write(f"{own}/cgroup.freeze", "1")
        _await(own, "frozen 1")


def unpause(container: Container) -> None:
    """Let the processes of a paused container go on."""
    process = container.state.process
    if container.state.status != "paused" or process is None:
        raise InvalidContainer(f"container {container.description.short_id} is not paused")
    own = f"{hierarchy()}{cgroup_of(process.pid)}"
    with _explained():
        _write(f"{own}/cgroup.freeze", "0")
        _await(own, "frozen 0")


def thaw(container: Container) -> None:
    """Let a container go on if it is paused: who is to be stopped must be able to."""
    if container.state.status == "paused":
        unpause(container)


def remove_freezer(container_id: str) -> None:
    """Remove what `pause` made, if it is there; its processes are gone."""
    place = hierarchy()
    if place:
        with suppress(OSError):
            os.rmdir(f"{place}/lamina-{container_id}")


def _move_all(pid: int, cgroup: str) -> None:
    """Move all processes of the same PID namespace; those that come up meanwhile, too."""
    namespace = os.stat(f"/proc/{pid}/ns/pid").st_ino
    deadline = time.monotonic() + _SECONDS
    while True:
        moved = False
        for other in _pids_in(namespace):
            if cgroup_of(other) != cgroup[len(hierarchy()) :]:
                with suppress(ProcessLookupError):
                    _write(f"{cgroup}/cgroup.procs", str(other))
                    moved = True
        if not moved:
            return
        if time.monotonic() > deadline:
            raise SetupFailed("pause", 0, "the container makes processes too fast")


def _pids_in(namespace: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}/ns/pid").st_ino == namespace:
                    found.append(int(name))
            except OSError:
                continue  # ended, or somebody else's
    return found


def _await(cgroup: str, line: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while line not in read_text(f"{cgroup}/cgroup.events").splitlines():
        if time.monotonic() > deadline:
            raise SetupFailed("pause", 0, "the kernel does not freeze its processes")
        time.sleep(0.002)


class _explained:
    """Has what the kernel refuses said as what is missing."""

    def __enter__(self) -> None:
        if not hierarchy():
            raise SandboxUnavailable(
                "pausing",
                "there is no cgroup version 2 hierarchy here",
                "mount one, or start the machine with systemd.unified_cgroup_hierarchy=1",
            )

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, PermissionError):
            raise SandboxUnavailable(
                "pausing",
                f"{error.filename or 'the cgroup'}: {(error.strerror or '').lower()}",
                "only a user to whom a cgroup was delegated can freeze processes; root can",
            ) from error


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
