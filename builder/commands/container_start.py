"""`lamina start`: containers that do not run."""

from __future__ import annotations

import click

from builder.commands.each import each
from builder.commands.opened import opened_monitor
from builder.commands.relay import terminal_size
from builder.commands.sessions import Shown, keys_of, need_terminal, new_session
from builder.errors import OptionError
from runtime.containers.folder import find_container, list_containers


@click.command("start", short_help="Start containers that do not run.")
@click.argument("names", nargs=-1)
@click.option("-a", "--attach", is_flag=True, help="Show its output; pass signals on.")
@click.option("-i", "--interactive", is_flag=True, help="Pass input on.")
@click.option("--detach-keys", metavar="KEYS", help="[default: ctrl-p,ctrl-q]")
@click.option("--all", "all_", is_flag=True, help="All that do not run.")
@click.option("--filter", "filters", multiple=True, metavar="KEY=VALUE",
              help="With --all: only such, as `ps` has them.")  # fmt: skip
@click.pass_obj
def start_command(
    root: str,
    /,
    names: tuple[str, ...],
    attach: bool,
    interactive: bool,
    detach_keys: str | None,
    all_: bool,
    filters: tuple[str, ...],
) -> int:
    """Start containers again, with what they changed.

    After a reboot: `lamina start --all --filter restart-policy=always`, and
    `restart-policy=unless-stopped` for those that nobody had stopped.
    """
    if all_:
        names = (*names, *_not_running(root, filters))
    elif filters:
        raise OptionError("--filter needs --all")
    elif not names:
        raise OptionError("give the names of containers, or --all")
    if not (attach or interactive):
        return each(names, lambda name: start_one(root, name))
    if len(names) != 1:
        raise OptionError("only one container can be attached to at a time")
    return _start_attached(root, names[0], keys_of(detach_keys), interactive=interactive)


def start_one(root: str, name: str) -> None:
    """Start a container, unless it runs."""
    from runtime.containers.start import start_again

    container = find_container(root, name)
    if not container.is_active:
        with opened_monitor(root, container.spec) as (store, monitor):
            start_again(store, monitor, name)


def _start_attached(root: str, name: str, keys: bytes, *, interactive: bool) -> int:
    from runtime.containers.start import start_again

    spec = find_container(root, name).spec
    interactive = interactive and spec.open_stdin
    need_terminal(interactive=interactive, terminal=spec.terminal)
    shown = Shown(stdin=interactive)
    with new_session(shown, terminal=spec.terminal, keys=keys) as opened:
        with opened_monitor(root, spec) as (store, monitor):
            container = start_again(
                store,
                monitor,
                name,
                client_fd=opened.their_fd,
                attached=(interactive, True),
                size=terminal_size() if spec.terminal else (0, 0),
            )
        return opened.sit(root, container.id, proxy=True)


def _not_running(root: str, filters: tuple[str, ...]) -> list[str]:
    from builder.commands.container_rows import chosen

    found = chosen(list_containers(root), filters, root)
    return [
        container.name
        for container in found
        if container.state.status in ("created", "exited")
        and not (container.spec.restart == "unless-stopped" and container.was_stopped)
    ]
