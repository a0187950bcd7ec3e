"""The options of a container's network, and their way through a container's record."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest

from builder.commands.container_network_options import (
    network_of,
    network_options,
    parse_exposed,
    parse_ports,
)
from builder.errors import OptionError
from runtime.network.model import (
    Endpoint,
    HostNetwork,
    Names,
    NetworkSpec,
    NoNetwork,
    OtherContainer,
    Port,
    PrivateNetworks,
    network_document,
    network_from_document,
)


def parsed(*words: str) -> NetworkSpec:
    @click.command()
    @click.option("--hostname")
    @network_options
    def command(**options: Any) -> NetworkSpec:
        return network_of(options)

    spec = command.main(list(words), standalone_mode=False)
    assert isinstance(spec, NetworkSpec)
    return spec


def port(inside: int, outside: int = 0, ip: str = "", protocol: Any = "tcp") -> Port:
    return Port(container_port=inside, host_port=outside, host_ip=ip, protocol=protocol)


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80", [port(80)]),
        ("8080:80", [port(80, 8080)]),
        ("8080:80/tcp", [port(80, 8080)]),
        ("53:53/UDP", [port(53, 53, protocol="udp")]),
        ("127.0.0.1:8080:80", [port(80, 8080, "127.0.0.1")]),
        ("127.0.0.1::80", [port(80, 0, "127.0.0.1")]),
        ("[::1]:8080:80", [port(80, 8080, "::1")]),
        ("[0:0::1]::80/udp", [port(80, 0, "::1", "udp")]),
        ("7000-7002:80-82", [port(80, 7000), port(81, 7001), port(82, 7002)]),
        ("80-81", [port(80), port(81)]),
        ("7000-7002:80", [Port(container_port=80, host_port=7000, host_last=7002)]),
        ("0:80", [port(80)]),
    ],
)
def test_what_is_published(text: str, ports: list[Port]) -> None:
    assert list(parse_ports(text)) == ports


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no port"),
        ("x", "'x' is no port"),
        (":80", "nothing before the colon"),
        ("80:", "is no port"),
        ("70000", "up to 65535"),
        ("8080:0", "up to 65535"),
        ("82-80", "is no port or range"),
        ("7000-7003:80-81", "differ in length"),
        ("80/sctp", "protocol 'sctp' is not supported"),
        ("80/", "protocol '' is not supported"),
        ("300.0.0.1:80:80", "'300.0.0.1' is no IP address"),
        ("[::1:80:80", "brackets"),
        ("::1:80:80", "is no port"),
        ("٣:80", "is no port"),
    ],
)
def test_what_is_no_port(text: str, why: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_ports(text)
    assert why in caught.value.message


def test_what_is_exposed() -> None:
    assert parse_exposed("80") == ((80, "tcp"),)
    assert parse_exposed("80-81/udp") == ((80, "udp"), (81, "udp"))


@pytest.mark.parametrize(
    ("words", "mode"),
    [
        ((), NoNetwork()),
        (("--network", "none"), NoNetwork()),
        (("--net", "host"), HostNetwork()),
        (("--network", "bridge"), PrivateNetworks()),
        (("--network", "default"), PrivateNetworks()),
        (("--network", "container:a/b"), OtherContainer("a/b")),
        (
            ("--network", "n", "--network-alias", "a", "--net-alias", "b", "--ip", "10.1.0.2"),
            PrivateNetworks((Endpoint(network="n", aliases=("a", "b"), ipv4="10.1.0.2"),)),
        ),
        (
            ("--network", "name=n,alias=a,ip=10.1.0.2,ip6=fd00::2", "--network", "m"),
            PrivateNetworks(
                (
                    Endpoint(network="n", aliases=("a",), ipv4="10.1.0.2", ipv6="fd00::2"),
                    Endpoint(network="m"),
                )
            ),
        ),
        (
            ("--network", "bridge", "--mac-address", "02:42:AC:11:00:02"),
            PrivateNetworks((Endpoint(mac="02:42:ac:11:00:02"),)),
        ),
    ],
)
def test_which_network(words: tuple[str, ...], mode: object) -> None:
    assert parsed(*words).mode == mode


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--network", "none", "-p", "80"), "without a network"),
        (("--network", "container:x", "-p", "80"), "conflicting"),
        (("--network", "container:x", "--dns", "1.1.1.1"), "conflicting"),
        (("--network", "container:x", "--hostname", "h"), "conflicting"),
        (("--network", "container:"), "no such mode"),
        (("--network", "ns:/proc/1/ns/net"), "no such mode"),
        (("--network", "host", "--network", "n"), "several --network"),
        (("--network", "n", "--network", "n"), "twice"),
        (("--network", "a b"), "invalid network name"),
        (("--network", "name=n,driver-opt=x"), "is not supported"),
        (("--network", "alias=n"), "must be that of a private network"),
        (("--network", "bridge", "--ip", "10.0.0.1"), "the default network"),
        (("--network", "host", "--ip", "10.0.0.1"), "need a network"),
        (("--network", "n", "--ip", "fd00::1"), "no IPv4 address"),
        (("--network", "n", "--ip6", "10.0.0.1"), "no IPv6 address"),
        (("--network", "n", "--mac-address", "01:00:00:00:00:01"), "no address of an interface"),
        (("--network", "n", "--network-alias", "a b"), "cannot be the name of a host"),
        (("--dns", "localhost"), "no IP address"),
        (("--domainname", "a..b"), "is no domain"),
    ],
)
def test_what_cannot_be(words: tuple[str, ...], why: str) -> None:
    with pytest.raises(OptionError) as caught:
        parsed(*words)
    assert why in caught.value.message


def test_names_come_from_where_one_says() -> None:
    spec = parsed("--dns", "1.1.1.1", "--dns-opt", "ndots:2", "--dns-search", ".")
    assert spec.names == Names(servers=("1.1.1.1",), options=("ndots:2",), search=(".",))


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--network", "host", "--dns", "::1"),
        ("--network", "container:x"),
        ("--network", "name=n,alias=a,ip=10.1.0.2", "--network", "m", "-p", "[::1]:80:80/udp"),
        ("--network", "bridge", "-p", "1-9:80", "-P", "--expose", "80-82", "--domainname", "a.b"),
    ],
)
def test_a_record_gives_it_back(words: tuple[str, ...]) -> None:
    spec = parsed(*words)
    assert network_from_document(json.loads(json.dumps(network_document(spec)))) == spec
