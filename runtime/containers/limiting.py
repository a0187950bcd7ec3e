"""A container's limits: whether they can be had here, and the hook that sees to them.

A container with a monitor has cgroups wherever they can be had; one in the foreground, which
has no time to lose, only for limits.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass

from runtime.cgroups.groups import Groups, all_groups
from runtime.cgroups.hook import CHANGED, MODULE, encode_hook
from runtime.cgroups.layout import Layout, default_parent, find_layout, owns_hierarchies
from runtime.cgroups.limits import NO_LIMITS
from runtime.cgroups.plan import Write, plan_v1, plan_v2
from runtime.containers.devices import device_rules
from runtime.containers.record import Container
from runtime.containers.spec import ContainerSpec
from runtime.errors import InvalidContainer, SandboxUnavailable
from runtime.monitor import files

_DELEGATE = "systemd-run --user --scope -p Delegate=yes lamina …"


@dataclass(frozen=True, slots=True, kw_only=True)
class Enforcement:
    """What becomes of limits on this machine.

    path      where groups are made; `None` where none can be
    writes    what is written into a container's
    missing   docker's options that have no effect
    why       why that is, and what would help
    """

    path: str | None
    writes: tuple[Write, ...]
    missing: tuple[str, ...] = ()
    why: str = ""
    remedy: str | None = None


def enforcement(spec: ContainerSpec) -> Enforcement:
    """What becomes of a container's limits here, found out by making the group above its own.

    `InvalidContainer` for a `--cgroup-parent` that is none.
    """
    layout = find_layout()
    writes = plan_v1(spec.limits) if layout.v1 else plan_v2(spec.limits)
    options = tuple(dict.fromkeys(option for _, option, _ in writes))
    parent = _parent(layout, spec.cgroup_parent)
    trouble = _unavailable(layout)
    if trouble is None:
        groups = Groups(layout, parent, controllers=[controller for controller, _, _ in writes])
        try:
            groups.make()
        except OSError as error:
            why = f"{error.filename}: {(error.strerror or '').lower()}"
            trouble = SandboxUnavailable("limits", why, _remedy(layout))
        else:
            missing = tuple(
                option
                for controller, option, choices in writes
                if not any(groups.has(controller, file) for file, _ in choices)
            )
            return Enforcement(
                path=parent,
                writes=writes,
                missing=tuple(dict.fromkeys(missing)),
                why=f"the kernel has no such limit (cgroup {layout.kind})",
            )
    if spec.cgroup_parent is not None:
        options = ("--cgroup-parent", *options)
    if any(device.access != "rwm" for device in spec.devices):
        options = (*options, "--device (r, w, m)")
    if spec.device_rules:
        options = (*options, "--device-cgroup-rule")
    return Enforcement(
        path=None, writes=writes, missing=options, why=trouble.why, remedy=trouble.remedy
    )


def check_limits(spec: ContainerSpec) -> Enforcement | None:
    """The same, where there are limits; `SandboxUnavailable` if strict and one is missing."""
    wanted = spec.devices or spec.device_rules or spec.cgroup_parent is not None
    if spec.limits == NO_LIMITS and not wanted:
        return None
    found = enforcement(spec)
    if found.missing and spec.strict:
        raise SandboxUnavailable(", ".join(found.missing), found.why, found.remedy)
    return found


def limits_hooks(container: Container, *, monitored: bool) -> tuple[tuple[str, bytes], ...]:
    """The hook that gives a container its cgroups, if it is to have any."""
    spec = container.spec
    found = check_limits(spec)
    if found is None and monitored:
        found = enforcement(spec)
    if found is None or found.path is None:
        return ()
    path = f"{found.path}/{container.id}"
    # Whoever removes it may be in another group, and have another idea of where it is.
    files.write_file(os.path.join(container.folder, files.CGROUP), path.encode())
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(container.folder, CHANGED))  # It is in the spec by now.
    rules = None
    if owns_hierarchies():  # Others have no rights to devices that could be taken from them.
        rules = device_rules(spec.devices, spec.device_rules)
    return ((MODULE, encode_hook(path, found.writes, rules, container.folder)),)


def group_path(folder: str) -> str | None:
    """Where the groups of a container are, or were, below each hierarchy."""
    try:
        with open(os.path.join(folder, files.CGROUP), encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def remove_groups(path: str | None) -> None:
    """Remove the groups of a container that does not run, whoever left them; no harm if none."""
    if path is None:
        return
    layout = find_layout()
    if layout.kind != "none":
        all_groups(layout, path).remove()


def forget_groups(folder: str) -> None:
    """Remove the groups of a container that somebody killed left, and what was noted of them."""
    remove_groups(group_path(folder))
    os.unlink(os.path.join(folder, files.CGROUP))


def _parent(layout: Layout, wanted: str | None) -> str:
    parent = default_parent(layout)
    if wanted is None:
        return parent
    parts = [part for part in wanted.split("/") if part]
    if not parts or any(part in (".", "..") or "\n" in part for part in parts):
        raise InvalidContainer(f"--cgroup-parent {wanted!r} is no path of a cgroup")
    above = "" if owns_hierarchies() else parent
    return f"{above}/{'/'.join(parts)}"


def _unavailable(layout: Layout) -> SandboxUnavailable | None:
    """Why nothing can be limited, if that is clear without trying."""
    if layout.kind == "none":
        why = "no cgroup hierarchy is mounted"
        return SandboxUnavailable("limits", why, "mount -t cgroup2 cgroup2 /sys/fs/cgroup")
    if layout.v1 and not owns_hierarchies():
        return SandboxUnavailable(
            "limits",
            "cgroup version 1 lets only root limit anything",
            "boot with systemd.unified_cgroup_hierarchy=1",
        )
    return None


def _remedy(layout: Layout) -> str | None:
    if owns_hierarchies():
        return "if this is inside a container, mount cgroups there writable"
    return _DELEGATE
