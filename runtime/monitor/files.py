"""Files of a container's folder that are replaced as a whole, so never half written."""

from __future__ import annotations

import os

from runtime.monitor.json_text import json_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.monitor.json_text import Json

STATE = "state.json"
CONFIG = "config.json"
LOG = "log"
SOCKET = "socket"
CGROUP = "cgroup"
"""The path of the container's groups, if it has any."""
PASSING = "passing"
"""There if the container is to be removed at its end, by whoever runs it or finds it ended."""
STOPPED = "stopped"
"""There if somebody has told the container to stop: a restart policy no longer applies."""
_LONGEST = 1 << 20


def read_own(path: str) -> bytes | None:
    """A file of at most 1 MiB, whole; `None` if it is not there, or somebody else's."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        data = os.read(fd, _LONGEST)
    finally:
        os.close(fd)
    return data if status.st_uid == os.geteuid() and len(data) == status.st_size else None


def write_json(path: str, document: Json) -> None:
    """Put a document into a file, in the place of the one that is there."""
    write_file(path, json_text(document).encode() + b"\n")


def write_file(path: str, data: bytes) -> None:
    """Put bytes into a file, in the place of the one that is there."""
    aside = f"{path}.new"
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)
    os.rename(aside, path)
