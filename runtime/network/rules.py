"""The rules that private networks take: what goes out, what comes in, what stays apart.

    postrouting   what leaves a network bears the host's address; so does what a container sends
                  to itself or to its neighbours by way of a published port
    dnat          published ports lead to their containers: from outside, from the host itself
                  (127.0.0.1 included) and from containers
    forward       a container is reached by its own network, by answers, and where it is published
    guard         what listens at the host's 127.0.0.1 is not reached from a network
                  (CVE-2020-8558), which routes 127.0.0.1 for published ports

They are made anew as a whole, in one transaction, at every change: what somebody who was killed
left goes with it. The table is one store's only.
"""

from __future__ import annotations

from runtime.network import nft
from runtime.network.addresses import network, packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from runtime.network.state import Record

    Wanted = tuple[str, nft.Rule, str]

_LOOPBACK = (b"\x7f\0\0\0", 8)
_LOOPBACK_6 = bytes(15) + b"\1"

_CHAINS = (
    ("guard", nft.PREROUTING, nft.RAW, "filter"),
    ("prerouting", nft.PREROUTING, nft.DESTINATION_NAT, "nat"),
    ("output", nft.OUTPUT, nft.DESTINATION_NAT, "nat"),
    ("postrouting", nft.POSTROUTING, nft.SOURCE_NAT, "nat"),
    ("forward", nft.FORWARD, nft.FILTER, "filter"),
)


def apply(table: str, record: Record) -> None:
    """Have just the rules that a record asks for; no table at all if nothing is there."""
    changes = nft.Changes()
    changes.add_table(table)
    if not record.networks:
        changes.delete_table(table)
        changes.commit()
        return
    changes.add_chain(table, "dnat")
    changes.flush_chain(table, "dnat")
    for name, hook, at, kind in _CHAINS:
        changes.add_chain(table, name, hook=hook, at=at, kind=kind)
        changes.flush_chain(table, name)
    for chain, rule, comment in wanted(record):
        changes.add_rule(table, chain, rule, comment)
    changes.commit()


def wanted(record: Record) -> Iterator[Wanted]:
    """Every rule: its chain, what it says, and whose it is."""
    local = nft.to_this_machine()
    yield "prerouting", (*local, *nft.jump("dnat")), ""
    yield "output", (*local, *nft.jump("dnat")), ""
    yield "forward", (*nft.established(), *nft.verdict(nft.ACCEPT)), ""
    for definition in record.networks.values():
        yield from _of_network(definition)
    for container_id, container in record.containers.items():
        yield from _of_container(container_id, container, record)


def _of_network(definition: dict[str, Any]) -> Iterator[Wanted]:
    bridge, name = definition["bridge"], f"network {definition['name']}"
    inside, outside = nft.to_interface(bridge), nft.not_to_interface(bridge)
    accept, drop = nft.verdict(nft.ACCEPT), nft.verdict(nft.DROP)
    yield "guard", (*nft.from_interface(bridge), *nft.to_network(*_LOOPBACK), *drop), name
    yield "forward", (*nft.from_interface(bridge), *inside, *accept), name
    if definition["internal"]:
        yield "forward", (*nft.from_interface(bridge), *outside, *drop), name
    else:
        yield "forward", (*inside, *nft.published(), *accept), name
    yield "forward", (*inside, *drop), name
    for subnet in (definition["subnet4"], definition["subnet6"]):
        if not subnet:
            continue
        ours = nft.from_network(*network(subnet))
        if not definition["internal"] and definition["masquerade"]:
            yield "postrouting", (*ours, *outside, *nft.masquerade()), name
        yield "postrouting", (*ours, *inside, *nft.published(), *nft.masquerade()), name
    yield "postrouting", (*nft.from_network(*_LOOPBACK), *inside, *nft.masquerade()), name


def _of_container(container_id: str, container: dict[str, Any], record: Record) -> Iterator[Wanted]:
    place = published_at(container, record)
    if place is None:
        return
    comment = f"container {container_id[:12]}"
    for protocol, host_ip, host_port, port in container["ports"]:
        at = nft.to_port(protocol, host_port)
        for address in (place["ipv4"], place["ipv6"]):
            if not address:
                continue
            target = packed(address)
            own = packed(host_ip) if host_ip else bytes(len(target))
            if len(own) != len(target):
                continue
            where = nft.of_family(target)
            if any(own):
                where = nft.to_network(own, len(own) * 8)
            elif len(own) == 16:
                # What comes from ::1 cannot go anywhere else.
                where = nft.not_to_address(_LOOPBACK_6)
            yield "dnat", (*where, *at, *nft.change_destination(target, port)), comment


def published_at(container: dict[str, Any], record: Record) -> dict[str, Any] | None:
    """The place of a container at which its ports are published: the first that leads out."""
    for endpoint in container["endpoints"]:
        if not record.networks[endpoint["network"]]["internal"]:
            found: dict[str, Any] = endpoint
            return found
    return None
