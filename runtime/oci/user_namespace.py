"""User namespaces of bundles' containers, and namespaces that somebody else has made."""

from __future__ import annotations

import fcntl
import os
from typing import Final

from runtime.errors import SetupFailed
from runtime.oci.conversion import mapped_ids

_NS_GET_NSTYPE: Final = 0xB703

Mappings = tuple[tuple[int, int, int], ...]


def check_kind(path: str, kind: int) -> int:
    """A descriptor of the namespace at a path; `SetupFailed` if it is none of that kind."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SetupFailed(
            "join a namespace", error.errno or 0, f"{path}: {(error.strerror or '').lower()}"
        ) from error
    try:
        found = fcntl.ioctl(fd, _NS_GET_NSTYPE)
    except OSError:
        found = -1
    if found != kind:
        os.close(fd)
        raise SetupFailed("join a namespace", 0, f"{path} is no namespace of that type")
    return fd


def write_mappings(pid: int, uids: Mappings, gids: Mappings) -> None:
    """Map the IDs of a process's new user namespace.

    A plain user is inside a user namespace itself by now, and can map what is mapped there: the
    config's IDs of the host are looked up in it.
    """
    for kind, mappings in (("uid", uids), ("gid", gids)):
        lines = "".join(
            f"{inside} {outside} {count}\n" for inside, outside, count in _as_here(kind, mappings)
        )
        try:
            fd = os.open(f"/proc/{pid}/{kind}_map", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, lines.encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise SetupFailed(
                f"map the {kind}s", error.errno or 0, (error.strerror or "").lower()
            ) from error


def _as_here(kind: str, mappings: Mappings) -> list[tuple[int, int, int]]:
    """The mappings with the IDs that the host's have in our own user namespace."""
    ours = mapped_ids(kind)
    if not ours:
        return list(mappings)
    found = []
    for inside, outside, count in mappings:
        while count > 0:
            for each in ours:
                if each.outside <= outside < each.outside + each.count:
                    break
            else:
                raise SetupFailed(
                    f"map the {kind}s", 0, f"{outside} is none of the IDs that this user may use"
                )
            part = min(count, each.outside + each.count - outside)
            found.append((inside, each.inside + outside - each.outside, part))
            inside, outside, count = inside + part, outside + part, count - part
    return found
