"""Getting on with other rules: Docker's and firewalld's drop what they do not know.

A packet has to be accepted by every table. So where one of theirs drops what goes through this
machine, the bridge of a network is accepted there, in the place that they have for that. Those
rules name the bridge, and go when it does. They have the form that iptables understands.
"""

from __future__ import annotations

from runtime.network import nft

_PLACES = (
    (nft.IPV4, "filter", "DOCKER-USER", False),
    (nft.IPV4, "filter", "FORWARD", True),
    (nft.IPV6, "filter", "DOCKER-USER", False),
    (nft.IPV6, "filter", "FORWARD", True),
    (nft.INET, "firewalld", "filter_FORWARD", False),
)
"""Family, table, chain; and whether only if it drops what nobody accepts."""


def accept(bridge: str) -> None:
    """Have others let through what goes from and to a bridge. Again is as good as once."""
    for family, table, chain in _there():
        if nft.rules_naming(family, table, chain, bridge):
            continue
        changes = nft.Changes(family)
        for rule in (nft.to_interface(bridge), nft.from_interface(bridge)):
            whole = (*rule, *nft.counted(), *nft.verdict(nft.ACCEPT))
            changes.insert_rule(table, chain, whole)
        changes.commit()


def forget(bridge: str) -> None:
    """Take back what `accept` did, as far as it is there."""
    for family, table, chain in _there(whatever=True):
        changes = nft.Changes(family)
        for handle in nft.rules_naming(family, table, chain, bridge):
            changes.delete_rule(table, chain, handle)
        changes.commit()


def _there(*, whatever: bool = False) -> list[tuple[int, str, str]]:
    found = []
    for family in (nft.IPV4, nft.IPV6, nft.INET):
        known = {(table, chain): drops for table, chain, drops in nft.chains(family)}
        for place_family, table, chain, only_dropping in _PLACES:
            drops = known.get((table, chain))
            wanted = drops is not None and (whatever or drops or not only_dropping)
            if place_family == family and wanted:
                found.append((family, table, chain))
    return found
