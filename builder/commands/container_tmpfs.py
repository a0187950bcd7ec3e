"""`--tmpfs`, and `--mount type=tmpfs`: file systems in memory."""

from __future__ import annotations

from builder.commands.values import size_in_bytes
from builder.errors import OptionError
from runtime.sandbox.spec import TmpfsMount
from runtime.sandbox.syscalls import (
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_STRICTATIME,
)

_DEFAULTS = frozenset(("rw", "nosuid", "nodev", "noexec", "async", "relatime", "rprivate"))
_VALUES = frozenset(("uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge"))
_ATTRIBUTES = {
    "noatime": MOUNT_ATTR_NOATIME,
    "strictatime": MOUNT_ATTR_STRICTATIME,
    "nodiratime": MOUNT_ATTR_NODIRATIME,
}
_HINT = "size=, mode=, uid=, gid=, nr_inodes=, nr_blocks=, exec, suid, ro, noatime"


def tmpfs_of(target: str, options: str, text: str) -> TmpfsMount:
    """The mount that `--tmpfs TARGET:OPTIONS` asks for; `OptionError`."""
    size = mode = None
    flags: set[str] = set()
    more: list[str] = []
    attributes = 0
    for option in options.split(",") if options else ():
        key, equals, value = option.partition("=")
        if equals and key == "size" and value:
            size = value
        elif equals and key == "mode":
            mode = value
        elif equals and key in _VALUES and value:
            more.append(option)
        elif option in _ATTRIBUTES:
            attributes |= _ATTRIBUTES[option]
        elif option in ("exec", "suid", "ro"):
            flags.add(option)
        elif option == "dev":
            raise OptionError(f"--tmpfs {text}: device files work in no mount", hint="--device")
        elif option not in _DEFAULTS:
            raise OptionError(f"--tmpfs {text}: {option!r} is not supported", hint=_HINT)
    if size is not None and size.endswith("%"):
        more.append(f"size={size}")
        size = None
    return TmpfsMount(
        target=target,
        size=size_in_bytes(size, text),
        mode=mode_of(mode, text),
        no_exec="exec" not in flags,
        read_only="ro" in flags,
        set_user_id="suid" in flags,
        options=tuple(more),
        attributes=attributes,
    )


def mode_of(text: str | None, option: str) -> int:
    """Permission bits, 1777 if none are given."""
    try:
        bits = int(text, 8) if text is not None else 0o1777
    except ValueError as error:
        raise OptionError(f"{option}: invalid mode {text!r}") from error
    if not 0 <= bits <= 0o7777:
        raise OptionError(f"{option}: invalid mode {text!r}")
    return bits
