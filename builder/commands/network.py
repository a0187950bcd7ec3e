"""`lamina network`: private networks by themselves."""

from __future__ import annotations

from collections.abc import Mapping

import click

from builder.commands.confirm import confirmed
from builder.commands.container_network_options import (
    address_of,
    alias_of,
    mac_of,
    network_name,
)
from builder.commands.each import each, show_each
from builder.commands.network_options import subnets_of
from builder.commands.network_rows import HEADS, chosen, network_document, predefined, row
from builder.commands.refusals import Missing, refusing
from builder.commands.tables import listing
from builder.commands.values import key_value
from builder.errors import OptionError
from runtime.containers.connecting import connect, disconnect
from runtime.containers.folder import list_containers
from runtime.containers.networks import wired_now
from runtime.errors import NetworkError
from runtime.network.definitions import (
    RESERVED,
    Network,
    define_network,
    find_network,
    list_networks,
    remove_network,
)
from runtime.network.model import DEFAULT_NETWORK, Endpoint

_MTU = "com.docker.network.driver.mtu"
_MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
_NO_SWARM = Missing(why="there is no swarm")
_NO_CONFIG = Missing(why="networks have no configurations apart from themselves")
CREATE_REFUSED: Mapping[str, Missing] = {
    "--attachable": _NO_SWARM,
    "--aux-address": Missing(why="addresses are not set aside", hint="--ip-range"),
    "--config-from": _NO_CONFIG,
    "--config-only": _NO_CONFIG,
    "--ingress": _NO_SWARM,
    "--ipam-driver": Missing(why="there is one way of giving addresses only"),
    "--ipam-opt": Missing(why="there is one way of giving addresses only"),
    "--ipv4": Missing(why="give --subnet with an IPv6 network only to have no IPv4"),
    "--scope": _NO_SWARM,
}
CONNECT_REFUSED: Mapping[str, Missing] = {
    "--driver-opt": Missing(why="endpoints have no options"),
    "--gw-priority": Missing(why="the first network that leads out is the way out"),
    "--link": Missing(why="containers are not linked", hint="--alias"),
    "--link-local-ip": Missing(why="link-local addresses cannot be chosen", hint="--ip"),
}


@click.group("network", short_help="Make, list and remove networks.")
def network_command() -> None:
    """Private networks: containers of one find each other by name, and are apart from others."""


@network_command.command("create", cls=refusing(CREATE_REFUSED), short_help="Make a network.")
@click.argument("name")
@click.option("--subnet", "subnets", multiple=True, metavar="ADDRESS/LENGTH",
              help="Its addresses; IPv4, IPv6 or both. [default: chosen]")  # fmt: skip
@click.option("--gateway", "gateways", multiple=True, metavar="ADDRESS",
              help="The host's address there. [default: the first]")  # fmt: skip
@click.option("--ip-range", "ranges", multiple=True, metavar="ADDRESS/LENGTH",
              help="The part that containers get that do not choose.")  # fmt: skip
@click.option("--ipv6", is_flag=True, help="With IPv6 addresses, too.")
@click.option("--internal", is_flag=True, help="Nothing leads in or out.")
@click.option("-d", "--driver", metavar="bridge", default="bridge")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE")
@click.option("-o", "--opt", "options", multiple=True, metavar="KEY=VALUE",
              help=f"{_MTU}, {_MASQUERADE}")  # fmt: skip
@click.pass_obj
def create_command(
    root: str,
    /,
    name: str,
    subnets: tuple[str, ...],
    gateways: tuple[str, ...],
    ranges: tuple[str, ...],
    ipv6: bool,
    internal: bool,
    driver: str,
    labels: tuple[str, ...],
    options: tuple[str, ...],
) -> int:
    """Make a network, and print its ID."""
    if driver != "bridge":
        raise OptionError(f"--driver {driver} is not supported", hint="there is only bridge")
    if name in (*RESERVED, DEFAULT_NETWORK):
        raise OptionError(f"{name} is a pre-defined network: no other can be called that")
    given = dict(key_value(text, "--opt") for text in options)
    network = define_network(
        root,
        Network(
            id="",
            name=network_name(name),
            created_ns=0,
            subnets=subnets_of(subnets, gateways, ranges),
            internal=internal,
            masquerade=_switch(given),
            mtu=_mtu(given),
            labels=dict(key_value(text, "--label") for text in labels),
            options=given,
        ),
        ipv6=ipv6,
    )
    click.echo(network.id)
    return 0


@network_command.command("ls", short_help="List networks.")
@click.option("-q", "--quiet", is_flag=True, help="IDs only.")
@click.option("--no-trunc", is_flag=True, help="Whole IDs.")
@click.option("-f", "--filter", "filters", multiple=True, metavar="KEY=VALUE",
              help="dangling, driver, id, label, name, type.")  # fmt: skip
@click.option("--format", "form", metavar="table|json|TEMPLATE", default="table")
@click.pass_obj
def ls_command(
    root: str, /, quiet: bool, no_trunc: bool, filters: tuple[str, ...], form: str
) -> int:
    """List networks by name."""
    networks = chosen(predefined(root), _used(root), filters)
    rows = [row(network, no_trunc=no_trunc) for network in networks]
    if quiet:
        click.echo("".join(each["ID"] + "\n" for each in rows), nl=False)
    else:
        labels = [dict(network.labels) for network in networks]
        click.echo(listing(form, rows, HEADS, ("ID", "Name", "Driver", "Scope"), labels), nl=False)
    return 0


@network_command.command("inspect", short_help="Show what networks are, as JSON.")
@click.argument("names", nargs=-1, required=True)
@click.option("-f", "--format", "form", metavar="json|TEMPLATE")
@click.option("-v", "--verbose", is_flag=True, help="Accepted: there is no more to be said.")
@click.pass_obj
def inspect_command(root: str, /, names: tuple[str, ...], form: str | None, verbose: bool) -> int:
    """Show networks as a JSON list, with the containers that are on them now."""
    running = {each.id: each for each in list_containers(root) if each.is_running}
    wired = {key: value for key, value in wired_now(root).items() if key in running}
    known = {network.name: network for network in predefined(root)}
    return show_each(
        names,
        lambda name: network_document(known.get(name) or find_network(root, name), wired),
        form,
    )


@network_command.command("rm", short_help="Remove networks.")
@click.argument("names", nargs=-1, required=True)
@click.option("-f", "--force", is_flag=True, help="Missing ones are fine.")
@click.pass_obj
def rm_command(root: str, /, names: tuple[str, ...], force: bool) -> int:
    """Remove networks on which no container is that runs."""

    def act(name: str) -> None:
        if name in (*RESERVED, DEFAULT_NETWORK):
            raise NetworkError(f"{name} is a pre-defined network and cannot be removed")
        if force and not any(name in (each.name, each.id) for each in list_networks(root)):
            return
        remove_network(root, name)

    return each(names, act)


@network_command.command("prune", short_help="Remove networks that no container has.")
@click.option("--filter", "filters", multiple=True, metavar="label=…|label!=…")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def prune_command(root: str, /, filters: tuple[str, ...], force: bool) -> int:
    """Remove networks that no container has, running or not."""
    warning = "WARNING! This will remove all custom networks not used by at least one container."
    if not force and not confirmed(warning):
        return 1
    used = _used(root)
    removed = []
    for network in chosen(list_networks(root), used, filters, pruning=True):
        if network.name != DEFAULT_NETWORK and network.name not in used:
            try:
                removed.append(remove_network(root, network.id).name)
            except NetworkError:
                continue  # somebody has just started on it, or removed it
    if removed:
        click.echo("Deleted Networks:\n" + "\n".join(removed) + "\n")
    return 0


@network_command.command(
    "connect", cls=refusing(CONNECT_REFUSED), short_help="Put a container on a network."
)
@click.argument("network")
@click.argument("container")
@click.option("--alias", "aliases", multiple=True, metavar="NAME", help="A name it has there.")
@click.option("--ip", "ipv4", metavar="ADDRESS")
@click.option("--ip6", "ipv6", metavar="ADDRESS")
@click.option("--mac-address", "mac", metavar="ADDRESS")
@click.pass_obj
def connect_command(
    root: str,
    /,
    network: str,
    container: str,
    aliases: tuple[str, ...],
    ipv4: str | None,
    ipv6: str | None,
    mac: str | None,
) -> int:
    """Put a container on one more network, whether it runs or not."""
    endpoint = Endpoint(
        network=network_name(network),
        aliases=tuple(alias_of(text) for text in aliases),
        ipv4=address_of(ipv4, "--ip", 4) if ipv4 else None,
        ipv6=address_of(ipv6, "--ip6", 6) if ipv6 else None,
        mac=mac_of(mac) if mac else None,
    )
    connect(root, container, endpoint)
    return 0


@network_command.command("disconnect", short_help="Take a container off a network.")
@click.argument("network")
@click.argument("container")
@click.option("-f", "--force", is_flag=True, help="Accepted: it is never refused otherwise.")
@click.pass_obj
def disconnect_command(root: str, /, network: str, container: str, force: bool) -> int:
    """Take a container off a network, whether it runs or not."""
    disconnect(root, container, network)
    return 0


def _used(root: str) -> frozenset[str]:
    """The names of networks that containers have."""
    return frozenset(
        name for container in list_containers(root) for name in container.spec.network.networks
    )


def _mtu(options: Mapping[str, str]) -> int:
    unknown = options.keys() - {_MTU, _MASQUERADE}
    if unknown:
        raise OptionError(f"--opt {min(unknown)} is not supported", hint=f"{_MTU}, {_MASQUERADE}")
    text = options.get(_MTU, "1500")
    if not text.isdigit() or not 1280 <= int(text) <= 65535:
        raise OptionError(f"--opt {_MTU}: {text!r} is no size of a packet", hint="1280 to 65535")
    return int(text)


def _switch(options: Mapping[str, str]) -> bool:
    from builder.plan.units import parse_switch

    try:
        return parse_switch(options.get(_MASQUERADE, "true"))
    except ValueError as error:
        raise OptionError(f"--opt {_MASQUERADE}: {error}") from error
