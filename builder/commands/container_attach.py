"""`lamina attach`: in front of a container that runs."""

from __future__ import annotations

import click

from builder.commands.sessions import Session, Shown, keys_of
from runtime.containers.attach import attach
from runtime.containers.folder import find_container


@click.command("attach", short_help="Be in front of a container that runs.")
@click.argument("name")
@click.option("--no-stdin", is_flag=True, help="Pass no input on.")
@click.option("--sig-proxy/--no-sig-proxy", "proxy", default=True, help="Pass signals on.")
@click.option("--detach-keys", metavar="KEYS", help="[default: ctrl-p,ctrl-q]")
@click.pass_obj
def attach_command(
    root: str, /, name: str, no_stdin: bool, proxy: bool, detach_keys: str | None
) -> int:
    """Show what a container writes from now on, and pass input and signals on to it.

    The exit status is the container's; 0 if the detach keys were typed.
    """
    container = find_container(root, name)
    keys = keys_of(detach_keys)
    spec = container.spec
    interactive = spec.open_stdin and not no_stdin
    attachment = attach(container, gives_input=interactive)
    try:
        opened = Session(
            attachment=attachment,
            their_fd=-1,
            shown=Shown(stdin=interactive),
            terminal=spec.terminal,
            keys=keys,
        )
        return opened.sit(root, container.id, proxy=proxy)
    finally:
        attachment.close()
