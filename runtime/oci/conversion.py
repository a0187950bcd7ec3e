"""What a config needs to be told of this machine and of a container's root."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from runtime.containers.devices import device_rules
from runtime.containers.spec import ContainerSpec
from runtime.image.layer.view import View
from runtime.oci.config import IdRange
from runtime.oci.resources import resources
from runtime.sandbox.spec import BindMount, Mount, SandboxSpec
from runtime.user import Ids, find_user, with_groups

_LARGEST_FILE = 8 << 20
_WHOLE = 1 << 31


def ids_in(view: View, user: str, groups: tuple[str, ...] = ()) -> Ids:
    """The IDs of a `USER` in a root, with more groups; `UserNotFound`."""
    passwd, group = (view.read(path, _LARGEST_FILE) for path in (b"etc/passwd", b"etc/group"))
    return with_groups(find_user(passwd or b"", group or b"", user), group or b"", groups)


def mapped_ids(kind: str) -> tuple[IdRange, ...]:
    """How this process's user namespace maps `uid` or `gid`; none if it is the system's own."""
    with open(f"/proc/self/{kind}_map", encoding="ascii") as file:
        rows = [tuple(map(int, line.split())) for line in file]
    if len(rows) == 1 and rows[0][:2] == (0, 0) and rows[0][2] >= _WHOLE:
        return ()
    return tuple(IdRange(inside=row[0], outside=row[1], count=row[2]) for row in rows)


def device_targets(mounts: Iterable[Mount]) -> frozenset[str]:
    """Where device files of the host's are mounted."""
    return frozenset(
        mount.target
        for mount in mounts
        if isinstance(mount, BindMount) and _is_device(mount.source)
    )


def _is_device(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def resources_of(spec: ContainerSpec) -> dict[str, Any] | None:
    """`linux.resources` of a container; `None` for a plain user, who has no cgroups to give.

    `InvalidContainer` for a device that is none.
    """
    if mapped_ids("uid"):
        return None
    return resources(spec.limits, device_rules(spec.devices, spec.device_rules))


def within_limits(spec: SandboxSpec) -> SandboxSpec:
    """The spec with limits that who has ours can set: no runtime cuts them down as we do."""
    limits = []
    for kind, soft, hard in spec.rlimits:
        _, most = resource.getrlimit(kind)
        if most != resource.RLIM_INFINITY and not _may_raise():
            hard = most if hard == -1 else min(hard, most)
            soft = hard if soft == -1 else min(soft, hard)
        limits.append((kind, soft, hard))
    return replace(spec, rlimits=tuple(limits))


def _may_raise() -> bool:
    """Whether this process has CAP_SYS_RESOURCE in the system's own user namespace."""
    if os.geteuid() != 0 or mapped_ids("uid"):
        return False
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        effective = next(line for line in file if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> 24 & 1)
