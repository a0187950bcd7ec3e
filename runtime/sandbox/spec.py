"""What a sandbox is to be, as a value: made and compared without any privilege.

Paths of mounts and `cwd` are absolute paths inside the root. Everything that is a default here
is what Docker gives a container.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from runtime.sandbox.capabilities import DEFAULT_CAPABILITIES
from runtime.sandbox.namespaces import HOST, NEW, Namespace, UserNamespace

MASKED_PATHS: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READ_ONLY_PATHS: Final = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)
Rlimit = tuple[int, int, int]
DEFAULT_RLIMITS: Final[tuple[Rlimit, ...]] = ((7, 1024, 524288),)  # RLIMIT_NOFILE


@dataclass(frozen=True, slots=True, kw_only=True)
class BindMount:
    """A file or directory of the host's. `source` is followed as it is: resolve it before.

    subpath     a path below `source`, in which no link leads out of it: whoever fills that may
                be hostile, and at it just now
    slave       what is mounted or unmounted there later is so in the container, too
    """

    source: str
    target: str
    read_only: bool = False
    recursive: bool = True
    subpath: str = ""
    slave: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TmpfsMount:
    """A file system in memory; `size` in bytes, at most half of the memory if `None`.

    With `no_exec` no program in it can be executed; with `set_user_id` such programs get their
    owner's rights. `options` are others of tmpfs(5), `uid=7`; `attributes` are MOUNT_ATTR_*.
    """

    target: str
    size: int | None = None
    mode: int = 0o1777
    no_exec: bool = False
    read_only: bool = False
    set_user_id: bool = False
    options: tuple[str, ...] = ()
    attributes: int = 0


Mount = BindMount | TmpfsMount

SandboxNetwork = Literal["none", "host", "joined"]
"""A namespace of its own with the loopback interface only; that of who makes the container; one
that whoever clones it gives by a descriptor, `network_fd` of the order (see
`runtime.monitor.hooks`): made and wired before, or that of another container."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """A command and the world it will see.

    lower       directories that make the root, the topmost first
    upper       where changes to the root go; without it (and `work`, an empty directory of the
                same file system) the root is read-only
    volatile    changes need not survive a crash of the machine; `work` is good for one use
    env         later values win; HOME is the user's home if it is not there
    cwd         made (0755, owned by the user) if it is missing
    user        as Docker's USER, looked up in the root's own /etc/passwd and /etc/group
    groups      more groups for it, by name or number
    pid, ipc, uts, cgroup  its namespaces of these kinds; in another's, `hostname` does nothing
    user_namespace  that of whoever starts it, or one of its own: only as root, with all of
                `lower`, `upper` and `work` in one file system that can map owners
    sysctls     kernel parameters of its namespaces: dotted names, values
    all_devices  /dev has what the host's has, device files work everywhere; /sys is writable
    seccomp     a program for the kernel's filter (`runtime.sandbox.seccomp`); none if `None`
    shm_size    of /dev/shm, in bytes; 64 MiB if `None`, no /dev/shm if 0
    rlimits     (resource, soft, hard), cut to what this process may still have
    oom_score_adj  how readily it is killed when there is no memory left, -1000 to 1000
    unified_cgroup, cgroups  directories of cgroups in which it begins: that of version 2, and
                with its controllers (`cpu,cpuacct`) each of version 1
    live_devices  device files in its root work: only where a cgroup says which ones may
    new_session  no controlling terminal
    die_with_parent  killed when the process that started it ends, however it ends
    init         the first process is one of ours, which reaps; the command is its child
    terminal     a terminal of its own is its input and output; see `SandboxServer`
    terminal_size  rows and columns of that, if known
    """

    lower: tuple[str, ...]
    upper: str | None = None
    work: str | None = None
    volatile: bool = False
    mounts: tuple[Mount, ...] = ()
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    cwd: str = "/"
    user: str = ""
    groups: tuple[str, ...] = ()
    hostname: str = "localhost"
    domainname: str = ""
    network: SandboxNetwork = "none"
    pid: Namespace = NEW
    ipc: Namespace = NEW
    uts: Namespace = NEW
    cgroup: Namespace = NEW
    user_namespace: UserNamespace = HOST
    sysctls: tuple[tuple[str, str], ...] = ()
    all_devices: bool = False
    capabilities: int = DEFAULT_CAPABILITIES
    seccomp: bytes | None = None
    masked_paths: tuple[str, ...] = MASKED_PATHS
    read_only_paths: tuple[str, ...] = READ_ONLY_PATHS
    rlimits: tuple[Rlimit, ...] = DEFAULT_RLIMITS
    oom_score_adj: int | None = None
    unified_cgroup: str | None = None
    cgroups: tuple[tuple[str, str], ...] = ()
    live_devices: bool = False
    read_only_root: bool = False
    shm_size: int | None = None
    umask: int = 0o022
    no_new_privileges: bool = False
    new_session: bool = True
    die_with_parent: bool = True
    init: bool = False
    terminal: bool = False
    terminal_size: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntrySpec:
    """A command in a container that runs already; the fields are those of a `SandboxSpec`.

    pid         the container's first process, as this process's PID namespace has it
    """

    pid: int
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    cwd: str = "/"
    user: str = ""
    groups: tuple[str, ...] = ()
    capabilities: int = DEFAULT_CAPABILITIES
    seccomp: bytes | None = None
    rlimits: tuple[Rlimit, ...] = DEFAULT_RLIMITS
    oom_score_adj: int | None = None
    umask: int = 0o022
    no_new_privileges: bool = False
    die_with_parent: bool = False
    terminal: bool = False
    terminal_size: tuple[int, int] = (0, 0)


def merged_rlimits(given: tuple[Rlimit, ...]) -> tuple[Rlimit, ...]:
    """What a container has by default, with what was given in its place; the last one counts."""
    return tuple({limit[0]: limit for limit in (*DEFAULT_RLIMITS, *given)}.values())
