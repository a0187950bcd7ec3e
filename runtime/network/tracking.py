"""Flows that the kernel remembers: what was sent before a port was published, or to who had it.

A remembered flow is not asked again where it goes. Connections end by themselves; a client that
goes on sending datagrams would never get to a new container.
"""

from __future__ import annotations

from struct import pack

from runtime.network.netlink import Netlink, attribute, attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

_PART = 1
_GET, _DELETE = 1, 2
_ORIGINAL, _PROTOCOL = 1, 2
_NUMBER, _TO = 1, 3
_UDP = b"\x11"
_FAMILIES = (2, 10)
_NESTED = 0x8000


def forget_datagrams(ports: Collection[int]) -> None:
    """Forget flows of datagrams to ports of this machine's."""
    if not ports:
        return
    with Netlink(12) as netlink:
        for family in _FAMILIES:
            header = pack("=BBH", family, 0, 0)
            for flow in netlink.dump(_PART << 8 | _GET, header):
                original = attributes(flow, 4).get(_ORIGINAL, b"")
                protocol = attributes(attributes(original).get(_PROTOCOL, b""))
                port = int.from_bytes(protocol.get(_TO, b""), "big")
                if protocol.get(_NUMBER) == _UDP and port in ports:
                    body = header + attribute(_ORIGINAL | _NESTED, original)
                    try:
                        netlink.ask(_PART << 8 | _DELETE, 0, body)
                    except FileNotFoundError:
                        continue  # It has just ended.
