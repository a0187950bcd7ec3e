"""Networks as `network ls` and `inspect` show them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from builder.commands.filters import all_fit, fits_label, is_boolean, is_true, parsed_filters
from runtime.monitor.times import rfc3339_nano
from runtime.network.definitions import Network, Subnets, default_network, list_networks
from runtime.network.model import DEFAULT_NETWORK

HEADS = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "IPv4": "IPV4",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "CreatedAt": "CREATED AT",
}
_SHORT = 12
_KEYS = ("dangling", "driver", "id", "label", "name", "type")
_PRUNE_KEYS = ("label", "label!")
_MODES = ("host", "none")
_DRIVERS = {"host": "host", "none": "null"}


def predefined(root: str) -> list[Network]:
    """All networks by name, with the default one, and `host` and `none`."""
    networks = list_networks(root)
    if not any(network.name == DEFAULT_NETWORK for network in networks):
        networks.append(default_network(root))
    networks += [
        Network(
            id=hashlib.sha256(name.encode()).hexdigest(), name=name, created_ns=0, subnets=Subnets()
        )
        for name in _MODES
    ]
    return sorted(networks, key=lambda network: network.name)


def row(network: Network, *, no_trunc: bool) -> dict[str, str]:
    """The texts of all columns."""
    moment = datetime.fromtimestamp(network.created_ns // 10**9).astimezone()
    return {
        "ID": network.id if no_trunc else network.id[:_SHORT],
        "Name": network.name,
        "Driver": driver(network),
        "Scope": "local",
        "IPv4": _text(network.subnets.subnet4 is not None),
        "IPv6": _text(network.subnets.subnet6 is not None),
        "Internal": _text(network.internal),
        "Labels": ",".join(f"{key}={value}" for key, value in network.labels.items()),
        "CreatedAt": moment.strftime("%Y-%m-%d %H:%M:%S %z %Z"),
    }


def driver(network: Network) -> str:
    """What docker calls its kind."""
    return _DRIVERS.get(network.name, "bridge")


def chosen(
    networks: Sequence[Network],
    used: Collection[str],
    filters: Sequence[str],
    *,
    pruning: bool = False,
) -> list[Network]:
    """The networks that `--filter`s let through: of each key one value must fit, of labels all.

    `used` are the names of those that containers have. `OptionError` for a filter that is none.
    """
    wanted = parsed_filters(filters, _PRUNE_KEYS if pruning else _KEYS, _can_be)
    return [network for network in networks if all_fit(wanted, partial(_fits, network, used))]


def _can_be(key: str, value: str) -> bool:
    match key:
        case "dangling":
            return is_boolean(value)
        case "type":
            return value in ("custom", "builtin")
        case _:
            return True


def network_document(network: Network, wired: Mapping[str, Any]) -> dict[str, Any]:
    """A network as docker's `inspect` shows it; `wired` are the containers on networks now."""
    subnets = network.subnets
    config = [
        {
            "Subnet": subnet,
            **({"IPRange": within} if within else {}),
            "Gateway": gateway,
        }
        for subnet, within, gateway in (
            (subnets.subnet4, subnets.range4, subnets.gateway4),
            (subnets.subnet6, subnets.range6, subnets.gateway6),
        )
        if subnet
    ]
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": rfc3339_nano(network.created_ns),
        "Scope": "local",
        "Driver": driver(network),
        "EnableIPv4": subnets.subnet4 is not None,
        "EnableIPv6": subnets.subnet6 is not None,
        "IPAM": {"Driver": "default", "Options": None, "Config": config},
        "Internal": network.internal,
        "Attachable": False,
        "Ingress": False,
        "Containers": {
            container_id: _endpoint(container["names"][0], endpoint)
            for container_id, container in wired.items()
            for endpoint in container["endpoints"]
            if endpoint["network"] == network.id
        },
        "Options": dict(network.options),
        "Labels": dict(network.labels),
    }


def _endpoint(name: str, endpoint: Mapping[str, Any]) -> dict[str, str]:
    definition = endpoint["definition"]
    return {
        "Name": name,
        "MacAddress": endpoint["mac"],
        "IPv4Address": _with_length(endpoint["ipv4"], definition["subnet4"]),
        "IPv6Address": _with_length(endpoint["ipv6"], definition["subnet6"]),
    }


def _with_length(address: str | None, subnet: str | None) -> str:
    return f"{address}/{subnet.partition('/')[2]}" if address and subnet else ""


def _fits(network: Network, used: Collection[str], key: str, value: str) -> bool:
    is_built_in = network.name in (*_MODES, DEFAULT_NETWORK)
    match key:
        case "dangling":
            return (not is_built_in and network.name not in used) == is_true(value)
        case "driver":
            return driver(network) == value
        case "id":
            return network.id.startswith(value)
        case "name":
            return value in network.name
        case "type":
            return is_built_in == (value == "builtin")
        case _:
            return fits_label(network.labels, key, value)


def _text(value: bool) -> str:
    return "true" if value else "false"
