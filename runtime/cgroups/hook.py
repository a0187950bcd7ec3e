"""A container's cgroups, made ahead of each start and removed after each exit.

Monitors import it: see `runtime.monitor.hooks`.
"""

from __future__ import annotations

import marshal
import os

from runtime.cgroups.groups import Groups
from runtime.cgroups.layout import find_layout
from runtime.errors import ContainerError, SetupFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.cgroups.devices import Rule
    from runtime.cgroups.plan import Write
    from runtime.sandbox.wire import Order

MODULE = "runtime.cgroups.hook"


CHANGED = "limits"
"""In a container's folder: limits that were changed since its monitor was started."""


def encode_writes(writes: tuple[Write, ...]) -> bytes:
    """The content of that file."""
    return marshal.dumps(writes)


def encode_hook(
    path: str, writes: tuple[Write, ...], rules: tuple[Rule, ...] | None, folder: str
) -> bytes:
    """The data of a hook: where the groups are in their hierarchies, and what is written.

    `rules` say which devices may be used; any, if `None`. `folder` is the container's.
    """
    return marshal.dumps((path, writes, rules, folder))


def open_hook(data: bytes, container_id: str, loop: object) -> LimitsHook:
    """The hook of a container."""
    path, writes, rules, folder = marshal.loads(data)
    return LimitsHook(path, writes, rules, folder)


class LimitsHook:
    """The groups of one container."""

    def __init__(
        self,
        path: str,
        writes: tuple[Write, ...],
        rules: tuple[Rule, ...] | None,
        folder: str | None = None,
    ) -> None:
        self._path = path
        self._writes = writes
        self._rules = rules
        self._folder = folder
        self._groups = self._new_groups()

    @property
    def unified_cgroup(self) -> str | None:
        """The group of version 2, if there is such a hierarchy."""
        return self._groups.unified or None

    @property
    def cgroups(self) -> tuple[tuple[str, str], ...]:
        """The groups of version 1, one of each hierarchy, after its controllers' names."""
        return self._groups.hierarchies

    @property
    def oom_killed(self) -> bool:
        """Whether a process in them was killed since there was no memory left for it."""
        return self._groups.oom_kills() > 0

    def before_start(self, order: Order) -> None:
        """Make the groups with their limits, for the first process to begin in."""
        self._take_changes()
        live = self.make(every_device=order.all_devices)
        order.live_devices = order.live_devices or live
        order.unified_cgroup = os.fsencode(self.unified_cgroup) if self.unified_cgroup else None
        order.cgroups = tuple(
            (names.encode(), os.fsencode(folder)) for names, folder in self.cgroups
        )

    def make(self, *, every_device: bool = False) -> bool:
        """Make the groups with their limits; whether only certain devices work in them."""
        groups = self._groups
        try:
            groups.remove()
            groups.make()
        except OSError as error:
            text = f"{error.filename}: {(error.strerror or '').lower()}"
            raise SetupFailed("make its cgroup", error.errno or 0, text) from error
        try:
            for controller, option, choices in self._writes:
                self._limit(controller, option, choices)
            if self._rules is None or every_device:
                return False
            # Only then: without a filter its root could make itself any disk.
            return self._filter(self._rules)
        except BaseException:
            groups.remove()
            raise

    def started(self, pid: int) -> None:
        """Nothing is to be done: it began in its groups."""

    def ended(self) -> dict[str, object]:
        """Whether it ran out of memory."""
        return {"oom_killed": self.oom_killed}

    def after_exit(self) -> None:
        """Remove the groups, with whatever process is still in them."""
        self._groups.remove()

    def _new_groups(self) -> Groups:
        controllers = [controller for controller, _, _ in self._writes]
        return Groups(find_layout(), self._path, controllers=controllers)

    def _take_changes(self) -> None:
        """Have the limits that `update` has set since."""
        if self._folder is None:
            return
        try:
            fd = os.open(f"{self._folder}/{CHANGED}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            self._writes = marshal.loads(os.read(fd, 1 << 16))
        finally:
            os.close(fd)
        self._groups = self._new_groups()

    def _filter(self, rules: tuple[Rule, ...]) -> bool:
        """Have only these devices work; whether that is so."""
        try:
            return self._groups.limit_devices(rules)
        except OSError as error:
            why = (error.strerror or "").lower()
            raise SetupFailed("limit the devices of its cgroup", error.errno or 0, why) from error

    def _limit(self, controller: str, option: str, choices: tuple[tuple[str, str], ...]) -> None:
        try:
            # What the kernel has not at all was said when the container was made.
            self._groups.write(controller, choices)
        except OSError as error:
            values = " ".join(dict.fromkeys(value for _, value in choices))
            raise ContainerError(
                f"{option}: the kernel does not take {values}: {(error.strerror or '').lower()}"
            ) from error
