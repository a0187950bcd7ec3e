"""Which namespace of a kind a container is in, as a value: a closed union for every kind.

Where something is joined, whoever starts the container needs the privileges for it there.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NewNamespace:
    """One of its own, made for it."""


@dataclass(frozen=True, slots=True)
class HostNamespace:
    """The one that whoever starts the container is in."""


@dataclass(frozen=True, slots=True)
class ProcessNamespace:
    """That of a process; `start_time` (proc_pid_stat(5), field 22) makes sure that it is it."""

    pid: int
    start_time: int


@dataclass(frozen=True, slots=True)
class NamespaceAt:
    """The one a file stands for, as `/proc/PID/ns/net` or a mount of such a file."""

    path: str


@dataclass(frozen=True, slots=True)
class NewUserNamespace:
    """A user namespace with IDs of the host's that no other container has while it runs.

    directory  where it is recorded who has which
    pools      the first and the number of IDs to be taken from, 65536 for each container
    """

    directory: str
    pools: tuple[tuple[int, int], ...]


UserNamespace = HostNamespace | NewUserNamespace

Namespace = NewNamespace | HostNamespace | ProcessNamespace | NamespaceAt

NEW = NewNamespace()
HOST = HostNamespace()
