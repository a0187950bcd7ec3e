"""What goes between the process that wants a container and the one that makes it.

An order is a `SandboxSpec` reduced to what `marshal` knows, with paths and words as bytes: the
fork server never imports dataclasses, which would double its start-up time.
"""

from __future__ import annotations

import marshal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runtime.sandbox.namespaces import Namespace
    from runtime.sandbox.spec import EntrySpec, SandboxSpec, TmpfsMount

_SHM_SIZE = 64 << 20

# A mount on the wire: ("bind", source, target, attributes, recursive, subpath, slave)
# or ("tmpfs", options, target, attributes, False, b"", False); attributes are MOUNT_ATTR_*.
WireMount = tuple[str, bytes, bytes, int, bool, bytes, bool]

_READ_ONLY, _NO_SET_USER_ID, _NO_DEVICES, _NO_EXEC = 1, 2, 4, 8

# A namespace on the wire: ("new" or "host", b"", 0), or ("join", its file, the start time of the
# process that the file must be of, or 0).
WireNamespace = tuple[str, bytes, int]


if TYPE_CHECKING:
    Cloner = Callable[["Order", Sequence[int], int], tuple[int, int, int]]


class Order:
    """A `SandboxSpec` on the other side of the wire; see there."""

    lower: tuple[bytes, ...]
    upper: bytes | None
    work: bytes | None
    volatile: bool
    mounts: tuple[WireMount, ...]
    argv: tuple[bytes, ...]
    env: tuple[tuple[bytes, bytes], ...]
    cwd: bytes
    user: str
    hostname: bytes
    domainname: bytes
    network: str  # "none", "host", or "joined": the namespace that `network_fd` is
    network_fd: int
    namespaces: dict[str, WireNamespace]  # by name; the network's is above
    user_namespace: tuple[bytes, tuple[tuple[int, int], ...]] | None
    groups: tuple[str, ...]
    sysctls: tuple[tuple[bytes, bytes], ...]
    all_devices: bool
    capabilities: int
    seccomp: bytes | None
    masked_paths: tuple[bytes, ...]
    read_only_paths: tuple[bytes, ...]
    rlimits: tuple[tuple[int, int, int], ...]
    oom_score_adj: int | None
    unified_cgroup: bytes | None
    cgroups: tuple[tuple[bytes, bytes], ...]
    live_devices: bool
    read_only_root: bool
    shm_size: int
    umask: int
    no_new_privileges: bool
    new_session: bool
    die_with_parent: bool
    init: bool
    terminal: bool
    terminal_size: tuple[int, int]
    shm_fd: int = -1  # where it is that of another container: made when it is joined
    supervisor: int = -1  # where a filter's listener goes (`runtime.sandbox.supervisor`)
    made: dict[WireMount, int] | None = None  # mounts made ahead: descriptors
    enter: int  # a process in the container to enter, or 0 for a new container

    cloner: Cloner | None = None
    """What makes the first process instead of a clone of ours: a hook's."""

    def __init__(self, fields: dict[str, object]) -> None:
        self.__dict__.update(fields)


def encode_order(spec: SandboxSpec | EntrySpec | Order) -> bytes:
    """The spec, or an order once more, as bytes. `ValueError` for a word with a NUL in it."""
    if isinstance(spec, Order):
        return marshal.dumps(spec.__dict__)
    from runtime.sandbox.spec import SandboxSpec

    return marshal.dumps(
        _process(spec) | (_container(spec) if isinstance(spec, SandboxSpec) else _entry(spec))
    )


def _process(spec: SandboxSpec | EntrySpec) -> dict[str, object]:
    return {
        "argv": tuple(map(_text, spec.argv)),
        "env": tuple((_text(name), _text(value)) for name, value in spec.env),
        "cwd": _text(spec.cwd),
        "user": spec.user,
        "groups": spec.groups,
        "capabilities": spec.capabilities,
        "seccomp": spec.seccomp,
        "rlimits": spec.rlimits,
        "oom_score_adj": spec.oom_score_adj,
        "umask": spec.umask,
        "no_new_privileges": spec.no_new_privileges,
        "die_with_parent": spec.die_with_parent,
        "terminal": spec.terminal,
        "terminal_size": spec.terminal_size,
    }


def _entry(spec: EntrySpec) -> dict[str, object]:
    return {"enter": spec.pid, "new_session": True, "init": False}


def _container(spec: SandboxSpec) -> dict[str, object]:
    return {
        "enter": 0,
        "lower": tuple(map(_path, spec.lower)),
        "upper": _path(spec.upper) if spec.upper is not None else None,
        "work": _path(spec.work) if spec.work is not None else None,
        "volatile": spec.volatile,
        "mounts": _mounts(spec),
        "hostname": _text(spec.hostname),
        "domainname": _text(spec.domainname),
        "network": spec.network,
        "network_fd": -1,
        "namespaces": _namespaces(spec),
        "user_namespace": _user_namespace(spec),
        "sysctls": tuple((_text(name), _text(value)) for name, value in spec.sysctls),
        "all_devices": spec.all_devices,
        "masked_paths": tuple(map(_text, spec.masked_paths)),
        "read_only_paths": tuple(map(_text, spec.read_only_paths)),
        "unified_cgroup": _path(spec.unified_cgroup) if spec.unified_cgroup is not None else None,
        "cgroups": tuple((names.encode(), _path(folder)) for names, folder in spec.cgroups),
        "live_devices": spec.live_devices,
        "read_only_root": spec.read_only_root,
        "shm_size": spec.shm_size if spec.shm_size is not None else _SHM_SIZE,
        "new_session": spec.new_session,
        "init": spec.init,
    }


def decode_order(data: bytes) -> Order:
    """What `encode_order` was given."""
    return Order(marshal.loads(data))


def encode_failure(stage: str, errno: int, text: str) -> bytes:
    """What a container that cannot be says before it ends."""
    return marshal.dumps((stage, errno, text))


def decode_failure(data: bytes) -> tuple[str, int, str]:
    """Stage, errno and text of a failure."""
    stage, errno, text = marshal.loads(data)
    return stage, errno, text


def _namespaces(spec: SandboxSpec) -> dict[str, WireNamespace]:
    kinds = {"pid": spec.pid, "ipc": spec.ipc, "uts": spec.uts, "cgroup": spec.cgroup}
    return {kind: _namespace(kind, which) for kind, which in kinds.items()}


def _user_namespace(spec: SandboxSpec) -> tuple[bytes, tuple[tuple[int, int], ...]] | None:
    from runtime.sandbox.namespaces import HostNamespace

    wanted = spec.user_namespace
    return None if isinstance(wanted, HostNamespace) else (_path(wanted.directory), wanted.pools)


def _namespace(kind: str, which: Namespace) -> WireNamespace:
    from runtime.sandbox.namespaces import (
        HostNamespace,
        NamespaceAt,
        NewNamespace,
        ProcessNamespace,
    )

    match which:
        case NewNamespace():
            return "new", b"", 0
        case HostNamespace():
            return "host", b"", 0
        case ProcessNamespace(pid, start_time):
            return "join", f"/proc/{pid}/ns/{kind}".encode(), start_time
        case NamespaceAt(path):
            return "join", _path(path), 0


def _mounts(spec: SandboxSpec) -> tuple[WireMount, ...]:
    """The mounts in the order in which they must be attached: what is above comes first."""
    from runtime.sandbox.spec import BindMount

    mounts: list[WireMount] = []
    for mount in sorted(spec.mounts, key=lambda mount: mount.target.count("/")):
        if isinstance(mount, BindMount):
            mounts.append(
                bind_on_wire(
                    _path(mount.source),
                    _text(mount.target),
                    read_only=mount.read_only,
                    recursive=mount.recursive,
                    subpath=_path(mount.subpath),
                    slave=mount.slave,
                )
            )
        else:
            mounts.append(_tmpfs_on_wire(mount))
    return tuple(mounts)


def bind_on_wire(
    source: bytes,
    target: bytes,
    *,
    read_only: bool = False,
    recursive: bool = True,
    subpath: bytes = b"",
    slave: bool = False,
) -> WireMount:
    """A `BindMount` as an order has it; hooks of a monitor may add some."""
    attributes = _READ_ONLY if read_only else 0
    return "bind", source, target, attributes, recursive, subpath, slave


def _tmpfs_on_wire(mount: TmpfsMount) -> WireMount:
    attributes = mount.attributes | _NO_DEVICES
    if mount.read_only:
        attributes |= _READ_ONLY
    if not mount.set_user_id:
        attributes |= _NO_SET_USER_ID
    if mount.no_exec:
        attributes |= _NO_EXEC
    size = (f"size={mount.size}",) if mount.size is not None else ()
    options = ",".join((f"mode={mount.mode:o}", *size, *mount.options))
    return "tmpfs", _text(options), _text(mount.target), attributes, False, b"", False


def _path(path: str) -> bytes:
    """A path of the host's, in the file system's encoding."""
    return _without_nul(os.fsencode(path))


def _text(text: str) -> bytes:
    """A word from an image: its bytes, whatever this process's locale is."""
    return _without_nul(text.encode("utf-8", "surrogateescape"))


def _without_nul(data: bytes) -> bytes:
    if b"\0" in data:
        raise ValueError(f"a NUL in {data!r}")
    return data
