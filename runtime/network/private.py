"""A container on private networks: a hook of its monitor (see `runtime.monitor.hooks`).

Ahead of each start it makes the container's network namespace, gives it addresses, wires it to
the bridges of its networks, and publishes its ports; afterwards it takes all that back. What is
left of monitors that were killed goes with the next change, or by `release`.
"""

from __future__ import annotations

import marshal
import os

from runtime.errors import NetworkError, SetupFailed
from runtime.monitor.identity import identify
from runtime.network import beside, rules
from runtime.network.hook import NamespaceHook
from runtime.network.links import Links
from runtime.network.namespace import make_namespace
from runtime.network.naming import NameService
from runtime.network.places import plan_endpoint
from runtime.network.ports import HeldPorts
from runtime.network.state import Locked, Record, names_file
from runtime.network.tracking import forget_datagrams
from runtime.network.wiring import connect, give_routes, route_localhost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.monitor.loop import Loop
    from runtime.sandbox.wire import Order

    Fields = dict[str, Any]

WANTED = "network"
"""The file in a container's folder that says what it wants, as `marshal` writes it:

    folder      the store's `networks`
    table       of the store's rules
    names       those of the container
    endpoints   dictionaries: network (a definition, see `definitions.wired`), aliases, and ipv4,
                ipv6, mac, or `None`
    ports       protocol, host's address, host's port, container's port
    resolves    whether there is a name server at 127.0.0.11, which knows the containers of
                networks other than the default one, and asks `servers` for the rest
    hosts       path and text of its /etc/hosts, and the names that come after its own addresses
"""
DEFAULT = "bridge"
"""The network on which nobody has a name, as with docker."""
_NO_PRIVILEGE = "making interfaces and rules needs CAP_NET_ADMIN and a kernel with nf_tables"


def open_hook(_data: bytes, container_id: str, loop: Loop) -> PrivateNetwork:
    """The hook of a container."""
    return PrivateNetwork(container_id, loop)


class PrivateNetwork(NamespaceHook):
    """The networks of one container, as long as its monitor lives."""

    def __init__(self, container_id: str, loop: Loop) -> None:
        super().__init__()
        self._id = container_id
        self._loop = loop
        self._names: NameService | None = None
        self._ports = HeldPorts()
        self._last: dict[str, Fields] = {}
        self._folder, self._table = "", ""

    def before_start(self, order: Order) -> None:
        """Make the network; `ContainerError`."""
        wanted = _read_wanted()
        self._folder, self._table = wanted["folder"], wanted["table"]
        try:
            self._namespace = make_namespace()
            with Locked(self._folder) as locked:
                container = self._attach(locked, wanted)
            if wanted["resolves"]:
                self._names = self._serve_names(wanted)
        except SetupFailed as error:
            raise (_explained(error.errno) or error) from error
        except OSError as error:
            number = error.errno or 0
            text = os.strerror(number).lower()
            known = _explained(number)
            raise known or NetworkError(f"cannot make the network: {text}") from error
        order.network, order.network_fd = "joined", self._namespace
        write_hosts(wanted["hosts"], container)

    def after_exit(self) -> None:
        """Take it all back."""
        if self._names is not None:
            self._names.close()
            self._names = None
        if self._folder:
            release(self._folder, self._table, self._id)
        self._ports.close()
        self._let_go()

    def _serve_names(self, wanted: Fields) -> NameService:
        leads_out = not all(place["network"]["internal"] for place in wanted["endpoints"])
        servers = wanted["servers"] if leads_out else ()
        known = _NamedNetworks()
        return NameService(self._loop, self._namespace, known.files, servers)

    def _attach(self, locked: Locked, wanted: Fields) -> Fields:
        record = locked.record
        sweep(record, self._table, besides=self._id)
        me = identify(os.getpid())
        assert me is not None
        container: Fields = {
            "runner": me.to_document(),
            "names": wanted["names"],
            "endpoints": [],
            "ports": [],
        }
        record.containers[self._id] = container
        for number, place in enumerate(wanted["endpoints"]):
            endpoint = plan_endpoint(
                record, self._id, place, number, self._last.get(place["network"]["id"])
            )
            container["endpoints"].append(endpoint)
            self._last[endpoint["network"]] = endpoint
        at = rules.published_at(container, record)
        if at is not None:
            _check_families(wanted["ports"], at)
            held = self._ports.hold(wanted["ports"], ipv6=bool(at["ipv6"]))
            container["ports"] = held
        # First the record: whoever finds us killed in the middle has to know.
        locked.save()
        try:
            for endpoint in container["endpoints"]:
                connect(record, endpoint, self._namespace, ports=bool(container["ports"]))
            give_routes(record, container["endpoints"], self._namespace)
            rules.apply(self._table, record)
            route_localhost(record, container)
            forget_datagrams({port[2] for port in container["ports"] if port[0] == "udp"})
        except BaseException:
            sweep(record, self._table, besides=self._id)
            locked.save()
            raise
        return container


class _NamedNetworks:
    """The networks on which a container knows others by name, as its folder says at the time."""

    def __init__(self) -> None:
        self._stamp = (0, 0)
        self._files: list[tuple[str, str]] = []

    def files(self) -> list[tuple[str, str]]:
        """Names of networks, and their files of names."""
        found = os.stat(WANTED)
        if (found.st_ino, found.st_mtime_ns) != self._stamp:
            self._stamp = found.st_ino, found.st_mtime_ns
            wanted = _read_wanted()
            self._files = [
                (place["network"]["name"], names_file(wanted["folder"], place["network"]["id"]))
                for place in wanted["endpoints"]
                if place["network"]["name"] != DEFAULT
            ]
        return self._files


def _read_wanted() -> Fields:
    with open(WANTED, "rb", buffering=0) as file:
        wanted: Fields = marshal.loads(file.readall() or b"")
    return wanted


def release(folder: str, table: str, container_id: str) -> None:
    """Take back what a container has of networks, and what is left of dead ones."""
    with Locked(folder) as locked:
        if sweep(locked.record, table, besides=container_id):
            locked.save()


def sweep(record: Record, table: str, *, besides: str = "") -> bool:
    """Undo what belongs to monitors that are gone, and to one `besides`; whether there was any.

    The interfaces of containers have gone with their namespaces, unless somebody holds those.
    """
    endpoints = [endpoint for each in record.containers.values() for endpoint in each["endpoints"]]
    if not record.forget_dead(besides=besides):
        return False
    left = {
        endpoint["veth"] for each in record.containers.values() for endpoint in each["endpoints"]
    }
    with Links() as links:
        for endpoint in endpoints:
            if endpoint["veth"] not in left:
                links.delete(endpoint["veth"])
    drop_unused(record)
    rules.apply(table, record)
    return True


def drop_unused(record: Record) -> None:
    """Remove the bridges of networks on which nobody is left."""
    used = {
        endpoint["network"] for each in record.containers.values() for endpoint in each["endpoints"]
    }
    with Links() as links:
        for network_id in record.networks.keys() - used:
            definition = record.networks.pop(network_id)
            beside.forget(definition["bridge"])
            links.delete(definition["bridge"])


def _check_families(ports: list[tuple[str, str, int, int]], place: Fields) -> None:
    for protocol, address, number, _ in ports:
        if address == "::1" or (":" in address and not place["ipv6"]):
            why = "the network has no IPv6" if address != "::1" else "it leads nowhere else"
            raise NetworkError(f"cannot publish port [{address}]:{number}/{protocol}: {why}")


def write_hosts(wanted: tuple[str, str, str] | None, container: Fields) -> None:
    """Have a container's /etc/hosts name its own addresses."""
    if wanted is None:
        return
    path, text, names = wanted
    for endpoint in container["endpoints"]:
        for address in (endpoint["ipv4"], endpoint["ipv6"]):
            if address:
                text += f"{address}\t{names}\n"
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode("utf-8", "surrogateescape"))
    finally:
        os.close(fd)


def _explained(number: int) -> NetworkError | None:
    """What it means that the kernel refuses a network so, if it means that it never will."""
    if number in (1, 13, 93, 95):  # EPERM, EACCES, EPROTONOSUPPORT, EOPNOTSUPP
        return NetworkError(
            f"private networks cannot be had here: {_NO_PRIVILEGE}",
            hint="--network host or --network none; in a container, give it --cap-add NET_ADMIN",
        )
    return None
