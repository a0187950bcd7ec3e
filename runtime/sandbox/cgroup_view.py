"""What a container sees of its cgroups: /sys/fs/cgroup, read-only unless it may do everything.

Programs look there for their limits: Java for the size of its heap, Go for its processors.
"""

from __future__ import annotations

import os

from runtime.sandbox import mounts
from runtime.sandbox.syscalls import (
    AT_EMPTY_PATH,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    mount_setattr,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.sandbox.wire import Order

_PLACE = b"/sys/fs/cgroup"
_INERT = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV


def cgroup_mounts(order: Order) -> list[tuple[bytes, int]]:
    """Mounts of a container's own groups, and where they are attached, in this order.

    None where it has no groups, or no namespace in which they are the root.
    """
    if order.namespaces["cgroup"][0] != "new":
        return []
    try:
        if order.cgroups:
            return _of_v1(order)
        if order.unified_cgroup is not None:
            return [(_PLACE, mounts.filesystem("cgroup2", _attributes(order)))]
    except PermissionError:
        return []  # The namespace was made outside of the user namespace we are in.
    return []


def _attributes(order: Order) -> int:
    return _INERT | (0 if order.all_devices else MOUNT_ATTR_RDONLY)


def _of_v1(order: Order) -> list[tuple[bytes, int]]:
    """A folder for each hierarchy, and a link for each of several controllers that share one."""
    top = mounts.filesystem("tmpfs", _INERT, "mode=755,size=64k")
    made = [(_PLACE, top)]
    for names, _ in order.cgroups:
        os.mkdir(names, 0o755, dir_fd=top)
        single = names.split(b",")
        for name in single if len(single) > 1 else ():
            os.symlink(names, name, dir_fd=top)
        options = names.decode()
        made.append(
            (_PLACE + b"/" + names, mounts.filesystem("cgroup", _attributes(order), options))
        )
    mount_setattr(top, b"", AT_EMPTY_PATH, attr_set=MOUNT_ATTR_RDONLY)
    return made
