"""EXPOSE: ExposeProtoCasing, ExposeInvalidFormat."""

from __future__ import annotations

from collections.abc import Iterable

from grammar.lint.findings import Report
from grammar.lint.rules import EXPOSE_INVALID_FORMAT, EXPOSE_PROTO_CASING
from grammar.nodes import Node

_PROTOCOLS = ("tcp", "udp", "sctp")


def check_ports(ports: Iterable[str], node: Node, report: Report) -> None:
    """Look at expanded ports: `[[IP:]HOST:]CONTAINER[/PROTOCOL]`. What is no port is no matter."""
    for port in ports:
        outside, colon, inside = port.rpartition(":")
        number, slash, protocol = inside.partition("/")
        if not number or (slash and protocol and protocol.lower() not in _PROTOCOLS):
            continue
        if protocol != protocol.lower():
            message = f"Defined protocol '{port}' in EXPOSE instruction should be lowercase"
            report.add(EXPOSE_PROTO_CASING, message, node)
        if colon and outside:
            message = (
                "EXPOSE instruction should not define an IP address or host-port mapping, found"
                f" '{port}'"
            )
            report.add(EXPOSE_INVALID_FORMAT, message, node)
