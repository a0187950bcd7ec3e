"""A sandbox's description as an OCI runtime's config.json. Pure.

https://github.com/opencontainers/runtime-spec/blob/main/config.md is the form. What is said is
what `runtime.sandbox` does itself, so that crun and runc make the same container of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, assert_never

from runtime.errors import InvalidContainer
from runtime.oci.seccomp_profile import default_profile
from runtime.sandbox.capabilities import capability_names
from runtime.sandbox.namespaces import (
    HostNamespace,
    NamespaceAt,
    NewNamespace,
    ProcessNamespace,
)
from runtime.sandbox.seccomp import default_filter
from runtime.sandbox.spec import BindMount, Mount, SandboxSpec, TmpfsMount
from runtime.user import Ids

VERSION: Final = "1.0.2"
"""Of the specification: what crun and runc of any distribution read."""

RLIMITS: Final = (
    "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS",
    "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
)  # fmt: skip
_UNLIMITED: Final = (1 << 64) - 1
_SHM_SIZE: Final = 64 << 20
_ATTRIBUTES: Final = {
    # MOUNT_ATTR_* of mount_setattr(2), as mount(8) calls them.
    0x1: "ro", 0x2: "nosuid", 0x4: "nodev", 0x8: "noexec", 0x10: "noatime", 0x20: "strictatime",
    0x80: "nodiratime", 0x200000: "nosymfollow",
}  # fmt: skip
_INERT: Final = ("nosuid", "noexec", "nodev")


@dataclass(frozen=True, slots=True, kw_only=True)
class IdRange:
    """IDs of a container's (`inside`) that are others outside, as many as `count`."""

    inside: int
    outside: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a config depends on besides the description.

    root         of the container: a path, absolute or seen from the bundle
    uid_mappings, gid_mappings  for a user namespace; none if there is to be none
    network_path  of the network namespace that is to be joined; a new one if `None`
    seccomp      a profile instead of the default policy
    resources    `linux.resources`, where a runtime may make cgroups
    devices      the targets of mounts that are device files
    annotations  for whoever reads the config
    """

    root: str = "rootfs"
    uid_mappings: tuple[IdRange, ...] = ()
    gid_mappings: tuple[IdRange, ...] = ()
    network_path: str | None = None
    seccomp: Mapping[str, Any] | None = None
    resources: Mapping[str, Any] | None = None
    devices: frozenset[str] = frozenset()
    annotations: Mapping[str, str] | None = None


def oci_config(spec: SandboxSpec, ids: Ids, surroundings: Surroundings) -> dict[str, Any]:
    """The config of a container; `ids` are those that `spec.user` means in its root.

    `InvalidContainer` for what no config can say.
    """
    if spec.init:
        raise InvalidContainer(
            "--init is of lamina's own sandbox: no other runtime has it",
            hint="use an image with an init of its own, such as tini",
        )
    if spec.all_devices:
        raise InvalidContainer(
            "a config cannot give a container all devices of the host's",
            hint="run it with lamina's own sandbox",
        )
    if not isinstance(spec.user_namespace, HostNamespace):
        raise InvalidContainer(
            "--userns auto is of lamina's own sandbox: its IDs are found when it starts",
            hint="leave it out, or run it with lamina's own sandbox",
        )
    document: dict[str, Any] = {
        "ociVersion": VERSION,
        "process": _process(spec, ids, surroundings),
        "root": {
            "path": surroundings.root,
            "readonly": spec.read_only_root,
        },
        "mounts": [
            *_standard_mounts(spec, surroundings),
            *(_mount(each, surroundings) for each in _in_order(spec.mounts)),
        ],
        "linux": _linux(spec, surroundings),
    }
    if isinstance(spec.uts, NewNamespace):
        document["hostname"] = spec.hostname
        if spec.domainname:
            document["domainname"] = spec.domainname
    if surroundings.annotations:
        document["annotations"] = dict(surroundings.annotations)
    return document


def _process(spec: SandboxSpec, ids: Ids, surroundings: Surroundings) -> dict[str, Any]:
    names = list(capability_names(spec.capabilities))
    has = names if ids.uid == 0 else []
    env = dict(spec.env)
    if not env.get("HOME"):
        env["HOME"] = ids.home
    process: dict[str, Any] = {
        "terminal": spec.terminal,
        "user": {
            "uid": ids.uid,
            "gid": ids.gid,
            "additionalGids": list(_groups(ids, surroundings)),
            "umask": spec.umask,
        },
        "args": list(spec.argv),
        "env": [f"{name}={value}" for name, value in env.items()],
        "cwd": spec.cwd,
        "capabilities": {
            "bounding": names,
            "effective": has,
            "permitted": has,
            "inheritable": [],
            "ambient": [],
        },
        "rlimits": [_rlimit(*limit) for limit in spec.rlimits],
        "noNewPrivileges": spec.no_new_privileges,
    }
    if spec.oom_score_adj is not None:
        process["oomScoreAdj"] = spec.oom_score_adj
    if spec.terminal and all(spec.terminal_size):
        rows, columns = spec.terminal_size
        process["consoleSize"] = {"height": rows, "width": columns}
    return process


def _groups(ids: Ids, surroundings: Surroundings) -> tuple[int, ...]:
    if surroundings.uid_mappings:
        # Not the primary one again: runc takes no list that is not empty from a plain user.
        return tuple(gid for gid in ids.groups if gid != ids.gid)
    return ids.groups


def _rlimit(resource: int, soft: int, hard: int) -> dict[str, Any]:
    def value(limit: int) -> int:
        return _UNLIMITED if limit == -1 else limit

    name = f"RLIMIT_{RLIMITS[resource]}"
    return {"type": name, "soft": value(soft), "hard": value(hard)}


def _linux(spec: SandboxSpec, surroundings: Surroundings) -> dict[str, Any]:
    linux: dict[str, Any] = {
        "namespaces": _namespaces(spec, surroundings),
        "maskedPaths": list(spec.masked_paths),
        "readonlyPaths": list(spec.read_only_paths),
        "rootfsPropagation": "private",
    }
    if surroundings.resources is not None:
        linux["resources"] = dict(surroundings.resources)
    if spec.seccomp is not None:
        if surroundings.seccomp is None and spec.seccomp != default_filter(spec.capabilities):
            raise InvalidContainer("a system call filter of one's own cannot be said by names")
        linux["seccomp"] = surroundings.seccomp or default_profile(spec.capabilities)
    if spec.sysctls:
        linux["sysctl"] = dict(spec.sysctls)
    if surroundings.uid_mappings:
        linux["uidMappings"] = [_mapping(each) for each in surroundings.uid_mappings]
        linux["gidMappings"] = [_mapping(each) for each in surroundings.gid_mappings]
    return linux


def _namespaces(spec: SandboxSpec, surroundings: Surroundings) -> list[dict[str, str]]:
    found = [{"type": "mount"}]
    chosen = {"pid": spec.pid, "ipc": spec.ipc, "uts": spec.uts, "cgroup": spec.cgroup}
    for kind, namespace in chosen.items():
        match namespace:
            case NewNamespace():
                found.append({"type": kind})
            case HostNamespace():
                continue
            case ProcessNamespace(pid):
                found.append({"type": kind, "path": f"/proc/{pid}/ns/{kind}"})
            case NamespaceAt(path):
                found.append({"type": kind, "path": path})
            case _:
                assert_never(namespace)
    if spec.network != "host":
        network = surroundings.network_path
        found.append({"type": "network", **({"path": network} if network else {})})
    if surroundings.uid_mappings:
        found.append({"type": "user"})
    return found


def _mapping(mapping: IdRange) -> dict[str, int]:
    return {
        "containerID": mapping.inside,
        "hostID": mapping.outside,
        "size": mapping.count,
    }


def _standard_mounts(spec: SandboxSpec, surroundings: Surroundings) -> list[dict[str, Any]]:
    """What every container has, as `runtime.sandbox.root` makes it."""
    size = _SHM_SIZE if spec.shm_size is None else spec.shm_size
    terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    if _has_group(surroundings, 5):
        terminals.append("gid=5")
    found = [
        _new("proc", "/proc", *_INERT),
        _new("tmpfs", "/dev", "nosuid", "strictatime", "mode=755", "size=64m"),
        _new("devpts", "/dev/pts", *terminals),
        _new("tmpfs", "/dev/shm", *_INERT, "mode=1777", f"size={size}", source="shm"),
        _new("mqueue", "/dev/mqueue", *_INERT),
        _sysfs(spec, surroundings),
    ]
    return [mount for mount in found if size or mount["destination"] != "/dev/shm"]


def _sysfs(spec: SandboxSpec, surroundings: Surroundings) -> dict[str, Any]:
    if spec.network == "host" and surroundings.uid_mappings:
        # In a user namespace with the host's network there is no sysfs of one's own.
        return _bound("/sys", "/sys", "rbind", *_INERT, "ro")
    return _new("sysfs", "/sys", *_INERT, "ro")


def _has_group(surroundings: Surroundings, gid: int) -> bool:
    """Whether there is such a group in the container."""
    mappings = surroundings.gid_mappings
    return not mappings or any(m.inside <= gid < m.inside + m.count for m in mappings)


def _in_order(mounts: Sequence[Mount]) -> list[Mount]:
    """What is above comes first."""
    return sorted(mounts, key=lambda mount: mount.target.count("/"))


def _mount(mount: Mount, surroundings: Surroundings) -> dict[str, Any]:
    if isinstance(mount, BindMount):
        if mount.subpath:
            raise InvalidContainer(
                f"the mount of {mount.target}: a subpath cannot be given to another runtime, which"
                " would follow links in it out of the volume",
                hint="mount the whole volume, or run it with lamina's own sandbox",
            )
        kind, propagation = ("rbind", "r") if mount.recursive else ("bind", "")
        propagation += "slave" if mount.slave else "private"
        options = [kind, propagation, "ro" if mount.read_only else "rw"]
        if mount.target not in surroundings.devices:
            options.insert(2, "nodev")
        return _bound(mount.source, mount.target, *options)
    return _new("tmpfs", mount.target, *_tmpfs_options(mount))


def _tmpfs_options(mount: TmpfsMount) -> list[str]:
    options = [name for bit, name in _ATTRIBUTES.items() if mount.attributes & bit]
    options += ["nodev", f"mode={mount.mode:o}"]
    if not mount.set_user_id:
        options.append("nosuid")
    if mount.no_exec:
        options.append("noexec")
    if mount.read_only:
        options.append("ro")
    if mount.size is not None:
        options.append(f"size={mount.size}")
    return [*options, *mount.options]


def _new(kind: str, target: str, *options: str, source: str | None = None) -> dict[str, Any]:
    return {
        "destination": target,
        "type": kind,
        "source": source or kind,
        "options": list(options),
    }


def _bound(source: str, target: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": "bind", "source": source, "options": list(options)}
