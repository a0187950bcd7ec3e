"""The cgroups of one container: made, filled with limits, asked, killed, removed."""

from __future__ import annotations

import errno
import os

from runtime.cgroups.devices import attach_program, lines_v1, program
from runtime.cgroups.layout import CONTROLLERS, LEAF, read_text, write_text
from runtime.cgroups.removal import remove_groups

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Iterable, Sequence

    from runtime.cgroups.devices import Rule
    from runtime.cgroups.layout import Layout
else:
    import _signal

_ALWAYS_V1 = ("memory", "pids", "cpu", "cpuacct", "blkio", "devices")
_ALL_V1 = (*_ALWAYS_V1, "cpuset", "freezer")


class Groups:
    """A container's group in each hierarchy, all at the same path; they need not be there.

    `unified` is the directory of that of version 2, empty if there is no such hierarchy; `v1`
    are directories by controller, of those hierarchies that are to be used.
    """

    def __init__(self, layout: Layout, path: str, *, controllers: Iterable[str] = ()) -> None:
        self.unified = f"{layout.unified}{path}" if layout.unified else ""
        wanted = [*_ALWAYS_V1, *controllers]
        if not self.unified:
            wanted.append("freezer")
        self.v1 = {
            name: f"{layout.v1[name]}{path}" for name in dict.fromkeys(wanted) if name in layout.v1
        }
        self._layout = layout
        self._has_v2_controllers = not layout.v1

    @property
    def directories(self) -> tuple[str, ...]:
        """Every directory, each once: several controllers may share a hierarchy."""
        unified = (self.unified,) if self.unified else ()
        return tuple(dict.fromkeys((*unified, *self.v1.values())))

    @property
    def hierarchies(self) -> tuple[tuple[str, str], ...]:
        """Each hierarchy of version 1: all its controllers, by commas, and the group in it."""
        found = {}
        for name, folder in self.v1.items():
            place = self._layout.v1[name]
            shared = sorted(other for other, top in self._layout.v1.items() if top == place)
            found[",".join(shared)] = folder
        return tuple(found.items())

    def make(self) -> None:
        """Make the directories, and those above them; `OSError` if that is not allowed."""
        if self.unified:
            top = self._layout.unified
            controlled = self._has_v2_controllers
            make_below(top, self.unified[len(top) :], controlled=controlled)
        for name, path in self.v1.items():
            _make_v1(self._layout.v1[name], path, fill=name == "cpuset")

    def has(self, controller: str, file: str) -> bool:
        """Whether there is such a file."""
        folder = self._directory(controller)
        return bool(folder) and os.path.exists(f"{folder}/{file}")

    def write(self, controller: str, choices: Sequence[tuple[str, str]]) -> bool:
        """Write to the first of these files that is there; whether there is one."""
        folder = self._directory(controller)
        for file, value in choices:
            if folder and os.path.exists(f"{folder}/{file}"):
                write_text(f"{folder}/{file}", value)
                return True
        return False

    def limit_devices(self, rules: tuple[Rule, ...]) -> bool:
        """Have only the devices work that a rule allows; `False` if the kernel cannot."""
        folder = self.v1.get("devices")
        if folder is not None:
            write_text(f"{folder}/devices.deny", "a")
            for line in lines_v1(rules):
                write_text(f"{folder}/devices.allow", line)
            return True
        if not self.unified:
            return False
        try:
            attach_program(self.unified, program(rules))
        except OSError as error:
            # Made without CONFIG_CGROUP_BPF.
            if error.errno not in (errno.ENOSYS, errno.EINVAL):
                raise
            return False
        return True

    def there(self) -> Groups:
        """Those of them that are there."""
        found = Groups(self._layout, "")
        found.unified = self.unified if os.path.isdir(self.unified) else ""
        found.v1 = {name: path for name, path in self.v1.items() if os.path.isdir(path)}
        return found

    def processes(self) -> list[int]:
        """The IDs of all processes in them, and in groups that a container made below."""
        found: set[int] = set()
        for folder, _, _ in os.walk(self.directories[0]):
            found.update(map(int, read_text(f"{folder}/cgroup.procs").split()))
        return sorted(found)

    @property
    def can_freeze(self) -> bool:
        return bool(self.unified) or "freezer" in self.v1

    def freeze(self, *, frozen: bool) -> None:
        """Have all processes stop where they are, or go on; that takes a moment."""
        if self.unified:
            write_text(f"{self.unified}/cgroup.freeze", str(int(frozen)))
        else:
            text = "FROZEN" if frozen else "THAWED"
            write_text(f"{self.v1['freezer']}/freezer.state", text)

    @property
    def is_frozen(self) -> bool:
        if self.unified:
            return "frozen 1" in read_text(f"{self.unified}/cgroup.events").splitlines()
        return read_text(f"{self.v1['freezer']}/freezer.state") == "FROZEN"

    def oom_kills(self) -> int:
        """How many processes the kernel has killed because they had no memory left."""
        if self.unified and self._has_v2_controllers:
            return _number(read_text(f"{self.unified}/memory.events"), "oom_kill")
        folder = self.v1.get("memory", "")
        return _number(read_text(f"{folder}/memory.oom_control"), "oom_kill") if folder else 0

    def remove(self) -> None:
        """Kill what is in them, and remove them; those that are there.

        `OSError` for one that does not get empty.
        """
        remove_groups(self.directories, _kill)

    def _directory(self, controller: str) -> str:
        if self._has_v2_controllers:
            return self.unified
        return self.v1.get(controller, "")


def all_groups(layout: Layout, path: str) -> Groups:
    """The groups at a path in every hierarchy that lamina ever uses, to be removed."""
    return Groups(layout, path, controllers=_ALL_V1)


def make_below(top: str, path: str, *, controlled: bool) -> None:
    """Make a group of version 2, and those above it, with all controllers that there are.

    What another process removes meanwhile is made again.
    """
    parts = path.strip("/").split("/")
    while True:
        try:
            folder = top
            for part in parts:
                if controlled:
                    _enable(folder)
                folder = f"{folder}/{part}"
                _mkdir(folder)
        except FileNotFoundError:
            if not os.path.isdir(top):
                raise
        else:
            return


def _enable(folder: str) -> None:
    """Have the groups below one have its controllers, as far as it has them."""
    there = set(read_text(f"{folder}/cgroup.controllers").split())
    enabled = set(read_text(f"{folder}/cgroup.subtree_control").split())
    for name in CONTROLLERS:
        if name not in there - enabled:
            continue
        try:
            write_text(f"{folder}/cgroup.subtree_control", f"+{name}")
        except OSError as error:
            if error.errno in (errno.EBUSY, errno.EOPNOTSUPP):
                # A group with controllers below it may have no processes of its own; and if it
                # has, and only those that threads can have (cpu, pids), no more of them.
                _move_to_leaf(folder)
                write_text(f"{folder}/cgroup.subtree_control", f"+{name}")
            elif error.errno not in (errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOENT):
                raise


def _move_to_leaf(folder: str) -> None:
    leaf = f"{folder}/{LEAF}"
    _mkdir(leaf)
    for pid in read_text(f"{folder}/cgroup.procs").split():
        try:
            write_text(f"{leaf}/cgroup.procs", pid)
        except ProcessLookupError:
            continue


def _make_v1(top: str, path: str, *, fill: bool) -> None:
    parts = path[len(top) :].strip("/").split("/")
    folder = top
    for part in parts:
        above, folder = folder, f"{folder}/{part}"
        _mkdir(folder)
        if fill:
            # A cpuset of version 1 begins empty, and then nothing can run in it.
            for name in ("cpuset.cpus", "cpuset.mems"):
                if not read_text(f"{folder}/{name}"):
                    write_text(f"{folder}/{name}", read_text(f"{above}/{name}"))


def _mkdir(folder: str) -> None:
    try:
        os.mkdir(folder, 0o755)
    except FileExistsError:
        return


def _kill(path: str) -> None:
    """Send every process of a group SIGKILL."""
    try:
        write_text(f"{path}/cgroup.kill", "1")
        return
    except OSError:
        pass  # Of version 1, or of a kernel before 5.14.
    for file, thawed in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
        if os.path.exists(f"{path}/{file}"):
            write_text(f"{path}/{file}", thawed)
    for pid in read_text(f"{path}/cgroup.procs").split():
        try:
            os.kill(int(pid), _signal.SIGKILL)
        except ProcessLookupError:
            continue


def _number(text: str, key: str) -> int:
    """The number after a key in lines of both."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return 0
