"""A config.json as what the container's process is told to do. Pure, but for what the root is.

https://github.com/opencontainers/runtime-spec/blob/main/config.md is the form. What cannot be
done is an error, what need not be is a warning: nothing is passed over in silence.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

from runtime.oci.mount_options import PROPAGATIONS, parse_options
from runtime.oci.process_plan import plan_process
from runtime.oci.section import InvalidConfig, Section
from runtime.sandbox import syscalls

KINDS: Final = {
    "user": syscalls.CLONE_NEWUSER,
    "mount": syscalls.CLONE_NEWNS,
    "pid": syscalls.CLONE_NEWPID,
    "ipc": syscalls.CLONE_NEWIPC,
    "uts": syscalls.CLONE_NEWUTS,
    "network": syscalls.CLONE_NEWNET,
    "cgroup": syscalls.CLONE_NEWCGROUP,
}
HOOKS: Final = (
    "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
)  # fmt: skip
_FIRST_MAJOR: Final = "1."
_DEVICES: Final = {"c": "c", "u": "c", "b": "b", "p": "p"}
_STANDARD: Final = (
    ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9),
    ("tty", 5, 0),
)  # fmt: skip
_SYSCTL_IPC: Final = ("kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue.")

Hook = tuple[bytes, tuple[bytes, ...], tuple[tuple[bytes, bytes], ...], int | None]
"""Path, arguments, environment, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A container of somebody's config.

    order        for `runtime.oci.program`
    new          CLONE_NEW* of namespaces to be made
    joined       paths and CLONE_NEW* of namespaces to be entered
    uid_mappings, gid_mappings  (inside, outside, count)
    oom_score    of the process, if it is to be set
    hooks        by their names
    cgroups_path, resources  what it is to use
    seccomp      `linux.seccomp`
    warnings     what is not done
    """

    order: dict[str, Any]
    new: int
    joined: tuple[tuple[str, int], ...]
    uid_mappings: tuple[tuple[int, int, int], ...]
    gid_mappings: tuple[tuple[int, int, int], ...]
    oom_score: int | None
    hooks: dict[str, tuple[Hook, ...]]
    annotations: dict[str, str]
    cgroups_path: str
    resources: Section
    seccomp: Section
    warnings: tuple[str, ...]


def plan_container(document: Any, bundle: str) -> Plan:
    """What a config wants; `bundle` is the folder it is of. `InvalidConfig`."""
    config = Section(document)
    warnings: list[str] = []
    version = config.needed("ociVersion")
    if not version.startswith(_FIRST_MAJOR):
        raise config.wrong("ociVersion", f"{version} is no version 1")
    if "linux" not in config and any(name in config for name in ("windows", "vm", "solaris")):
        raise InvalidConfig("", "it is for another system than Linux")
    if "process" not in config:
        raise config.wrong("process", "it is missing")
    linux = config.section("linux")
    new, joined = _namespaces(linux)
    process = plan_process(config.section("process"), warnings)
    order = process | _root(config, bundle) | _identity(config, new, joined)
    order |= {
        "mounts": tuple(_mount(each, bundle, warnings) for each in config.sections("mounts")),
        "devices": tuple(_devices(linux)),
        "sysctls": tuple(_sysctls(linux, new, joined)),
        "masked_paths": tuple(map(_bytes, linux.texts("maskedPaths"))),
        "read_only_paths": tuple(map(_bytes, linux.texts("readonlyPaths"))),
        "propagation": _propagation(linux),
        "loopback": bool(new & KINDS["network"]),
        "user_namespace": bool(new & KINDS["user"]) or _has(joined, "user"),
    }
    for name in (
        "mountLabel",
        "intelRdt",
        "personality",
        "timeOffsets",
        "netDevices",
        "memoryPolicy",
    ):
        if name in linux:
            warnings.append(f"{linux.path(name)} is ignored")
    uids, gids = _mappings(linux, "uidMappings"), _mappings(linux, "gidMappings")
    if new & KINDS["user"] and not (uids and gids):
        raise linux.wrong("uidMappings", "a new user namespace needs uidMappings and gidMappings")
    return Plan(
        order=order,
        new=new,
        joined=joined,
        uid_mappings=uids,
        gid_mappings=gids,
        oom_score=process["oom_score"],
        hooks=_hooks(config.section("hooks")),
        annotations=config.table("annotations"),
        cgroups_path=linux.text("cgroupsPath"),
        resources=linux.section("resources"),
        seccomp=linux.section("seccomp"),
        warnings=tuple(warnings),
    )


def _namespaces(linux: Section) -> tuple[int, tuple[tuple[str, int], ...]]:
    new = 0
    joined: list[tuple[str, int]] = []
    seen = set()
    for section in linux.sections("namespaces"):
        kind = section.needed("type")
        if kind in seen:
            raise section.wrong("type", f"the {kind} namespace is there twice")
        seen.add(kind)
        if kind not in KINDS:
            raise section.wrong("type", f"{kind} namespaces are not supported")
        path = section.text("path")
        if path and not path.startswith("/"):
            raise section.wrong("path", f"{path!r} is no absolute path")
        if path and kind == "mount":
            raise section.wrong("path", "another container's mount namespace cannot be joined")
        if path:
            joined.append((path, KINDS[kind]))
        else:
            new |= KINDS[kind]
    if "mount" not in seen:
        raise linux.wrong(
            "namespaces",
            "there is no mount namespace: the container would mount over the host's files",
            hint='add {"type": "mount"}',
        )
    return new, tuple(joined)


def _root(config: Section, bundle: str) -> dict[str, Any]:
    root = config.section("root")
    path = os.path.join(bundle, root.needed("path"))
    if not os.path.isdir(path):
        raise root.wrong("path", f"{path} is no directory")
    return {"root": os.fsencode(path), "read_only_root": root.flag("readonly")}


def _identity(config: Section, new: int, joined: tuple[tuple[str, int], ...]) -> dict[str, Any]:
    names = {}
    for name in ("hostname", "domainname"):
        text = config.text(name)
        if text and not (new & KINDS["uts"] or _has(joined, "uts")):
            raise config.wrong(name, "it would be the host's: there is no uts namespace")
        names[name] = _bytes(text)
    return names


def _mount(section: Section, bundle: str, warnings: list[str]) -> tuple[Any, ...]:
    """(kind, source, target, data, bind, recursive, set, clear, set below, clear below,
    propagations) of a mount."""
    target = section.needed("destination")
    if not target.startswith("/"):
        target = f"/{target}"
        warnings.append(f"{section.path('destination')} is taken as {target}")
    options = parse_options(section.texts("options"))
    if options.refused or "uidMappings" in section or "gidMappings" in section:
        raise section.wrong("options", "mounts with IDs of their own are not supported")
    for name in options.ignored:
        warnings.append(f"{section.path('options')}: {name} is ignored")
    kind, source = section.text("type"), section.text("source")
    bind = options.bind or kind == "bind"
    if bind:
        if not source:
            raise section.wrong("source", "it is missing")
        source = os.path.join(bundle, source)
    elif not kind:
        raise section.wrong("type", "it is missing")
    return (
        kind, os.fsencode(source), _bytes(target), tuple(options.data), bind,
        options.recursive, options.set, options.clear, options.set_below, options.clear_below,
        tuple(options.propagation),
    )  # fmt: skip


def _devices(linux: Section) -> list[tuple[Any, ...]]:
    """(path, kind, major, minor, mode, uid, gid) of each device, the standard ones first."""
    found: dict[str, tuple[Any, ...]] = {}
    for name, major, minor in _STANDARD:
        path = f"/dev/{name}"
        found[path] = (_bytes(path), "c", major, minor, 0o666, 0, 0)
    for section in linux.sections("devices"):
        path, kind = section.needed("path"), section.needed("type")
        if not path.startswith("/"):
            raise section.wrong("path", f"{path!r} is no absolute path")
        if kind not in _DEVICES:
            raise section.wrong("type", f"there is no type {kind!r} of devices")
        numbers = section.number("major", 0), section.number("minor", 0)
        mode = section.number("fileMode", 0o666)
        assert mode is not None
        owner = section.id("uid"), section.id("gid")
        found[path] = (_bytes(path), _DEVICES[kind], *numbers, mode & 0o7777, *owner)
    return list(found.values())


def _sysctls(
    linux: Section, new: int, joined: tuple[tuple[str, int], ...]
) -> list[tuple[bytes, bytes]]:
    """Files below /proc/sys, and what is written there: only what is the container's own."""
    found = []
    for name, value in linux.table("sysctl").items():
        if name.startswith("net."):
            needed = "network"
        elif name.startswith(_SYSCTL_IPC):
            needed = "ipc"
        elif name in ("kernel.hostname", "kernel.domainname"):
            needed = "uts"
        else:
            raise linux.wrong(f"sysctl.{name}", "it would be the host's")
        if not (new & KINDS[needed] or _has(joined, needed)):
            raise linux.wrong(
                f"sysctl.{name}", f"it would be the host's without a {needed} namespace"
            )
        path = name if "/" in name else name.replace(".", "/")
        if ".." in path.split("/"):
            raise linux.wrong(f"sysctl.{name}", "it is no kernel parameter")
        found.append((_bytes(path), _bytes(value)))
    return found


def _propagation(linux: Section) -> tuple[int, bool] | None:
    name = linux.text("rootfsPropagation")
    if not name:
        return None
    is_recursive = name not in PROPAGATIONS
    bare = name.removeprefix("r") if is_recursive else name
    if bare not in PROPAGATIONS:
        raise linux.wrong("rootfsPropagation", f"there is no propagation {name!r}")
    return PROPAGATIONS[bare], is_recursive


def _mappings(linux: Section, name: str) -> tuple[tuple[int, int, int], ...]:
    found = []
    for section in linux.sections(name):
        size = section.number("size")
        if not size or size < 0:
            raise section.wrong("size", "it maps no ID")
        found.append((section.id("containerID"), section.id("hostID"), size))
    return tuple(found)


def _hooks(section: Section) -> dict[str, tuple[Hook, ...]]:
    found = {}
    for name in HOOKS:
        hooks = []
        for each in section.sections(name):
            path = each.needed("path")
            if not path.startswith("/"):
                raise each.wrong("path", f"{path!r} is no absolute path")
            seconds = each.number("timeout")
            if seconds is not None and seconds <= 0:
                raise each.wrong("timeout", f"{seconds} is not more than 0")
            pairs = (text.partition("=") for text in each.texts("env"))
            env = tuple((_bytes(key), _bytes(value)) for key, _, value in pairs)
            arguments = tuple(map(_bytes, each.texts("args"))) or (_bytes(path),)
            hooks.append((_bytes(path), arguments, env, seconds))
        found[name] = tuple(hooks)
    return found


def _has(joined: tuple[tuple[str, int], ...], kind: str) -> bool:
    return any(bit == KINDS[kind] for _, bit in joined)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
