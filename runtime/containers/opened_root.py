"""The files of a container as they are to its processes, for a process of ours that stays outside.

Those of one that runs are reached through its first process; those of one that does not are
mounted in our own mount namespace, with its volumes and the files of the host that it has.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from runtime.containers.control import held
from runtime.containers.prepare import sandbox_of
from runtime.containers.record import Container
from runtime.errors import NotRunning
from runtime.image.layer.owners import owners_here
from runtime.image.store.store import open_store
from runtime.monitor.identity import is_alive, open_process
from runtime.sandbox import mounts
from runtime.sandbox.mounts import open_in_root
from runtime.sandbox.privilege import acquire, join
from runtime.sandbox.spec import BindMount, SandboxSpec
from runtime.sandbox.syscalls import (
    AT_EMPTY_PATH,
    MNT_DETACH,
    MOUNT_ATTR_RDONLY,
    capget,
    capset,
    mount_setattr,
    umount2,
)

_ROOT = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class OpenedRoot:
    """A container's root by a descriptor (O_PATH), and who root in it is, as we see it."""

    fd: int
    owner: tuple[int, int] = (0, 0)

    def outside(self, uid: int, gid: int) -> tuple[int, int]:
        """An owner in the container, as we see it: IDs of its own are a range."""
        return uid + self.owner[0], gid + self.owner[1]

    def inside(self, uid: int, gid: int) -> tuple[int, int]:
        """An owner as we see it, as the container does."""
        return max(uid - self.owner[0], 0), max(gid - self.owner[1], 0)

    @contextmanager
    def entitled(self) -> Iterator[None]:
        """Be able to make files in it: only who is somebody there can, on mounts that map IDs.

        Until the end of the block this process is its root, with its own capabilities.
        """
        if self.owner == (0, 0):
            yield
            return
        us = os.geteuid(), os.getegid()
        _, permitted, inheritable = capget()
        os.setegid(self.owner[1])
        os.seteuid(self.owner[0])
        try:
            # They are lost with the change of IDs, but may be taken up again.
            capset(permitted, permitted, inheritable)
            yield
        finally:
            os.seteuid(us[0])
            os.setegid(us[1])


@contextmanager
def opened_root(root: str, container: Container) -> Iterator[OpenedRoot]:
    """The root of a container of the store at `root`; enters a namespace, for good.

    `NotRunning` if it has ended just now; `SandboxUnavailable`; what `sandbox_of` raises.
    """
    if container.is_running:
        with _running(container) as opened:
            yield opened
    else:
        with _resting(root, container) as opened:
            yield opened


@contextmanager
def _running(container: Container) -> Iterator[OpenedRoot]:
    state = container.state
    pidfd = open_process(state.process)
    if pidfd is None or state.process is None:
        raise NotRunning(container.id)
    pid = state.process.pid
    try:
        if os.geteuid() != 0:
            runner = state.runner if is_alive(state.runner) else None
            join((runner or state.process).pid)
        fd = os.open(f"/proc/{pid}/root", _ROOT)
        try:
            owner = _root_of(pid)
            # Only now is it sure that the ID was still that process's.
            if not is_alive(state.process):
                raise NotRunning(container.id)
            yield OpenedRoot(fd, owner)
        finally:
            os.close(fd)
    finally:
        os.close(pidfd)


@contextmanager
def _resting(root: str, container: Container) -> Iterator[OpenedRoot]:
    acquire()
    with open_store(root, owners_here()) as store, held(store.root, container.id) as found:
        spec = sandbox_of(store, found.container)
        with store.workspace() as space:
            place = os.path.join(space, "root")
            os.mkdir(place, 0o755)
            mounts.mount_overlay(place, lower=spec.lower, upper=spec.upper, work=spec.work)
            try:
                fd = os.open(place, _ROOT)
                try:
                    _attach(fd, spec)
                    yield OpenedRoot(fd)
                finally:
                    os.close(fd)
            finally:
                umount2(place, MNT_DETACH)


def _attach(root_fd: int, spec: SandboxSpec) -> None:
    """Mount what it will have mounted when it runs, as far as that is not in memory."""
    for mount in sorted(spec.mounts, key=lambda mount: mount.target.count("/")):
        if not isinstance(mount, BindMount):
            continue
        try:
            target = open_in_root(root_fd, mount.target, os.O_PATH)
        except FileNotFoundError:
            continue  # It is made when the container starts.
        try:
            fd = mounts.bind(
                mount.source,
                read_only=mount.read_only,
                recursive=mount.recursive,
                subpath=os.fsencode(mount.subpath),
            )
            try:
                mounts.attach(fd, target)
            finally:
                os.close(fd)
        finally:
            os.close(target)
    if spec.read_only_root:
        mount_setattr(root_fd, b"", AT_EMPTY_PATH, attr_set=MOUNT_ATTR_RDONLY)


def _root_of(pid: int) -> tuple[int, int]:
    """Who a process's root is in our user namespace."""
    if os.stat(f"/proc/{pid}/ns/user").st_ino == os.stat("/proc/self/ns/user").st_ino:
        return 0, 0
    return _outside(pid, "uid_map"), _outside(pid, "gid_map")


def _outside(pid: int, kind: str) -> int:
    with open(f"/proc/{pid}/{kind}", encoding="ascii") as file:
        for line in file:
            inside, outside, _ = map(int, line.split())
            if inside == 0:
                return outside
    return 0
