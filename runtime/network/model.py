"""What network a container is to have, as values: made, compared and recorded without privilege.

Ports are numbers from 1 to 65535, addresses texts as `ipaddress` writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

DEFAULT_NETWORK: Final = "bridge"
"""The private network that every store has: docker's name for it."""

HOST_GATEWAY: Final = "host-gateway"
"""As an address in `--add-host`: the host, as the container sees it."""

Protocol = Literal["tcp", "udp"]


@dataclass(frozen=True, slots=True)
class NoNetwork:
    """A namespace of its own with the loopback interface only."""


@dataclass(frozen=True, slots=True)
class HostNetwork:
    """The host's."""


@dataclass(frozen=True, slots=True)
class OtherContainer:
    """The network of another container, which must run; `name` is its ID or name."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A container's place on a private network.

    aliases      names it has there besides its own
    ipv4 ipv6    its addresses; chosen if `None`
    mac          of its interface; made up if `None`
    """

    network: str = DEFAULT_NETWORK
    aliases: tuple[str, ...] = ()
    ipv4: str | None = None
    ipv6: str | None = None
    mac: str | None = None


@dataclass(frozen=True, slots=True)
class PrivateNetworks:
    """A namespace of its own on these networks; the first leads to the world."""

    endpoints: tuple[Endpoint, ...] = (Endpoint(),)


NetworkMode = NoNetwork | HostNetwork | OtherContainer | PrivateNetworks


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port of a container as the world sees it.

    host_ip      where it is published; every address of the host's if it is empty
    host_port    0 is any that is free
    host_last    the last of those from `host_port` on of which one will do; 0 is just that one
    """

    container_port: int
    protocol: Protocol = "tcp"
    host_ip: str = ""
    host_port: int = 0
    host_last: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """How a container finds others by name: instead of what the host's resolv.conf says."""

    servers: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    search: tuple[str, ...] = ()


THE_HOSTS_NAMES: Final = Names()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """The network of a container.

    published    ports that the world reaches by way of the host
    publish_all  every port that is exposed, too, at free ports of the host's
    exposed      ports besides those that the image exposes, as (port, protocol)
    domainname   what comes after the host name
    """

    mode: NetworkMode = NoNetwork()
    published: tuple[Port, ...] = ()
    publish_all: bool = False
    exposed: tuple[tuple[int, Protocol], ...] = ()
    names: Names = THE_HOSTS_NAMES
    domainname: str = ""

    @property
    def label(self) -> str:
        """The mode as docker's `NetworkMode` has it."""
        match self.mode:
            case NoNetwork():
                return "none"
            case HostNetwork():
                return "host"
            case OtherContainer(name):
                return f"container:{name}"
            case PrivateNetworks(endpoints):
                return endpoints[0].network if endpoints else DEFAULT_NETWORK

    @property
    def networks(self) -> tuple[str, ...]:
        """The names of its networks, as docker's `ps` shows them."""
        match self.mode:
            case NoNetwork() | HostNetwork():
                return (self.label,)
            case OtherContainer():
                return ()
            case PrivateNetworks(endpoints):
                return tuple(endpoint.network for endpoint in endpoints)


NO_NETWORK: Final = NetworkSpec()


def network_document(spec: NetworkSpec) -> dict[str, Any]:
    """A network as JSON has it."""
    document: dict[str, Any] = {each.name: getattr(spec, each.name) for each in fields(spec)}
    document["published"] = [_members(port) for port in spec.published]
    document["names"] = _members(spec.names)
    match spec.mode:
        case NoNetwork():
            document["mode"] = {"kind": "none"}
        case HostNetwork():
            document["mode"] = {"kind": "host"}
        case OtherContainer(name):
            document["mode"] = {"kind": "container", "name": name}
        case PrivateNetworks(endpoints):
            members = [_members(endpoint) for endpoint in endpoints]
            document["mode"] = {"kind": "private", "endpoints": members}
    return document


def network_from_document(document: Mapping[str, Any]) -> NetworkSpec:
    """What `network_document` was given, from JSON; `KeyError`, `TypeError`, `ValueError`."""
    members = {name: _frozen(value) for name, value in document.items()}
    members["published"] = tuple(Port(**port) for port in document["published"])
    members["names"] = Names(**{n: tuple(value) for n, value in document["names"].items()})
    mode = document["mode"]
    match mode["kind"]:
        case "none":
            members["mode"] = NoNetwork()
        case "host":
            members["mode"] = HostNetwork()
        case "container":
            members["mode"] = OtherContainer(mode["name"])
        case "private":
            members["mode"] = PrivateNetworks(
                tuple(
                    Endpoint(**{name: _frozen(value) for name, value in endpoint.items()})
                    for endpoint in mode["endpoints"]
                )
            )
        case kind:
            raise ValueError(kind)
    return NetworkSpec(**members)


def _members(value: Endpoint | Port | Names) -> dict[str, Any]:
    return {each.name: getattr(value, each.name) for each in fields(value)}


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
