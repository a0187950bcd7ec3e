"""A container's place on a network: addresses that nobody else has there. Pure."""

from __future__ import annotations

from runtime.errors import NetworkError
from runtime.network.addresses import choose, contains, made_up_mac, packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from runtime.network.state import Record

    Fields = dict[str, Any]


def plan_endpoint(
    record: Record, container_id: str, place: Fields, number: int, before: Mapping[str, Any] | None
) -> Fields:
    """A place on a network, with addresses that nobody has: those of `before`, if they are free.

    `NetworkError` if there are none, or one that is wanted is taken.
    """
    wanted: Fields = place["network"]
    definition: Fields = record.networks.get(wanted["id"]) or wanted
    record.networks[definition["id"]] = definition
    endpoint: Fields = {
        "network": definition["id"],
        "interface": f"eth{number}",
        "veth": f"lv{container_id[:8]}-{number}",
        "aliases": place["aliases"],
        "chosen": {key: place[key] for key in ("ipv4", "ipv6", "mac")},
    }
    others = [each for _, each in record.endpoints(definition["id"])]
    for key, subnet, gateway, within in (
        ("ipv4", "subnet4", "gateway4", "range4"),
        ("ipv6", "subnet6", "gateway6", "range6"),
    ):
        taken = [each[key] for each in others if each[key]] + [definition[gateway]]
        endpoint[key] = _address(
            definition, subnet, [each for each in taken if each], definition[within],
            place[key], before[key] if before else None, key,
        )  # fmt: skip
    macs = {each["mac"] for each in others}
    mac = place["mac"] or made_up_mac(endpoint["ipv4"] or endpoint["ipv6"])
    if mac in macs:
        raise NetworkError(f"the interface address {mac} is another container's already")
    return {**endpoint, "mac": mac}


def _address(
    definition: Fields,
    subnet: str,
    taken: list[str],
    within: str | None,
    wanted: str | None,
    before: str | None,
    key: str,
) -> str | None:
    where = definition[subnet]
    if where is None:
        if wanted:
            raise NetworkError(
                f"network {definition['name']} has no addresses like {wanted}",
                hint="lamina network create --ipv6" if key == "ipv6" else None,
            )
        return None
    if wanted:
        if not contains(where, packed(wanted)):
            raise NetworkError(f"address {wanted} is not on network {definition['name']} ({where})")
        if wanted in taken:
            raise NetworkError(f"address {wanted} is already in use")
        return wanted
    if before and before not in taken:
        return before
    last = f"last_{key}"
    found = choose(where, within, taken, definition.get(last))
    if found is None:
        raise NetworkError(
            f"no address is free on network {definition['name']} ({within or where})",
            hint="remove containers, or make a larger network",
        )
    definition[last] = found
    return found
