"""Limits of RUN steps: a cgroup for each command, removed with it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runtime.cgroups.limits import NO_LIMITS, Limits

if TYPE_CHECKING:
    from runtime.cgroups.hook import LimitsHook
    from runtime.cgroups.plan import Write
    from runtime.sandbox.spec import SandboxSpec

_PREFIX = "lamina-step"


@dataclass(frozen=True, slots=True)
class Limited:
    """A command's sandbox, and whether the kernel killed one of its processes for memory."""

    spec: SandboxSpec
    hook: LimitsHook | None

    @property
    def ran_out_of_memory(self) -> bool:
        return self.hook is not None and self.hook.oom_killed


class StepLimits:
    """Limits of each command of a build.

    The constructor removes what killed builds left, and raises `SandboxUnavailable` if a limit
    cannot be enforced here, `InvalidContainer` for a parent that is no path.
    """

    def __init__(self, limits: Limits, cgroup_parent: str | None) -> None:
        self._parent: str | None = None
        self._writes: tuple[Write, ...] = ()
        self._numbers = itertools.count()
        if limits == NO_LIMITS and cgroup_parent is None:
            return
        # Not before: builds without limits do not pay for it.
        from runtime.containers.limiting import check_limits
        from runtime.containers.spec import ContainerSpec

        wanted = ContainerSpec(image="", limits=limits, cgroup_parent=cgroup_parent, strict=True)
        found = check_limits(wanted)
        assert found is not None
        assert found.path is not None
        self._parent, self._writes = found.path, found.writes
        _sweep(self._parent)

    @contextmanager
    def around(self, spec: SandboxSpec) -> Iterator[Limited]:
        """Have the limits for a command: to be asked before the end of the block."""
        if self._parent is None:
            yield Limited(spec, None)
            return
        from runtime.cgroups.hook import LimitsHook
        from runtime.monitor.identity import identify

        me = identify(os.getpid())
        assert me is not None
        name = f"{_PREFIX}-{me.pid}-{me.start_time}-{next(self._numbers)}"
        hook = LimitsHook(f"{self._parent}/{name}", self._writes, None)
        hook.make()
        try:
            yield Limited(
                replace(spec, unified_cgroup=hook.unified_cgroup, cgroups=hook.cgroups), hook
            )
        finally:
            hook.after_exit()


def _sweep(parent: str) -> None:
    """Remove groups of steps whose build was killed."""
    from runtime.cgroups.layout import find_layout
    from runtime.containers.limiting import remove_groups
    from runtime.monitor.identity import ProcessIdentity, boot_id, is_alive

    layout = find_layout()
    names: set[str] = set()
    for top in (layout.unified, *layout.v1.values()):
        if top and os.path.isdir(f"{top}{parent}"):
            names.update(os.listdir(f"{top}{parent}"))
    for name in names:
        prefix, _, rest = name.partition(f"{_PREFIX}-")
        words = rest.split("-")
        if prefix or len(words) != 3 or not all(word.isdecimal() for word in words):
            continue
        pid, start_time, _ = map(int, words)
        owner = ProcessIdentity(pid=pid, start_time=start_time, boot_id=boot_id())
        if not is_alive(owner):
            remove_groups(f"{parent}/{name}")
