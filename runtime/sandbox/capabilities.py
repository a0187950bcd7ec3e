"""Linux capabilities, by name and as masks (capabilities(7))."""

from __future__ import annotations

_NAMES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
    "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
    "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
    "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
    "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
    "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)  # fmt: skip

ALL_CAPABILITIES = (1 << len(_NAMES)) - 1


def capability_mask(*names: str) -> int:
    """The mask of some capabilities, `CAP_` before their names or not. `KeyError` if unknown."""
    mask = 0
    for name in names:
        bare = name.upper().removeprefix("CAP_")
        if bare not in _NAMES:
            raise KeyError(name)
        mask |= 1 << _NAMES.index(bare)
    return mask


def capability_names(mask: int) -> tuple[str, ...]:
    """The names in a mask, each with `CAP_`, in the kernel's order."""
    return tuple(f"CAP_{name}" for bit, name in enumerate(_NAMES) if mask >> bit & 1)


DEFAULT_CAPABILITIES = capability_mask(
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID",
    "SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
)  # fmt: skip
"""What root has in a container: Docker's fourteen."""
