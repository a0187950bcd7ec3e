"""Private networks as they are defined: a file each, `networks/<name>.json` in the store.

The default network, `bridge`, is defined when it is first wanted. A network has interfaces and
rules only while containers are on it: see `runtime.network.private`.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Final

from runtime.errors import NetworkError
from runtime.monitor.locked_folder import locked_folder
from runtime.network.links import Links
from runtime.network.model import DEFAULT_NETWORK
from runtime.network.state import Record, names_file, read

Subnet = IPv4Network | IPv6Network

RESERVED: Final = ("none", "host", "default", "container")
_POOL: Final = IPv4Network("10.192.0.0/10")
_CHOSEN_LENGTH: Final = 24
_VERSION: Final = 1
_MTU: Final = 1500
_UNUSABLE: Final = tuple(
    map(ip_network, ("127.0.0.0/8", "224.0.0.0/3", "0.0.0.0/8", "::1/128", "ff00::/8", "fe80::/10"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnets:
    """The addresses of a network, as texts; `range4` and `range6` are the parts that are given
    to containers that do not say which they want."""

    subnet4: str | None = None
    gateway4: str | None = None
    range4: str | None = None
    subnet6: str | None = None
    gateway6: str | None = None
    range6: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A private network.

    internal     nothing leads in or out
    masquerade   what leaves it bears the host's address
    options      as they were given
    """

    id: str
    name: str
    created_ns: int
    subnets: Subnets
    internal: bool = False
    masquerade: bool = True
    mtu: int = _MTU
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)


def networks_folder(root: str) -> str:
    """Where the networks of a store are."""
    return os.path.join(root, "networks")


def list_networks(root: str) -> list[Network]:
    """All that are defined, by name."""
    folder = networks_folder(root)
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    found = [_read(os.path.join(folder, name)) for name in names if name.endswith(".json")]
    return [each for each in found if each is not None]


def find_network(root: str, name: str) -> Network:
    """The network of that name or ID, or whose ID begins so; `NetworkError`."""
    everything = list_networks(root)
    for network in everything:
        if name in (network.name, network.id):
            return network
    matching = [network for network in everything if name and network.id.startswith(name)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise NetworkError(f"several networks have IDs that begin with {name}")
    raise NetworkError(
        f"network {name} not found", hint=f"lamina network create {name}; lamina network ls"
    )


def define_network(root: str, network: Network, *, ipv6: bool = False) -> Network:
    """Record a new network; addresses that it does not say are chosen, IPv6 ones if wanted.

    Its `id` and `created_ns` are made here. `NetworkError` if there is one of that name, or
    its addresses cannot be.
    """
    with locked_folder(networks_folder(root)):
        there = list_networks(root)
        if any(each.name == network.name for each in there):
            raise NetworkError(f"network with name {network.name} already exists")
        subnets = _completed(root, network, there, ipv6=ipv6)
        made = replace(network, id=os.urandom(32).hex(), created_ns=time.time_ns(), subnets=subnets)
        _write(root, made)
    return made


def default_network(root: str) -> Network:
    """The network that containers are on without `--network`, defined if it is not.

    Other addresses are chosen if this machine has got a route to those meanwhile.
    """
    with locked_folder(networks_folder(root)):
        path = _path(root, DEFAULT_NETWORK)
        network = _read(path)
        unused = network is None or network.id not in read(networks_folder(root)).networks
        if network is not None and not (unused and _overlapping(network, _routes(root))):
            return network
        others = [each for each in list_networks(root) if each.name != DEFAULT_NETWORK]
        made = Network(
            id=os.urandom(32).hex() if network is None else network.id,
            name=DEFAULT_NETWORK,
            created_ns=time.time_ns(),
            subnets=Subnets(),
        )
        made = replace(made, subnets=_completed(root, made, others, ipv6=False))
        _write(root, made)
        return made


def remove_network(root: str, name: str) -> Network:
    """Remove a network's definition; `NetworkError` if containers are on it."""
    with locked_folder(networks_folder(root)):
        network = find_network(root, name)
        if network.name == DEFAULT_NETWORK:
            raise NetworkError(f"{network.name} is a pre-defined network and cannot be removed")
        alive = _alive(root)
        users = [container["names"][0] for container, _ in alive.endpoints(network.id)]
        if users:
            raise NetworkError(
                f"network {network.name} has active endpoints: {', '.join(sorted(users))}",
                hint="stop those containers, or disconnect them",
            )
        with suppress(FileNotFoundError):
            os.unlink(_path(root, network.name))
    return network


def tag(root: str) -> str:
    """What tells the interfaces and rules of one store from those of another."""
    return hashlib.sha256(os.path.realpath(root).encode()).hexdigest()[:6]


def table(root: str) -> str:
    """The name of a store's rules."""
    return f"lamina-{tag(root)}"


def wired(root: str, network: Network) -> dict[str, Any]:
    """A definition as monitors have it."""
    mac = ":".join(("02:42", *(network.id[place : place + 2] for place in (0, 2, 4, 6))))
    return {
        "id": network.id,
        "name": network.name,
        "bridge": f"lm{tag(root)}-{network.id[:5]}",
        "mac": mac,
        "mtu": network.mtu,
        "internal": network.internal,
        "masquerade": network.masquerade,
        **_members(network.subnets),
    }


def names_of(root: str, network: Network) -> str:
    """The file that says who is who on a network; see `runtime.network.state.names_file`."""
    return names_file(networks_folder(root), network.id)


def _alive(root: str) -> Record:
    record = read(networks_folder(root))
    record.forget_dead()
    return record


def _completed(root: str, network: Network, there: list[Network], *, ipv6: bool) -> Subnets:
    given = network.subnets
    _check_given(given)
    taken = [
        ip_network(text)
        for other in there
        for text in (other.subnets.subnet4, other.subnets.subnet6)
        if text
    ]
    for text in (given.subnet4, given.subnet6):
        for other in taken:
            same = text and ip_network(text).version == other.version
            if text and same and ip_network(text).overlaps(other):
                raise NetworkError(f"subnet {text} overlaps with another network's, {other}")
    routes = _routes(root)
    subnet4 = given.subnet4
    if subnet4 is None and not (given.subnet6 and not ipv6):
        subnet4 = str(_chosen(f"{os.path.realpath(root)}/{network.name}", [*taken, *routes]))
    subnet6 = given.subnet6
    if subnet6 is None and ipv6:
        subnet6 = _unique_local(f"{os.path.realpath(root)}/{network.name}")
    return replace(
        given,
        subnet4=subnet4,
        gateway4=given.gateway4 or _first(subnet4),
        subnet6=subnet6,
        gateway6=given.gateway6 or _first(subnet6),
    )


def _check_given(given: Subnets) -> None:
    for version, subnet, gateway, within in (
        (4, given.subnet4, given.gateway4, given.range4),
        (6, given.subnet6, given.gateway6, given.range6),
    ):
        if subnet is None:
            if gateway or within:
                raise NetworkError(
                    f"{gateway or within} is on no subnet of this network",
                    hint="give its --subnet, too",
                )
            continue
        whole = ip_network(subnet)
        if any(whole.version == bad.version and whole.overlaps(bad) for bad in _UNUSABLE):
            raise NetworkError(f"subnet {subnet} is not for networks")
        if whole.num_addresses < 4:
            raise NetworkError(f"subnet {subnet} is too small", hint="at most /30 or /126")
        if gateway and (
            ip_address(gateway) not in whole or ip_address(gateway) == whole.network_address
        ):
            raise NetworkError(f"gateway {gateway} is not an address of subnet {subnet}")
        if within and not ip_network(within).subnet_of(whole):  # type: ignore[arg-type]
            raise NetworkError(f"IP range {within} is not a part of subnet {subnet}")
        assert whole.version == version


def _chosen(seed: str, taken: list[Subnet]) -> IPv4Network:
    """A subnet that nobody uses, begun to be looked for where no other store begins."""
    count = 1 << _CHOSEN_LENGTH - _POOL.prefixlen
    start = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big")
    for step in range(count):
        place = (start + step) % count << 32 - _CHOSEN_LENGTH
        candidate = IPv4Network((int(_POOL.network_address) + place, _CHOSEN_LENGTH))
        if not any(isinstance(each, IPv4Network) and candidate.overlaps(each) for each in taken):
            return candidate
    raise NetworkError("no addresses are left for another network", hint="give a --subnet")


def _unique_local(seed: str) -> str:
    """A /64 of those that everybody may take (RFC 4193)."""
    digest = hashlib.sha256(seed.encode()).digest()[:7]
    return str(IPv6Network((b"\xfd" + digest + bytes(8), 64)))


def _first(subnet: str | None) -> str | None:
    return str(ip_network(subnet)[1]) if subnet else None


def _routes(root: str) -> list[Subnet]:
    """Where this machine has routes to, besides those to this store's own networks."""
    own = f"lm{tag(root)}-"
    try:
        with Links() as links:
            ours = links.indexes(own)
            return [
                ip_network((destination, length), strict=False)
                for destination, length, index in links.routes()
                if index not in ours
            ]
    except OSError as error:
        raise NetworkError(
            f"the routes of this machine cannot be read: {(error.strerror or '').lower()}"
        ) from error


def _overlapping(network: Network, routes: list[Subnet]) -> bool:
    subnet = network.subnets.subnet4
    if subnet is None:
        return False
    ours = IPv4Network(subnet)
    return any(isinstance(each, IPv4Network) and ours.overlaps(each) for each in routes)


def _path(root: str, name: str) -> str:
    return os.path.join(networks_folder(root), f"{name}.json")


def _members(value: Network | Subnets) -> dict[str, Any]:
    return {each.name: getattr(value, each.name) for each in fields(value)}


def _read(path: str) -> Network | None:
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
        if document.pop("version") != _VERSION:
            return None
        return Network(**{**document, "subnets": Subnets(**document["subnets"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write(root: str, network: Network) -> None:
    document = {
        "version": _VERSION,
        **_members(network),
        "subnets": _members(network.subnets),
        "labels": dict(network.labels),
        "options": dict(network.options),
    }
    path = _path(root, network.name)
    fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(document, file)
    os.rename(f"{path}.new", path)
