"""`--network`, `-p` and their like: the network of a container."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import click

from builder.errors import OptionError
from runtime.network.model import (
    DEFAULT_NETWORK,
    Endpoint,
    HostNetwork,
    Names,
    NetworkMode,
    NetworkSpec,
    NoNetwork,
    OtherContainer,
    Port,
    PrivateNetworks,
    Protocol,
)

Decorated = Callable[..., Any]

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_LABEL = re.compile(r"[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?")
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", re.IGNORECASE)
_LARGEST = 65535
_PORTS_HINT = "[[IP:]HOST_PORT:]CONTAINER_PORT[/tcp|/udp], each a number or FIRST-LAST"


def network_options(command: Decorated) -> Decorated:
    """What network a container is to have."""
    for option in reversed((
        click.option("--network", "--net", "networks", multiple=True,
                     metavar="none|host|bridge|container:NAME|NETWORK[,alias=…,ip=…]",
                     help="Which network it is on; several may be given."),
        click.option("-p", "--publish", "publish", multiple=True,
                     metavar="[[IP:]PORT:]PORT[/udp]", help="Publish a port at the host's."),
        click.option("-P", "--publish-all", is_flag=True,
                     help="Publish all exposed ports, at free ports of the host's."),
        click.option("--expose", "expose", multiple=True, metavar="PORT[/udp]",
                     help="A port that -P publishes, too."),
        click.option("--network-alias", "--net-alias", "aliases", multiple=True, metavar="NAME",
                     help="One more name it has on its network."),
        click.option("--ip", "ipv4", metavar="ADDRESS", help="Its address on its network."),
        click.option("--ip6", "ipv6", metavar="ADDRESS", help="Its IPv6 address there."),
        click.option("--mac-address", "mac", metavar="ADDRESS"),
        click.option("--dns", "dns", multiple=True, metavar="ADDRESS",
                     help="A name server, instead of the host's."),
        click.option("--dns-option", "--dns-opt", "dns_options", multiple=True, metavar="OPTION",
                     help="As resolv.conf(5) has them."),
        click.option("--dns-search", "dns_search", multiple=True, metavar="DOMAIN",
                     help="Where names are looked for; . is nowhere."),
        click.option("--domainname", metavar="DOMAIN", help="What comes after its host name."),
    )):  # fmt: skip
        command = option(command)
    return command


def network_of(options: dict[str, Any], *, default: NetworkMode | None = None) -> NetworkSpec:
    """The network that options make; `default` is the mode without `--network`. `OptionError`."""
    published = tuple(port for text in options["publish"] for port in parse_ports(text))
    exposed = tuple(port for text in options["expose"] for port in parse_exposed(text))
    mode = _mode(options, default or NoNetwork())
    wants_ports = published or options["publish_all"]
    match mode:
        case HostNetwork():
            # Docker says so with a warning and goes on: the ports are the host's already.
            published, publish_all = (), False
        case OtherContainer() if wants_ports or exposed:
            raise OptionError(
                "conflicting options: ports and --network container:NAME",
                hint="publish them at the other container",
            )
        case NoNetwork() if wants_ports:
            raise OptionError(
                "ports cannot be published without a network",
                hint="--network bridge; --network host shares the machine's ports",
            )
        case _:
            publish_all = options["publish_all"]
    servers = tuple(address_of(text, "--dns") for text in options["dns"])
    names = Names(
        servers=servers,
        options=options["dns_options"],
        search=tuple(_domain(text, "--dns-search") for text in options["dns_search"]),
    )
    if isinstance(mode, OtherContainer) and (names != Names() or options["hostname"]):
        raise OptionError(
            "conflicting options: --hostname, --dns and --network container:NAME",
            hint="it shares the other container's",
        )
    domain = options["domainname"]
    return NetworkSpec(
        mode=mode,
        published=published,
        publish_all=publish_all,
        exposed=exposed,
        names=names,
        domainname=_domain(domain, "--domainname") if domain else "",
    )


def parse_ports(text: str) -> tuple[Port, ...]:
    """`-p`: the ports that one of them means; `OptionError`."""
    rest, slash, protocol = text.partition("/")
    host_ip = ""
    if rest.startswith("["):
        host_ip, bracket, rest = rest[1:].partition("]:")
        if not bracket:
            raise _invalid(text, "an IPv6 address stands in brackets, before a colon")
    elif rest.count(":") == 2:
        host_ip, _, rest = rest.partition(":")
    if host_ip:
        host_ip = address_of(host_ip, f"--publish {text}")
    host, colon, container = rest.rpartition(":")
    wanted = _range(container, text)
    kind = _protocol(protocol if slash else "tcp", text)
    if not colon or not host:
        if colon and not host_ip and text.startswith(":"):
            raise _invalid(text, "there is nothing before the colon")
        return tuple(Port(container_port=port, protocol=kind, host_ip=host_ip) for port in wanted)
    at = _range(host, text, least=0)
    if len(wanted) == 1 and len(at) > 1:
        port = Port(
            container_port=wanted[0], protocol=kind, host_ip=host_ip,
            host_port=at[0], host_last=at[-1],
        )  # fmt: skip
        return (port,)
    if len(at) != len(wanted):
        raise _invalid(text, "the two ranges differ in length")
    return tuple(
        Port(container_port=inside, protocol=kind, host_ip=host_ip, host_port=outside)
        for outside, inside in zip(at, wanted, strict=True)
    )


def parse_exposed(text: str, option: str = "--expose") -> tuple[tuple[int, Protocol], ...]:
    """`--expose` and EXPOSE: `80`, `80/udp`, `8000-8010`; `OptionError`."""
    ports, slash, protocol = text.partition("/")
    kind = _protocol(protocol if slash else "tcp", text, option)
    return tuple((port, kind) for port in _range(ports, text, option))


def _mode(options: dict[str, Any], default: NetworkMode) -> NetworkMode:
    given: tuple[str, ...] = options["networks"]
    modes = [_one_mode(text) for text in given] or [default]
    private = [mode for mode in modes if isinstance(mode, PrivateNetworks)]
    if len(modes) > 1 and len(private) < len(modes):
        raise OptionError(
            "conflicting options: several --network, of which one is none, host or a container's"
        )
    personal = {
        name: value
        for name, value in (
            ("aliases", tuple(alias_of(text) for text in options["aliases"])),
            ("ipv4", address_of(options["ipv4"], "--ip", 4) if options["ipv4"] else None),
            ("ipv6", address_of(options["ipv6"], "--ip6", 6) if options["ipv6"] else None),
            ("mac", mac_of(options["mac"]) if options["mac"] else None),
        )
        if value
    }
    if not private:
        if personal:
            raise OptionError(
                "--network-alias, --ip, --ip6 and --mac-address need a network",
                hint="lamina network create NAME, and --network NAME",
            )
        return modes[0]
    endpoints = [endpoint for mode in private for endpoint in mode.endpoints]
    names = [endpoint.network for endpoint in endpoints]
    if twice := {name for name in names if names.count(name) > 1}:
        raise OptionError(f"--network {min(twice)} is there twice")
    first = endpoints[0]
    for name in personal:
        if getattr(first, name):
            raise OptionError(f"conflicting options: --network {first.network},… and --{name}")
    endpoints[0] = replace(first, **personal)  # type: ignore[arg-type]  # each of its own type
    for endpoint in endpoints:
        _check_default(endpoint)
    return PrivateNetworks(tuple(endpoints))


def _check_default(endpoint: Endpoint) -> None:
    """Docker's rule: who wants a name or an address makes a network for it."""
    if endpoint.network == DEFAULT_NETWORK and (endpoint.aliases or endpoint.ipv4 or endpoint.ipv6):
        raise OptionError(
            "the default network gives neither aliases nor addresses of one's choice",
            hint="lamina network create NAME, and --network NAME",
        )


def _one_mode(text: str) -> NetworkMode:
    if "=" in text:
        return PrivateNetworks((_long_form(text),))
    match text:
        case "none":
            return NoNetwork()
        case "host":
            return HostNetwork()
        case "bridge" | "default":
            return PrivateNetworks()
        case _:
            pass
    kind, colon, name = text.partition(":")
    if colon and kind == "container" and name:
        return OtherContainer(name)
    if colon:
        raise OptionError(
            f"--network {text}: there is no such mode",
            hint="none, host, bridge, container:NAME, or the name of a network",
        )
    return PrivateNetworks((Endpoint(network=network_name(text)),))


def _long_form(text: str) -> Endpoint:
    """`name=NETWORK,alias=NAME,ip=…,ip6=…,mac-address=…`."""
    name, aliases, members = "", [], {}
    for each in text.split(","):
        key, equals, value = each.partition("=")
        if not equals or not value:
            key = ""
        match key:
            case "name":
                name = network_name(value)
            case "alias":
                aliases.append(alias_of(value))
            case "ip":
                members["ipv4"] = address_of(value, "--network ip", 4)
            case "ip6":
                members["ipv6"] = address_of(value, "--network ip6", 6)
            case "mac-address":
                members["mac"] = mac_of(value)
            case _:
                raise OptionError(
                    f"--network {text}: {each!r} is not supported",
                    hint="name=, alias=, ip=, ip6=, mac-address=",
                )
    if not name or name in ("none", "host", "default"):
        raise OptionError(f"--network {text}: name= must be that of a private network")
    return Endpoint(network=name, aliases=tuple(aliases), **members)


def network_name(text: str) -> str:
    """The name again; `OptionError` if no network can be called that."""
    if not _NAME.fullmatch(text) or len(text) > 128:
        raise OptionError(
            f"invalid network name {text!r}", hint="only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed"
        )
    return text


def _range(text: str, whole: str, option: str = "--publish", *, least: int = 1) -> range:
    first, dash, last = text.partition("-")
    numbers = (first, last) if dash else (first,)
    if not all(number.isascii() and number.isdigit() for number in numbers):
        raise _invalid(whole, f"{text!r} is no port", option)
    low, high = int(first), int(last if dash else first)
    if not least <= low <= high <= _LARGEST:
        raise _invalid(whole, f"{text} is no port or range of ports up to {_LARGEST}", option)
    return range(low, high + 1)


def _protocol(text: str, whole: str, option: str = "--publish") -> Protocol:
    found = text.lower()
    if found not in ("tcp", "udp"):
        raise OptionError(f"{option} {whole}: protocol {text!r} is not supported", hint="tcp, udp")
    return cast(Protocol, found)


def _invalid(text: str, why: str, option: str = "--publish") -> OptionError:
    return OptionError(f"invalid {option} {text!r}: {why}", hint=_PORTS_HINT)


def address_of(text: str, option: str, version: int | None = None) -> str:
    """An IP address as it is written usually; `OptionError`."""
    from ipaddress import ip_address

    try:
        found = ip_address(text)
    except ValueError as error:
        raise OptionError(f"{option}: {text!r} is no IP address") from error
    if version is not None and found.version != version:
        raise OptionError(f"{option}: {text!r} is no IPv{version} address")
    return str(found)


def mac_of(text: str) -> str:
    """The address of an interface; `OptionError`."""
    if not _MAC.fullmatch(text) or int(text[:2], 16) & 1:
        raise OptionError(
            f"--mac-address: {text!r} is no address of an interface", hint="like 02:42:ac:11:00:02"
        )
    return text.lower()


def alias_of(text: str) -> str:
    """A name of a host; `OptionError`."""
    if not all(_LABEL.fullmatch(part) for part in text.split(".")):
        raise OptionError(f"--network-alias: {text!r} cannot be the name of a host")
    return text


def _domain(text: str, option: str) -> str:
    if text == "." and option == "--dns-search":
        return text
    if not all(_LABEL.fullmatch(part) for part in text.removesuffix(".").split(".")):
        raise OptionError(f"{option}: {text!r} is no domain")
    return text
