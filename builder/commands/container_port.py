"""`lamina port`: where the ports of a container are published."""

from __future__ import annotations

import click

from builder.commands.container_network_options import parse_exposed
from builder.commands.container_networks import ports_now
from runtime.containers.folder import find_container
from runtime.containers.networks import wired_now
from runtime.errors import NetworkError


@click.command("port", short_help="Where the ports of a container are published.")
@click.argument("name")
@click.argument("port", required=False)
@click.pass_obj
def port_command(root: str, /, name: str, port: str | None) -> int:
    """Show the host's ports that lead to a container, or to one PORT[/tcp|/udp] of it."""
    container = find_container(root, name)
    wanted = parse_exposed(port)[0] if port is not None else None
    found = False
    for protocol, address, outside, inside in ports_now(container, wired_now(root)):
        at = f"[{address}]:{outside}" if ":" in address else f"{address or '0.0.0.0'}:{outside}"
        if wanted is None:
            click.echo(f"{inside}/{protocol} -> {at}")
        elif wanted == (inside, protocol):
            click.echo(at)
            found = True
    if wanted is not None and not found:
        raise NetworkError(
            f"no public port '{wanted[0]}/{wanted[1]}' published for {container.name}"
        )
    return 0
