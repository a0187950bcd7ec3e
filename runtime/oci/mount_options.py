"""The options of a config's mounts (mount(8)), as what the kernel takes. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from runtime.sandbox.syscalls import (
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
)

MOUNT_ATTR_NOSYMFOLLOW: Final = 0x200000
_ATIME: Final = 0x70
"""All that concerns times of access: one of them, so the others are cleared."""

_SET: Final = {
    "ro": MOUNT_ATTR_RDONLY,
    "nosuid": MOUNT_ATTR_NOSUID,
    "nodev": MOUNT_ATTR_NODEV,
    "noexec": MOUNT_ATTR_NOEXEC,
    "nosymfollow": MOUNT_ATTR_NOSYMFOLLOW,
    "nodiratime": MOUNT_ATTR_NODIRATIME,
}
_CLEAR: Final = {
    "rw": MOUNT_ATTR_RDONLY,
    "suid": MOUNT_ATTR_NOSUID,
    "dev": MOUNT_ATTR_NODEV,
    "exec": MOUNT_ATTR_NOEXEC,
    "symfollow": MOUNT_ATTR_NOSYMFOLLOW,
    "diratime": MOUNT_ATTR_NODIRATIME,
}
_TIMES: Final = {
    # Whoever sets one has to clear them all (mount_setattr(2)).
    "noatime": MOUNT_ATTR_NOATIME,
    "strictatime": MOUNT_ATTR_STRICTATIME,
    "relatime": 0,
    "atime": 0,
    "norelatime": 0,
    "nostrictatime": 0,
}
PROPAGATIONS: Final = {
    "shared": 1 << 20,
    "slave": 1 << 19,
    "private": 1 << 18,
    "unbindable": 1 << 17,
}
_NOTHING: Final = ("defaults", "async", "nomand", "remount", "loud", "silent", "rnorelatime")
REFUSED: Final = ("idmap", "ridmap")
IGNORED: Final = ("tmpcopyup", "copy-symlink", "src-nofollow", "dest-nofollow")


@dataclass(slots=True)
class MountOptions:
    """Options of one mount: MOUNT_ATTR_* to set and to clear, for it and (`below`) for what is
    mounted below it; MS_* of its propagation, each with whether it is for those below, too; and
    what is for the file system itself. `refused` and `ignored` are options by name."""

    bind: bool = False
    recursive: bool = False
    set: int = 0
    clear: int = 0
    set_below: int = 0
    clear_below: int = 0
    propagation: list[tuple[int, bool]] = field(default_factory=list)
    data: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def parse_options(options: tuple[str, ...]) -> MountOptions:
    """What the options of a mount mean, later ones winning."""
    parsed = MountOptions()
    for option in options:
        bare = option.removeprefix("r")
        if option in ("bind", "rbind"):
            parsed.bind = True
            parsed.recursive = parsed.recursive or option == "rbind"
        elif option in REFUSED or option.partition("=")[0] in REFUSED:
            parsed.refused.append(option)
        elif option in IGNORED:
            parsed.ignored.append(option)
        elif option in PROPAGATIONS or (option[:1] == "r" and bare in PROPAGATIONS):
            recursive = option not in PROPAGATIONS
            parsed.propagation.append((PROPAGATIONS[bare if recursive else option], recursive))
        elif option in _NOTHING:
            continue
        elif (bits := _bits(option)) is not None:
            parsed.set = parsed.set & ~bits[1] | bits[0]
            parsed.clear = parsed.clear & ~bits[0] | bits[1]
        elif option[:1] == "r" and (bits := _bits(bare)) is not None:
            parsed.set_below = parsed.set_below & ~bits[1] | bits[0]
            parsed.clear_below = parsed.clear_below & ~bits[0] | bits[1]
        elif option:
            parsed.data.append(option)
    return parsed


def _bits(option: str) -> tuple[int, int] | None:
    """The attributes that an option sets, and those that it clears."""
    if option in _SET:
        return _SET[option], 0
    if option in _CLEAR:
        return 0, _CLEAR[option]
    if option in _TIMES:
        return _TIMES[option], _ATIME
    return None


def known_options() -> tuple[str, ...]:
    """The names of all options that are not a file system's own."""
    both = (*_SET, *_CLEAR, *_TIMES, *PROPAGATIONS)
    return tuple(sorted({"bind", "rbind", *both, *(f"r{name}" for name in both), *_NOTHING}))
