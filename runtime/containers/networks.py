"""Containers on private networks: what their monitors are told, and what is known of them."""

from __future__ import annotations

import _socket
import marshal
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from runtime.containers.folder import find_container
from runtime.containers.record import Container
from runtime.containers.spec import ContainerSpec
from runtime.errors import InvalidContainer, NotRunning
from runtime.monitor import files
from runtime.network import definitions, resolver, rootless
from runtime.network.model import (
    DEFAULT_NETWORK,
    HOST_GATEWAY,
    Endpoint,
    Names,
    NetworkSpec,
    OtherContainer,
    Port,
    PrivateNetworks,
)
from runtime.network.namespace import owns_network
from runtime.network.private import WANTED, release
from runtime.network.state import place, read
from runtime.network.user_mode import GATEWAY, find_programs
from runtime.network_files import name_servers, reachable_servers
from runtime.sandbox.spec import BindMount, Mount

_LOCALHOST: Final = "127.0.0.1"
_SHARED: Final = ("hosts", "resolv.conf", "hostname")
_MADE: Final = "made"

Wired = dict[str, Any]


def checked(root: str, spec: ContainerSpec) -> ContainerSpec:
    """The spec with its networks found, and another container's name made its ID.

    `NetworkError`, `ContainerNotFound`, `InvalidContainer`.
    """
    match spec.network.mode:
        case OtherContainer(name):
            mode = OtherContainer(find_container(root, name).id)
            return replace(spec, network=replace(spec.network, mode=mode))
        case PrivateNetworks(endpoints):
            found = [_defined(root, endpoint.network) for endpoint in endpoints]
            names = [network.name for network in found]
            if len(set(names)) < len(names):
                raise InvalidContainer("a container is on each of its networks once")
            named = tuple(
                replace(endpoint, network=name)
                for endpoint, name in zip(endpoints, names, strict=True)
            )
            return replace(spec, network=replace(spec.network, mode=PrivateNetworks(named)))
        case _:
            return spec


def write_wanted(root: str, container: Container, mounts: Sequence[Mount]) -> None:
    """Tell a container's monitor what networks it is to have, ahead of each start.

    `mounts` are its sandbox's: where its /etc/hosts is.
    """
    spec = container.spec
    assert isinstance(spec.network.mode, PrivateNetworks)
    aliases = (container.name, container.description.short_id)
    document = {
        "folder": definitions.networks_folder(root),
        "table": definitions.table(root),
        "names": aliases,
        "endpoints": [wanted_endpoint(root, each) for each in spec.network.mode.endpoints],
        "ports": [
            (
                port.protocol,
                port.host_ip,
                (port.host_port, port.host_last) if port.host_last else port.host_port,
                port.container_port,
            )
            for port in published(spec.network)
        ],
        "hosts": _hosts(container, mounts),
        "resolves": resolves(spec.network),
        "servers": spec.network.names.servers or _servers(spec.network),
    }
    files.write_file(os.path.join(container.folder, WANTED), marshal.dumps(document, 4))


def is_shared_rootless(spec: NetworkSpec) -> bool:
    """Whether a plain user's container is on networks that it shares with others."""
    private = isinstance(spec.mode, PrivateNetworks)
    return private and spec.networks != (DEFAULT_NETWORK,) and not owns_network()


def network_hook(root: str, spec: NetworkSpec) -> tuple[str, bytes]:
    """The hook that gives a container its private networks here: root's, or a plain user's."""
    if owns_network():
        return "runtime.network.private", b""
    if is_shared_rootless(spec):
        folder = os.path.abspath(definitions.networks_folder(root))
        return "runtime.network.rootless_shared", os.fsencode(folder)
    return "runtime.network.rootless", marshal.dumps(find_programs(os.environ.get("PATH", "")), 4)


def resolves(spec: NetworkSpec) -> bool:
    """Whether a container asks its monitor for names.

    As with docker on networks of one's own; and where it could not reach the host's servers.
    """
    match spec.mode:
        case PrivateNetworks(endpoints):
            own = any(endpoint.network != DEFAULT_NETWORK for endpoint in endpoints)
            return own or not (spec.names.servers or reachable_servers())
        case _:
            return False


def _servers(spec: NetworkSpec) -> tuple[str, ...]:
    """Whom a monitor asks: it may be where it does not reach the host's own loopback."""
    return reachable_servers() if is_shared_rootless(spec) else name_servers()


def names_of(spec: NetworkSpec) -> Names:
    """What a container's resolv.conf says."""
    if not resolves(spec):
        return spec.names
    options = spec.names.options
    if not any(option.startswith("ndots:") for option in options):
        options = (*options, "ndots:0")
    return replace(spec.names, servers=(resolver.ADDRESS,), options=options)


def wanted_endpoint(root: str, endpoint: Endpoint) -> Wired:
    """A place on a network as monitors are told of it."""
    return {
        "network": definitions.wired(root, _defined(root, endpoint.network)),
        "aliases": endpoint.aliases,
        "ipv4": endpoint.ipv4,
        "ipv6": endpoint.ipv6,
        "mac": endpoint.mac,
    }


def published(spec: NetworkSpec) -> tuple[Port, ...]:
    """All ports that are to be published: with `publish_all` those that are exposed, too."""
    if not spec.publish_all:
        return spec.published
    known = {(port.container_port, port.protocol) for port in spec.published}
    more = [
        Port(container_port=port, protocol=protocol)
        for port, protocol in spec.exposed
        if (port, protocol) not in known
    ]
    return (*spec.published, *more)


def extra_hosts(root: str, spec: ContainerSpec) -> tuple[tuple[str, str], ...]:
    """What the caller wants in /etc/hosts; `host-gateway` is the host as the container sees it."""
    gateway = _LOCALHOST
    mode = spec.network.mode
    if isinstance(mode, PrivateNetworks) and not owns_network():
        gateway = _own_address()
    elif isinstance(mode, PrivateNetworks):
        subnets = _defined(root, mode.endpoints[0].network).subnets
        gateway = subnets.gateway4 or subnets.gateway6 or _LOCALHOST
    return tuple(
        (name, gateway if address == HOST_GATEWAY else address)
        for name, address in spec.extra_hosts
    )


def shared_files(root: str, spec: ContainerSpec) -> tuple[BindMount, ...]:
    """The files that say who a container is, of the one whose network it shares.

    `NotRunning` if that does not run.
    """
    mode = spec.network.mode
    if not isinstance(mode, OtherContainer):
        return ()
    other = find_container(root, mode.name)
    if not other.is_running:
        raise NotRunning(other.id, hint=f"lamina start {other.name}")
    made = os.path.join(other.folder, _MADE)
    taken = {mount.target for mount in spec.mounts}
    found = []
    for name in _SHARED:
        for theirs in (mount for mount in other.spec.mounts if isinstance(mount, BindMount)):
            if theirs.target == f"/etc/{name}":
                found.append(theirs)
        for file in os.listdir(made):
            if re.fullmatch(rf"{re.escape(name)}(-\d+)?", file):
                source = os.path.join(made, file)
                found.append(BindMount(source=source, target=f"/etc/{name}"))
    return tuple(mount for mount in found if mount.target not in taken)


def forget(root: str, container_id: str) -> None:
    """Take back what a container that does not run any more has of networks."""
    folder = definitions.networks_folder(root)
    if not os.path.isdir(place(folder)) or container_id not in read(folder).containers:
        return
    if owns_network():
        release(folder, definitions.table(root), container_id)
    else:
        rootless.release(folder, container_id)


def wired_now(root: str) -> dict[str, Wired]:
    """By ID the containers that are on networks, as `runtime.network.state.Record` has them.

    Each endpoint has the `definition` of its network, too. Some may have ended without a word.
    """
    record = read(definitions.networks_folder(root))
    for container in record.containers.values():
        for endpoint in container["endpoints"]:
            endpoint["definition"] = record.networks[endpoint["network"]]
    return record.containers


def _own_address() -> str:
    """The address that this machine has where it leads to the world; nothing is sent there.

    A plain user's container reaches it by that.
    """
    socket = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        socket.connect(("192.0.2.1", 9))
        return str(socket.getsockname()[0])
    except OSError:
        return GATEWAY
    finally:
        socket.close()


def _defined(root: str, name: str) -> definitions.Network:
    if name == DEFAULT_NETWORK:
        return definitions.default_network(root)
    return definitions.find_network(root, name)


def _hosts(container: Container, mounts: Sequence[Mount]) -> tuple[str, str, str] | None:
    """Path and text of its /etc/hosts, if that is ours, and the names of its addresses."""
    made = os.path.join(container.folder, _MADE)
    for mount in mounts:
        if not isinstance(mount, BindMount) or mount.target != "/etc/hosts":
            continue
        if os.path.dirname(mount.source) == made:
            with open(mount.source, encoding="utf-8", errors="surrogateescape") as file:
                text = file.read()
            hostname = container.description.hostname
            domain = container.spec.network.domainname
            return mount.source, text, f"{hostname}.{domain} {hostname}" if domain else hostname
    return None
