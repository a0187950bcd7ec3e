"""`lamina ps`: what containers there are."""

from __future__ import annotations

import click

from builder.commands.container_rows import HEADS, chosen, row
from builder.commands.tables import listing
from runtime.containers.folder import list_containers
from runtime.containers.networks import wired_now

_SHOWN = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")


@click.command("ps", short_help="List containers.")
@click.option("-a", "--all", "all_", is_flag=True, help="Those that do not run, too.")
@click.option("-q", "--quiet", is_flag=True, help="IDs only.")
@click.option("-n", "--last", type=int, default=-1, metavar="N", help="The N newest, in any state.")
@click.option("-l", "--latest", is_flag=True, help="The newest, in any state.")
@click.option("-s", "--size", is_flag=True, help="With the size of what they changed.")
@click.option("-f", "--filter", "filters", multiple=True, metavar="KEY=VALUE",
              help="Only such; see docs/run.md.")  # fmt: skip
@click.option("--no-trunc", is_flag=True, help="Whole IDs and commands.")
@click.option("--format", "form", metavar="table|json|TEMPLATE", default="table")
@click.pass_obj
def ps_command(
    root: str,
    /,
    all_: bool,
    quiet: bool,
    last: int,
    latest: bool,
    size: bool,
    filters: tuple[str, ...],
    no_trunc: bool,
    form: str,
) -> int:
    """List running containers, or all."""
    containers = chosen(list_containers(root), filters, root)
    last = 1 if latest else last
    by_state = any(text.startswith(("status=", "exited=")) for text in filters)
    if not all_ and last < 0 and not by_state:
        containers = [container for container in containers if container.is_active]
    if last >= 0:
        containers = containers[:last]
    wired = wired_now(root)
    rows = [row(container, wired, no_trunc=no_trunc) for container in containers]
    if size:
        from builder.commands.container_size import add_sizes

        add_sizes(root, containers, rows)
    if quiet:
        click.echo("".join(each["ID"] + "\n" for each in rows), nl=False)
    else:
        shown = (*_SHOWN, "Size") if size else _SHOWN
        labels = [dict(container.spec.labels) for container in containers]
        click.echo(listing(form, rows, HEADS, shown, labels), nl=False)
    return 0
