"""Networks of containers as docker shows them: in `inspect`, in `ps`, by `port`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from builder.commands.container_network_options import parse_exposed
from runtime.containers.networks import published
from runtime.containers.record import Container
from runtime.network.model import PrivateNetworks

_ANY = "0.0.0.0"

Wired = Mapping[str, Any]
Port = tuple[str, str, int, int]


def ports_now(container: Container, wired: Mapping[str, Wired]) -> list[Port]:
    """The ports that a container has now: protocol, host's address, host's port, its own."""
    there = wired.get(container.id)
    return list(there["ports"]) if there is not None and container.is_active else []


def shown_ports(container: Container, wired: Mapping[str, Wired]) -> str:
    """As `ps` shows them: `0.0.0.0:8080->80/tcp, 443/tcp`."""
    if not container.is_active:
        return ""
    ports = ports_now(container, wired)
    texts = []
    for first, last in _ranges(ports):
        protocol, address, outside, inside = first
        length = last[3] - inside
        texts.append(
            f"{_place(address)}:{_range(outside, length)}->{_range(inside, length)}/{protocol}"
        )
    known = {(port[3], port[0]) for port in ports}
    texts += [
        f"{port}/{protocol}"
        for port, protocol in container.spec.network.exposed
        if (port, protocol) not in known
    ]
    return ", ".join(texts)


def publishers(text: str, wired: Mapping[str, Wired]) -> list[str]:
    """The IDs of containers that have published one of the host's ports `PORT[-LAST][/udp]`."""
    wanted = set(parse_exposed(text, "--filter publish="))
    return [
        container_id
        for container_id, there in wired.items()
        if any((port[2], port[0]) in wanted for port in there["ports"])
    ]


def network_settings(container: Container, wired: Mapping[str, Wired]) -> dict[str, Any]:
    """The `NetworkSettings` of `inspect`."""
    there = wired.get(container.id) if container.is_active else None
    ports: dict[str, list[dict[str, str]] | None] = {}
    if container.is_active:
        for port, protocol in container.spec.network.exposed:
            ports[f"{port}/{protocol}"] = None
    for kind, address, outside, inside in ports_now(container, wired):
        key = f"{inside}/{kind}"
        place = {"HostIp": address or _ANY, "HostPort": str(outside)}
        ports[key] = [*(ports.get(key) or ()), place]
    networks: dict[str, dict[str, Any]] = {}
    spec = container.spec.network
    if not isinstance(spec.mode, PrivateNetworks):
        networks = {name: {} for name in spec.networks}
    elif there is None:
        networks = {
            endpoint.network: _endpoint({"aliases": endpoint.aliases}, {})
            for endpoint in spec.mode.endpoints
        }
    else:
        for endpoint in there["endpoints"]:
            definition = endpoint["definition"]
            networks[definition["name"]] = _endpoint(endpoint, definition)
    first = next(iter(networks.values()), {})
    return {
        "Ports": ports,
        "Networks": networks,
        "IPAddress": first.get("IPAddress", ""),
        "IPPrefixLen": first.get("IPPrefixLen", 0),
        "Gateway": first.get("Gateway", ""),
        "MacAddress": first.get("MacAddress", ""),
    }


def port_bindings(container: Container) -> dict[str, list[dict[str, str]]]:
    """The `PortBindings` of `inspect`: what was asked for."""
    found: dict[str, list[dict[str, str]]] = {}
    for port in published(container.spec.network):
        key = f"{port.container_port}/{port.protocol}"
        at = str(port.host_port) if port.host_port else ""
        at += f"-{port.host_last}" if port.host_last else ""
        found.setdefault(key, []).append({"HostIp": port.host_ip, "HostPort": at})
    return found


def _endpoint(endpoint: Wired, definition: Wired) -> dict[str, Any]:
    return {
        "NetworkID": definition.get("id", ""),
        "Aliases": list(endpoint.get("aliases", ())) or None,
        "Gateway": definition.get("gateway4") or "",
        "IPAddress": endpoint.get("ipv4") or "",
        "IPPrefixLen": _length(definition.get("subnet4")),
        "IPv6Gateway": definition.get("gateway6") or "",
        "GlobalIPv6Address": endpoint.get("ipv6") or "",
        "GlobalIPv6PrefixLen": _length(definition.get("subnet6")),
        "MacAddress": endpoint.get("mac") or "",
    }


def _length(subnet: str | None) -> int:
    return int(subnet.partition("/")[2]) if subnet else 0


def _ranges(ports: Iterable[Port]) -> list[Sequence[Port]]:
    """First and last port of each run of ports that lead to one of as many."""
    runs: list[list[Port]] = []
    for port in sorted(ports, key=lambda each: (each[0], each[1], each[3], each[2])):
        if runs:
            protocol, address, outside, inside = runs[-1][-1]
            if port == (protocol, address, outside + 1, inside + 1):
                runs[-1].append(port)
                continue
        runs.append([port])
    return [(run[0], run[-1]) for run in runs]


def _range(first: int, length: int) -> str:
    return f"{first}-{first + length}" if length else str(first)


def _place(address: str) -> str:
    return f"[{address}]" if ":" in address else address or _ANY
