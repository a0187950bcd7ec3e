"""nf_tables: expressions of rules, and changes of tables that are made as a whole.

Names and numbers are those of linux/netfilter/nf_tables.h; in `nft list ruleset` the rules read
as usual.
"""

from __future__ import annotations

import sys
from struct import pack

from runtime.network.netlink import (
    APPEND,
    CREATE,
    Netlink,
    attribute,
    attributes,
    each_attribute,
    nested,
)

INET, IPV4, IPV6 = 1, 2, 10
PREROUTING, FORWARD, OUTPUT, POSTROUTING = 0, 2, 3, 4
DROP, ACCEPT, _JUMP = 0, 1, -3
RAW, DESTINATION_NAT, FILTER, SOURCE_NAT = -300, -100, 0, 100

_PART = 10
_NEWTABLE, _DELTABLE, _NEWCHAIN, _GETCHAIN, _NEWRULE, _GETRULE, _DELRULE = 0, 2, 3, 4, 6, 7, 8
_EQUAL, _DIFFERENT = 0, 1
_IIFNAME, _OIFNAME, _NFPROTO, _L4PROTO = 6, 7, 15, 16
_LOCAL = 2
_TCP_UDP = {"tcp": 6, "udp": 17}
_ESTABLISHED_RELATED = 2 | 4
_DESTINATION_CHANGED = 1 << 5

Rule = tuple[bytes, ...]
"""The expressions of a rule."""


def from_interface(name: str) -> Rule:
    """`iifname NAME`"""
    return _meta(_IIFNAME), _compare(_EQUAL, _name(name))


def not_from_interface(name: str) -> Rule:
    """`iifname != NAME`"""
    return _meta(_IIFNAME), _compare(_DIFFERENT, _name(name))


def to_interface(name: str) -> Rule:
    """`oifname NAME`"""
    return _meta(_OIFNAME), _compare(_EQUAL, _name(name))


def not_to_interface(name: str) -> Rule:
    """`oifname != NAME`"""
    return _meta(_OIFNAME), _compare(_DIFFERENT, _name(name))


def from_network(address: bytes, length: int) -> Rule:
    """`ip saddr ADDRESS/LENGTH`, or ip6"""
    return _network(address, length, source=True)


def to_network(address: bytes, length: int) -> Rule:
    """`ip daddr ADDRESS/LENGTH`, or ip6"""
    return _network(address, length, source=False)


def not_to_address(address: bytes) -> Rule:
    """`ip daddr != ADDRESS`, or ip6"""
    length = len(address)
    offset = 16 if length == 4 else 24
    return *of_family(address), _payload(1, offset, length), _compare(_DIFFERENT, address)


def to_this_machine() -> Rule:
    """`fib daddr type local`"""
    fib = _expression("fib", _number(1, 1), _number(2, 3), _number(3, 2))
    return fib, _compare(_EQUAL, _LOCAL.to_bytes(4, sys.byteorder))


def to_port(protocol: str, port: int) -> Rule:
    """`tcp dport PORT`"""
    kind = bytes((_TCP_UDP[protocol],))
    return (
        _meta(_L4PROTO),
        _compare(_EQUAL, kind),
        _payload(2, 2, 2),
        _compare(_EQUAL, port.to_bytes(2, "big")),
    )


def established() -> Rule:
    """`ct state established,related`"""
    return _tracked(0, _ESTABLISHED_RELATED)


def published() -> Rule:
    """`ct status dnat`"""
    return _tracked(2, _DESTINATION_CHANGED)


def verdict(code: int) -> Rule:
    """`accept` or `drop`"""
    return (_verdict(code),)


def jump(chain: str) -> Rule:
    """`jump CHAIN`"""
    return (_verdict(_JUMP, attribute(2, chain)),)


def masquerade() -> Rule:
    """`masquerade`"""
    return (_expression("masq"),)


def counted() -> Rule:
    """`counter`"""
    return (_expression("counter"),)


def change_destination(address: bytes, port: int) -> Rule:
    """`dnat ip to ADDRESS:PORT`, or ip6; after something that lets through that family only"""
    family = IPV4 if len(address) == 4 else IPV6
    return (
        _expression("immediate", _number(1, 1), nested(2, attribute(1, address))),
        _expression("immediate", _number(1, 2), nested(2, attribute(1, port.to_bytes(2, "big")))),
        _expression("nat", _number(1, 1), _number(2, family), _number(3, 1), _number(5, 2)),
    )


class Changes:
    """Changes to tables of a family, made all together by `commit`, or not at all."""

    def __init__(self, family: int = INET) -> None:
        self._family = family
        self._messages: list[tuple[int, int, bytes]] = []

    def add_table(self, table: str) -> None:
        """Have a table, if it is not there."""
        self._add(_NEWTABLE, CREATE, attribute(1, table) + _number(2, 0))

    def delete_table(self, table: str) -> None:
        """Remove a table with all that is in it; it must be there."""
        self._add(_DELTABLE, 0, attribute(1, table))

    def add_chain(
        self, table: str, chain: str, *, hook: int | None = None, at: int = 0, kind: str = "filter"
    ) -> None:
        """Have a chain, if it is not there; with a hook it sees packets at that point."""
        body = attribute(1, table) + attribute(3, chain)
        if hook is not None:
            body += nested(4, _number(1, hook), _number(2, at & 0xFFFF_FFFF)) + attribute(7, kind)
        self._add(_NEWCHAIN, CREATE, body)

    def flush_chain(self, table: str, chain: str) -> None:
        """Remove the rules of a chain."""
        self._add(_DELRULE, 0, attribute(1, table) + attribute(2, chain))

    def add_rule(self, table: str, chain: str, rule: Rule, comment: str = "") -> None:
        """Put a rule at the end of a chain."""
        self._add(_NEWRULE, CREATE | APPEND, _rule(table, chain, rule, comment))

    def insert_rule(self, table: str, chain: str, rule: Rule) -> None:
        """Put a rule at the beginning of a chain."""
        self._add(_NEWRULE, CREATE, _rule(table, chain, rule, ""))

    def delete_rule(self, table: str, chain: str, handle: bytes) -> None:
        """Remove one rule."""
        self._add(_DELRULE, 0, attribute(1, table) + attribute(2, chain) + attribute(3, handle))

    def commit(self) -> None:
        """Make all these changes; `OSError`, and then none is made."""
        if self._messages:
            with Netlink(12) as netlink:
                netlink.transact(self._messages, _PART)
            self._messages = []

    def _add(self, kind: int, flags: int, body: bytes) -> None:
        self._messages.append((_PART << 8 | kind, flags, _header(self._family) + body))


def chains(family: int) -> list[tuple[str, str, bool]]:
    """All chains of a family: table, name, and whether it drops what no rule accepts."""
    with Netlink(12) as netlink:
        answers = netlink.dump(_PART << 8 | _GETCHAIN, _header(family))
    found = [attributes(each, 4) for each in answers]
    drop = DROP.to_bytes(4, "big")
    return [(_text(each[1]), _text(each[3]), each.get(5) == drop) for each in found]


def rules_naming(family: int, table: str, chain: str, interface: str) -> list[bytes]:
    """The handles of rules of a chain that compare something with an interface's name."""
    body = _header(family) + attribute(1, table) + attribute(2, chain)
    with Netlink(12) as netlink:
        found = [attributes(each, 4) for each in netlink.dump(_PART << 8 | _GETRULE, body)]
    wanted = _compare(_EQUAL, _name(interface))
    expressions = attributes(wanted)[1]
    return [
        each[3]
        for each in found
        if _text(each[1]) == table
        and _text(each[2]) == chain
        and any(_same(value, expressions) for _, value in each_attribute(each.get(4, b"")))
    ]


def _same(one: bytes, other: bytes) -> bool:
    """Whether two expressions are; the kernel does not mark what is nested as we do."""
    name, data = attributes(one), attributes(other)
    if name[1] != data[1]:
        return False
    first, second = attributes(name.get(2, b"")), attributes(data[2])
    return first.get(2) == second[2] and attributes(first.get(3, b"")) == attributes(second[3])


def _header(family: int) -> bytes:
    return pack("=BBH", family, 0, 0)


def _rule(table: str, chain: str, rule: Rule, comment: str) -> bytes:
    body = attribute(1, table) + attribute(2, chain) + nested(4, *rule)
    if comment:
        # As nft writes it: kind 0, length, text.
        text = comment.encode()[:126] + b"\0"
        body += attribute(7, bytes((0, len(text))) + text)
    return body


def _expression(name: str, *values: bytes) -> bytes:
    return nested(1, attribute(1, name), nested(2, *values))


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(4, "big"))


def _meta(key: int) -> bytes:
    return _expression("meta", _number(2, key), _number(1, 1))


def _compare(operation: int, value: bytes) -> bytes:
    return _expression("cmp", _number(1, 1), _number(2, operation), nested(3, attribute(1, value)))


def _payload(base: int, offset: int, length: int) -> bytes:
    return _expression(
        "payload", _number(1, 1), _number(2, base), _number(3, offset), _number(4, length)
    )


def _masked(mask: bytes) -> bytes:
    zero = nested(5, attribute(1, bytes(len(mask))))
    return _expression(
        "bitwise",
        _number(1, 1),
        _number(2, 1),
        _number(3, len(mask)),
        nested(4, attribute(1, mask)),
        zero,
    )


def _tracked(key: int, bits: int) -> Rule:
    return (
        _expression("ct", _number(2, key), _number(1, 1)),
        _masked(bits.to_bytes(4, sys.byteorder)),
        _compare(_DIFFERENT, bytes(4)),
    )


def of_family(address: bytes) -> Rule:
    """`meta nfproto ipv4`, or ipv6"""
    family = IPV4 if len(address) == 4 else IPV6
    return _meta(_NFPROTO), _compare(_EQUAL, bytes((family,)))


def _network(address: bytes, length: int, *, source: bool) -> Rule:
    size = len(address)
    offset = {(4, True): 12, (4, False): 16, (16, True): 8, (16, False): 24}[size, source]
    rule = (*of_family(address), _payload(1, offset, size))
    bits = size * 8
    if length < bits:
        mask = ((1 << bits) - (1 << bits - length)).to_bytes(size, "big")
        address = (int.from_bytes(address, "big") & int.from_bytes(mask, "big")).to_bytes(
            size, "big"
        )
        rule = (*rule, _masked(mask))
    return (*rule, _compare(_EQUAL, address))


def _verdict(code: int, *more: bytes) -> bytes:
    value = nested(2, _number(1, code & 0xFFFF_FFFF), *more)
    return _expression("immediate", _number(1, 0), nested(2, value))


def _name(interface: str) -> bytes:
    return interface.encode().ljust(16, b"\0")


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
