"""The IDs that root's containers with a user namespace of their own may have on the host."""

from __future__ import annotations

import os
from typing import Final

from runtime.errors import SandboxUnavailable
from runtime.sandbox.namespaces import NewUserNamespace

DIRECTORY: Final = "/run/lamina/ids"
FREE_IDS: Final = (1_879_048_192, 268_304_384)
"""First and number: what no distribution and no other tool uses (systemd's UIDS-GIDS: unused)."""
_OWNERS: Final = ("lamina", "root")


def own_user_namespace() -> NewUserNamespace:
    """A user namespace for one more container of root's.

    From the lines of `lamina`, else of root, that /etc/subuid and /etc/subgid have in common;
    without any from `FREE_IDS`. `SandboxUnavailable` for who cannot make it.
    """
    if not _is_host_root():
        raise SandboxUnavailable(
            "--userns auto",
            "the owners of files can only be mapped by the host's root",
            "leave it out: as another user, containers are in a user namespace of that user's",
        )
    os.makedirs(DIRECTORY, mode=0o700, exist_ok=True)
    return NewUserNamespace(DIRECTORY, _pools())


def _is_host_root() -> bool:
    if os.geteuid() != 0:
        return False
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return [tuple(map(int, line.split())) for line in file] == [(0, 0, (1 << 32) - 1)]


def _pools() -> tuple[tuple[int, int], ...]:
    for owner in _OWNERS:
        users, groups = (_lines(path, owner) for path in ("/etc/subuid", "/etc/subgid"))
        both = tuple(line for line in users if line in groups and line[1] >= 65536)
        if both:
            return both
    return (FREE_IDS,)


def _lines(path: str, owner: str) -> list[tuple[int, int]]:
    """The ranges of an owner: first and number (subuid(5))."""
    found = []
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                fields = line.strip().split(":")
                if len(fields) == 3 and fields[0] == owner and all(map(str.isdigit, fields[1:])):
                    found.append((int(fields[1]), int(fields[2])))
    except FileNotFoundError:
        pass
    return found
