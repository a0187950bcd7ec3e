"""What a container may do, and what it shares, as a value: namespaces, groups, kernel parameters,
filters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

OF: Final = "container:"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityOptions:
    """What is different from Docker's defaults.

    privileged   every capability, every device, nothing hidden or read-only, no filter
    profile      the text of a seccomp profile, instead of the default one
    unmasked     nothing of /proc and /sys is hidden or read-only
    groups       more groups of its user, by name or number
    sysctls      kernel parameters of its namespaces
    pid, ipc, uts, cgroup  "private", "host", or "container:ID" (pid and ipc); ipc also
                 "shareable", private but for others to join, and "none", without /dev/shm
    user         its user namespace: "host", which is that of whoever starts it, or "auto", one of
                 its own with IDs that no other container has
    added, dropped, options, annotations  as they were given, to be shown
    """

    privileged: bool = False
    profile: str | None = None
    unmasked: bool = False
    groups: tuple[str, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    pid: str = "private"
    ipc: str = "private"
    uts: str = "private"
    cgroup: str = "private"
    user: str = "host"
    added: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()

    @property
    def joined(self) -> tuple[str, ...]:
        """The containers whose namespaces it is to be in."""
        modes = (self.pid, self.ipc)
        return tuple(mode.removeprefix(OF) for mode in modes if mode.startswith(OF))


DEFAULT_SECURITY: Final = SecurityOptions()


def security_document(security: SecurityOptions) -> dict[str, Any]:
    """The options as JSON has them."""
    return {field.name: getattr(security, field.name) for field in fields(security)}


def security_from_document(document: Mapping[str, Any]) -> SecurityOptions:
    """What `security_document` was given."""
    return SecurityOptions(**{name: _frozen(value) for name, value in document.items()})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
