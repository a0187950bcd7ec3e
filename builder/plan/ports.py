"""EXPOSE: ports as the image's config lists them.

PortError      a port that is none; the message is BuildKit's
"""

from __future__ import annotations

_PROTOCOLS = ("tcp", "udp", "sctp")
_HIGHEST = 65535


class PortError(ValueError):
    """A port that is none."""


def parse_ports(words: tuple[str, ...]) -> tuple[str, ...]:
    """`("8080-8081", "53/udp")` to `("53/udp", "8080/tcp", "8081/tcp")`, sorted.

    The legacy form `IP:HOST:CONTAINER` is read for its last part.
    """
    found: dict[str, None] = {}
    for word in sorted(words):
        text, slash, protocol = word.rpartition(":")[2].partition("/")
        protocol = protocol.lower() if slash else "tcp"
        if protocol not in _PROTOCOLS:
            raise PortError(f'invalid port: "{word}": invalid proto: {protocol}')
        first, dash, last = text.partition("-")
        low = _port(first, word)
        high = _port(last, word) if dash else low
        if high < low:
            raise PortError(f"invalid containerPort: {word}: the range ends before it starts")
        found.update((f"{port}/{protocol}", None) for port in range(low, high + 1))
    return tuple(found)


def _port(text: str, word: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > _HIGHEST:
        raise PortError(f"invalid containerPort: {word}")
    return int(text)
