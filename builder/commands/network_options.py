"""`--subnet`, `--gateway` and `--ip-range` of `network create`: which belongs to which."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from builder.errors import OptionError
from runtime.network.definitions import Subnets


def subnets_of(
    subnets: tuple[str, ...], gateways: tuple[str, ...], ranges: tuple[str, ...]
) -> Subnets:
    """The addresses that these options give; `OptionError`."""
    found: dict[str, str] = {}
    for text in subnets:
        _once(found, "subnet", _network(text, "--subnet"))
    for text in ranges:
        _once(found, "range", _network(text, "--ip-range"))
    for text in gateways:
        _once(found, "gateway", _address(text))
    return Subnets(**found)


def _once(
    found: dict[str, str], what: str, value: IPv4Network | IPv6Network | IPv4Address | IPv6Address
) -> None:
    key = f"{what}{value.version}"
    if key in found:
        raise OptionError(f"a network has one IPv{value.version} {what} only: {value}")
    found[key] = str(value)


def _network(text: str, option: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise OptionError(
            f"{option} {text}: {error}", hint="the first address and a length: 10.1.2.0/24"
        ) from error


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError as error:
        raise OptionError(f"--gateway {text}: it is no IP address") from error
