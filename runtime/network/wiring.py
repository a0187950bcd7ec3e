"""Bridges, and wires between them and the network namespaces of containers."""

from __future__ import annotations

import _socket
import errno
import os

from runtime.errors import NetworkError
from runtime.network import beside, rules
from runtime.network.addresses import network, overlap, packed
from runtime.network.links import Links
from runtime.network.namespace import inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.network.state import Record

    Fields = dict[str, Any]

_FORWARDING = "/proc/sys/net/ipv4/ip_forward"
_FORWARDING_6 = "/proc/sys/net/ipv6/conf/all/forwarding"


def connect(record: Record, endpoint: Fields, namespace_fd: int, *, ports: bool) -> None:
    """Wire a container's namespace to a network, whose bridge is made if it is not there.

    `OSError`, and then nothing of the wire is left.
    """
    definition = record.networks[endpoint["network"]]
    with Links() as links:
        index = _have_bridge(links, definition)
        links.delete(endpoint["veth"])
        links.add_pair(
            endpoint["veth"],
            master=index,
            mtu=definition["mtu"],
            peer=endpoint["interface"],
            peer_mac=endpoint["mac"],
            namespace_fd=namespace_fd,
        )
        # The end on the bridge has nothing to say of its own.
        _set(f"/proc/sys/net/ipv6/conf/{endpoint['veth']}/disable_ipv6", "1", optional=True)
        if ports and _setting("/proc/sys/net/bridge/bridge-nf-call-iptables") == "1":
            # Where rules are asked for what stays on the bridge, what a container sends to
            # its own published port comes back the way it came.
            links.reflect(endpoint["veth"])

    def work() -> list[int]:
        name = endpoint["interface"]
        if endpoint["ipv6"]:
            _set(f"/proc/sys/net/ipv6/conf/{name}/accept_dad", "0", optional=True)
            _set(f"/proc/sys/net/ipv6/conf/{name}/accept_ra", "0", optional=True)
        else:
            _set(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "1", optional=True)
        with Links() as links:
            index = _socket.if_nametoindex(name)
            for address, subnet in (("ipv4", "subnet4"), ("ipv6", "subnet6")):
                if endpoint[address]:
                    _, length = network(definition[subnet])
                    links.add_address(index, packed(endpoint[address]), length)
            links.set_up(index)
        return []

    inside(namespace_fd, work, f"set up {endpoint['interface']}")


def give_routes(record: Record, endpoints: list[Fields], namespace_fd: int) -> None:
    """Have a container's namespace send what is for elsewhere to its first network that leads
    out."""

    def work() -> list[int]:
        with Links() as links:
            for gateway, address in (("gateway4", "ipv4"), ("gateway6", "ipv6")):
                for endpoint in endpoints:
                    definition = record.networks[endpoint["network"]]
                    if endpoint[address] and definition[gateway] and not definition["internal"]:
                        index = _socket.if_nametoindex(endpoint["interface"])
                        links.add_default_route(index, packed(definition[gateway]))
                        break
        return []

    inside(namespace_fd, work, "add a default route")


def _have_bridge(links: Links, definition: Fields) -> int:
    """The index of a network's bridge, with all that belongs to it.

    Whoever made it may have been killed in the middle, and others may have taken their rules
    away meanwhile: so everything is seen to each time.
    """
    bridge = definition["bridge"]
    try:
        index = _socket.if_nametoindex(bridge)
    except OSError:
        for subnet in (definition["subnet4"], definition["subnet6"]):
            _check_free(links, subnet, definition["name"])
        index = links.add_bridge(bridge, definition["mac"], definition["mtu"])
    if definition["subnet6"]:
        _set(f"/proc/sys/net/ipv6/conf/{bridge}/accept_dad", "0", optional=True)
        _set(f"/proc/sys/net/ipv6/conf/{bridge}/accept_ra", "0", optional=True)
    else:
        _set(f"/proc/sys/net/ipv6/conf/{bridge}/disable_ipv6", "1", optional=True)
    for gateway, subnet in (("gateway4", "subnet4"), ("gateway6", "subnet6")):
        if definition[gateway]:
            _, length = network(definition[subnet])
            links.add_address(index, packed(definition[gateway]), length)
    if not definition["internal"]:
        _set(_FORWARDING, "1")
        if definition["subnet6"]:
            _set(_FORWARDING_6, "1")
    beside.accept(bridge)
    return index


def _check_free(links: Links, subnet: str | None, name: str) -> None:
    if subnet is None:
        return
    ours = network(subnet)
    for destination, length, _ in links.routes():
        if overlap(ours, (destination, length)):
            raise NetworkError(
                f"network {name} ({subnet}) overlaps with a route of this machine",
                hint="remove the network, and make one with another --subnet",
            )


def route_localhost(record: Record, container: Fields) -> None:
    """Let what is for 127.0.0.1 go to a bridge. Only now, when the rules guard the other way."""
    at = rules.published_at(container, record)
    if at is not None and container["ports"]:
        bridge = record.networks[at["network"]]["bridge"]
        _set(f"/proc/sys/net/ipv4/conf/{bridge}/route_localnet", "1")


def _setting(path: str) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            return (file.read(64) or b"").decode().strip()
    except OSError:
        return ""


def _set(path: str, value: str, *, optional: bool = False) -> None:
    """Set a parameter of the kernel's, if there is such and it is not so already.

    `NetworkError` where /proc/sys is read-only, unless it is `optional`: one that only spares
    the network messages.
    """
    if _setting(path) in ("", value):
        return
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        if optional:
            return
        name = path.removeprefix("/proc/sys/").replace("/", ".")
        raise NetworkError(
            f"{name} cannot be set to {value}: /proc/sys is read-only here",
            hint="start the surrounding container with --privileged, or with"
            " --security-opt systempaths=unconfined",
        ) from error
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)
