"""From image names to the servers that are asked for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from runtime.image.reference import DEFAULT_DOMAIN, Reference
from runtime.image.registry.configuration import Registries
from runtime.image.registry.errors import RegistryBlocked

_DEFAULT_API_HOST: Final = f"registry-1.{DEFAULT_DOMAIN}"
"""Where the default domain's registry is: the one name that is not its own address."""
_LOOPBACK_NAMES: Final = ("localhost", "::1", "[::1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server that may have a repository: its name, its address, the path it has it under.

    `name` is how references and settings name it. `schemes` are tried in turn until one answers.
    """

    name: str
    address: str
    schemes: tuple[str, ...]
    path: str

    @property
    def repository(self) -> str:
        return f"{self.name}/{self.path}"


def endpoint(name: str, path: str, registries: Registries) -> Endpoint:
    """The registry `host[:port]` for a repository there.

    Plain HTTP is for hosts that are configured so, and for loopback. There it is tried first: a
    first request carries nothing secret, and HTTPS takes longer to fail. `RegistryBlocked`.
    """
    settings = registries.settings(name)
    if settings.blocked:
        raise RegistryBlocked(name)
    if settings.http is not None:
        schemes: tuple[str, ...] = ("http",) if settings.http else ("https",)
    elif is_loopback(name) and settings.ca is None and settings.client_cert is None:
        schemes = ("http", "https")
    else:
        schemes = ("https", "http") if settings.insecure else ("https",)
    address = _DEFAULT_API_HOST if name == DEFAULT_DOMAIN else name
    return Endpoint(name=name, address=address, schemes=schemes, path=path)


def endpoints(reference: Reference, registries: Registries) -> tuple[Endpoint, ...]:
    """Where an image is looked for: the mirrors of its registry, then that itself."""
    last = endpoint(reference.domain, reference.path, registries)
    found = []
    for mirror in registries.settings(reference.domain).mirrors:
        host, _, prefix = mirror.partition("/")
        path = f"{prefix}/{reference.path}" if prefix else reference.path
        found.append(endpoint(host, path, registries))
    return (*found, last)


def is_loopback(host: str) -> bool:
    """Whether `host[:port]` is this machine, by its name alone: no resolver is asked."""
    from ipaddress import ip_address

    bare = host if host.endswith("]") or ":" not in host else host.rpartition(":")[0]
    if bare in _LOOPBACK_NAMES or bare.endswith(".localhost"):
        return True
    try:
        return ip_address(bare.strip("[]")).is_loopback
    except ValueError:
        return False
