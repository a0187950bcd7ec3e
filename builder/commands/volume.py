"""`lamina volume`: volumes by themselves."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from builder.commands.confirm import confirmed
from builder.commands.each import each, show_each
from builder.commands.opened import opened_store
from builder.commands.tables import listing, size_text
from builder.commands.values import key_value
from builder.commands.volume_rows import HEADS, chosen, is_unused, row
from builder.errors import OptionError
from runtime.containers.volume_options import place_of
from runtime.containers.volumes import (
    Volume,
    create_volume,
    find_volume,
    list_volumes,
    new_volume_name,
    remove_volume,
    volume_users,
)
from runtime.errors import VolumeInUse, VolumeNotFound
from runtime.image.store.measure import measure


@click.group("volume", short_help="Make, list and remove volumes.")
def volume_command() -> None:
    """Volumes: directories that outlive the containers they are mounted in."""


@volume_command.command("create", short_help="Make a volume.")
@click.argument("name", required=False)
@click.option("-d", "--driver", metavar="local", default="local")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE")
@click.option("-o", "--opt", "options", multiple=True, metavar="type|o|device=…",
              help="As for mount(8): a folder of the host's, or a tmpfs.")  # fmt: skip
@click.pass_obj
def create_command(
    root: str, /, name: str | None, driver: str, labels: tuple[str, ...], options: tuple[str, ...]
) -> int:
    """Make a volume, NAME or one with a made-up name, and print what it is called.

    Nothing happens if it is there already.
    """
    if driver != "local":
        raise OptionError(f"--driver {driver}: there is only local")
    chosen_options = tuple(key_value(text, "--opt") for text in options)
    place_of(dict(chosen_options))
    with opened_store(root) as store:
        volume = create_volume(
            store,
            name or new_volume_name(),
            labels=tuple(key_value(text, "--label") for text in labels),
            options=chosen_options,
            anonymous=name is None,
        )
    click.echo(volume.name)
    return 0


@volume_command.command("ls", short_help="List volumes.")
@click.option("-q", "--quiet", is_flag=True, help="Names only.")
@click.option("-f", "--filter", "filters", multiple=True, metavar="KEY=VALUE",
              help="dangling, driver, label, name.")  # fmt: skip
@click.option("--format", "form", metavar="table|json|TEMPLATE", default="table")
@click.pass_obj
def ls_command(root: str, /, quiet: bool, filters: tuple[str, ...], form: str) -> int:
    """List volumes by name."""
    users = volume_users(root)
    volumes = chosen(list_volumes(root), users, filters)
    rows = [row(volume, users) for volume in volumes]
    if quiet:
        click.echo("".join(volume.name + "\n" for volume in volumes), nl=False)
    else:
        labels = [dict(volume.labels) for volume in volumes]
        click.echo(listing(form, rows, HEADS, ("Driver", "Name"), labels), nl=False)
    return 0


@volume_command.command("inspect", short_help="Show what volumes are, as JSON.")
@click.argument("names", nargs=-1, required=True)
@click.option("-f", "--format", "form", metavar="json|TEMPLATE")
@click.pass_obj
def inspect_command(root: str, /, names: tuple[str, ...], form: str | None) -> int:
    """Show volumes as a JSON list."""
    return show_each(names, lambda name: volume_document(find_volume(root, name)), form)


@volume_command.command("rm", short_help="Remove volumes.")
@click.argument("names", nargs=-1, required=True)
@click.option("-f", "--force", is_flag=True, help="Missing ones are fine.")
@click.pass_obj
def rm_command(root: str, /, names: tuple[str, ...], force: bool) -> int:
    """Remove volumes that no container has, with all that is in them."""
    with opened_store(root) as store:

        def act(name: str) -> None:
            try:
                remove_volume(store, name)
            except VolumeNotFound:
                if not force:
                    raise

        return each(names, act)


@volume_command.command("prune", short_help="Remove volumes that no container has.")
@click.option("-a", "--all", "all_", is_flag=True, help="Those with names, too.")
@click.option("--filter", "filters", multiple=True, metavar="label=…|label!=…")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def prune_command(root: str, /, all_: bool, filters: tuple[str, ...], force: bool) -> int:
    """Remove anonymous volumes that no container has; with --all those with names, too."""
    kind = "all" if all_ else "anonymous"
    warning = f"WARNING! This will remove {kind} local volumes not used by at least one container."
    if not force and not confirmed(warning):
        return 1
    removed, total = prune_volumes(root, all_=all_, filters=filters)
    if removed:
        click.echo("Deleted Volumes:\n" + "\n".join(removed) + "\n")
    click.echo(f"Total reclaimed space: {size_text(total)}")
    return 0


def prune_volumes(
    root: str, *, all_: bool = False, filters: tuple[str, ...] = ()
) -> tuple[list[str], int]:
    """Remove volumes that no container has; their names, and how many bytes they took."""
    removed, total = [], 0
    with opened_store(root) as store:
        users = volume_users(root)
        for volume in chosen(list_volumes(root), users, filters, pruning=True):
            if is_unused(volume, users) and (all_ or volume.anonymous):
                taken = measure(volume.folder).bytes
                try:
                    remove_volume(store, volume.name)
                except (VolumeInUse, VolumeNotFound):
                    continue  # somebody was faster
                removed.append(volume.name)
                total += taken
    return removed, total


def volume_document(volume: Volume) -> dict[str, Any]:
    """A volume as docker's `inspect` shows it."""
    labels = dict(volume.labels)
    if volume.anonymous:
        labels["com.docker.volume.anonymous"] = ""
    moment = datetime.fromtimestamp(volume.created_ns // 10**9, UTC)
    return {
        "CreatedAt": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "Driver": "local",
        "Labels": labels or None,
        "Mountpoint": volume.data,
        "Name": volume.name,
        "Options": dict(volume.options) or None,
        "Scope": "local",
    }
