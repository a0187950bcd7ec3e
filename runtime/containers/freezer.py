"""Freezing all processes of a container: `pause` and `unpause`.

By the freezer of a cgroup, which is the only way that processes cannot notice or undo. Where
the container has no cgroup of its own, one is made when it is paused and its processes are
moved there; frozen first, so none of them gets away.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from runtime.cgroups.layout import read_text, write_text
from runtime.containers.processes import groups_of, processes_of
from runtime.containers.record import Container
from runtime.errors import InvalidContainer, NotRunning, SandboxUnavailable, SetupFailed
from runtime.monitor.cgroups import cgroup_of
from runtime.monitor.hierarchy import hierarchy

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
    with _explained():
        groups = groups_of(container)
        if groups is not None and groups.can_freeze:
            groups.freeze(frozen=True)
            _await(lambda: groups.is_frozen)
            return
        own = f"{_unified()}/lamina-{container.id}"
        with suppress(FileExistsError):
            os.mkdir(own)
        write_text(f"{own}/cgroup.freeze", "1")
        _move_all(container, own)
        _await(lambda: "frozen 1" in read_text(f"{own}/cgroup.events").splitlines())


def unpause(container: Container) -> None:
    """Let the processes of a paused container go on."""
    process = container.state.process
    if container.state.status != "paused" or process is None:
        raise InvalidContainer(f"container {container.description.short_id} is not paused")
    with _explained():
        groups = groups_of(container)
        if groups is not None and groups.can_freeze:
            groups.freeze(frozen=False)
            _await(lambda: not groups.is_frozen)
            return
        own = f"{_unified()}{cgroup_of(process.pid)}"
        write_text(f"{own}/cgroup.freeze", "0")
        _await(lambda: "frozen 0" in read_text(f"{own}/cgroup.events").splitlines())


def thaw(container: Container) -> None:
    """Let a container go on if it is paused: who is to be stopped must be able to."""
    if container.state.status == "paused":
        unpause(container)


def _unified() -> str:
    place = hierarchy()
    if not place:
        raise SandboxUnavailable(
            "pausing",
            "there is no cgroup version 2 hierarchy here",
            "mount one, or start the machine with systemd.unified_cgroup_hierarchy=1",
        )
    return place


def _move_all(container: Container, cgroup: str) -> None:
    """Move all processes of a container; those that come up meanwhile, too."""
    path = cgroup[len(hierarchy()) :]
    deadline = time.monotonic() + _SECONDS
    while True:
        moved = False
        for pid in processes_of(container):
            if cgroup_of(pid) != path:
                with suppress(ProcessLookupError):
                    write_text(f"{cgroup}/cgroup.procs", str(pid))
                    moved = True
        if not moved:
            return
        if time.monotonic() > deadline:
            raise SetupFailed("pause", 0, "the container makes processes too fast")


def _await(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise SetupFailed("pause", 0, "the kernel does not freeze its processes")
        time.sleep(0.002)


class _explained:
    """Has what the kernel refuses said as what is missing."""

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, PermissionError):
            raise SandboxUnavailable(
                "pausing",
                f"{error.filename or 'the cgroup'}: {(error.strerror or '').lower()}",
                "only a user to whom a cgroup was delegated can freeze processes; root can",
            ) from error
