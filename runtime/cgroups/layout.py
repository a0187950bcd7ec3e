"""Which hierarchies of cgroups are mounted, and where this process is in them."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

CONTROLLERS = ("memory", "io", "pids", "cpu", "cpuset")
"""Of version 2, those that a container's limits need; that which is refused first comes first."""
_V1 = frozenset((
    "blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "pids",
))  # fmt: skip
LEAF = "lamina-init"
"""Where processes of a group go that is to have groups with controllers below it."""
_EVERYBODY = ["0", "0", "4294967295"]


class Layout:
    """The hierarchies: `v1` mount points by controller, `unified` that of version 2, or "".

    `own` are the paths of this process's groups by controller, that of version 2 under "";
    relative to the mount points.
    """

    __slots__ = ("own", "unified", "v1")

    def __init__(self, *, v1: dict[str, str], unified: str, own: dict[str, str]) -> None:
        self.v1 = v1
        self.unified = unified
        self.own = own

    @property
    def kind(self) -> Literal["v1", "v2", "hybrid", "none"]:
        if self.v1:
            return "hybrid" if self.unified else "v1"
        return "v2" if self.unified else "none"


def find_layout() -> Layout:
    """The hierarchies as this process sees them."""
    return parse_layout(read_text("/proc/self/mountinfo"), read_text("/proc/self/cgroup"))


def parse_layout(mounts: str, groups: str) -> Layout:
    """The hierarchies, from the texts of /proc/self/mountinfo and /proc/self/cgroup."""
    v1: dict[str, str] = {}
    unified = ""
    roots: dict[str, str] = {}
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, rest = after.partition(" ")
        if kind not in ("cgroup", "cgroup2"):
            continue
        root, place = before.split(" ")[3:5]
        place = place.replace("\\040", " ")
        if kind == "cgroup2":
            unified = unified or place
            roots.setdefault("", root)
            continue
        for name in _V1.intersection(rest.rpartition(" ")[2].split(",")):
            v1.setdefault(name, place)
            roots.setdefault(name, root)
    own = {}
    for line in groups.splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            if name in roots:
                own[name] = _below(path, roots[name])
    return Layout(v1=v1, unified=unified, own=own)


def _below(path: str, root: str) -> str:
    """A group's path as it is below a mount that shows only what is below `root`."""
    if root != "/" and f"{path}/".startswith(f"{root}/"):
        path = path[len(root) :]
    return path if path != "/" else ""


def default_parent(layout: Layout) -> str:
    """The group that containers' groups are made in: of root's own, or in our own group."""
    if owns_hierarchies():
        return "/lamina"
    return f"{layout.own.get('', '').removesuffix(f'/{LEAF}')}/lamina"


def owns_hierarchies() -> bool:
    """Whether this is root, not just one of a user namespace."""
    return os.geteuid() == 0 and read_text("/proc/self/uid_map").split() == _EVERYBODY


def read_text(path: str) -> str:
    """The text of a file of the kernel's, without blanks around it; empty if it is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    data = b""
    try:
        while more := os.read(fd, 1 << 16):
            data += more
    except OSError:
        return ""
    finally:
        os.close(fd)
    return data.decode("utf-8", "surrogateescape").strip()


def write_text(path: str, text: str) -> None:
    """Write to a file of the kernel's; `OSError` has its path."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(fd)
