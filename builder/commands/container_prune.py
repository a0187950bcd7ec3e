"""`lamina container prune`, `image prune` and `system prune`."""

from __future__ import annotations

import time

import click

from builder.commands.confirm import confirmed
from builder.commands.filters import fits_label
from builder.commands.opened import opened_store
from builder.commands.prune import images_of_containers, since_seconds
from builder.commands.tables import size_text
from builder.errors import OptionError
from runtime.containers.folder import list_containers
from runtime.containers.record import Container
from runtime.containers.remove import remove_container
from runtime.errors import ContainerError
from runtime.image.errors import ImageError
from runtime.image.store.measure import measure

_BILLION = 1_000_000_000


@click.command("prune", short_help="Remove containers that do not run.")
@click.option("--filter", "filters", multiple=True, metavar="until=…|label=…|label!=…")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def container_prune_command(root: str, /, filters: tuple[str, ...], force: bool) -> int:
    """Remove all containers that do not run, with what they changed."""
    if not force and not confirmed("WARNING! This will remove all stopped containers."):
        return 1
    removed, total = prune_containers(root, filters)
    if removed:
        click.echo("Deleted Containers:\n" + "\n".join(removed) + "\n")
    click.echo(f"Total reclaimed space: {size_text(total)}")
    return 0


@click.command("prune", short_help="Remove images without a name.")
@click.option("-a", "--all", "all_", is_flag=True, help="All that no container uses.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def image_prune_command(root: str, /, all_: bool, force: bool) -> int:
    """Remove images without a name that no container uses; the build cache stays."""
    what = "all images without at least one container" if all_ else "all dangling images"
    if not force and not confirmed(f"WARNING! This will remove {what}."):
        return 1
    total = 0
    with opened_store(root) as store:
        used = images_of_containers(store)
        for image in store.images():
            if image.id in used or (image.names and not all_):
                continue
            try:
                removed = store.remove_image(image.id, force=True)
            except ImageError:
                continue  # somebody was faster
            total += removed.bytes
            for reference in removed.untagged:
                click.echo(f"untagged: {reference.tagged()}")
            for digest in (*removed.images, *removed.layers):
                click.echo(f"deleted: {digest}")
    click.echo(f"Total reclaimed space: {size_text(total)}")
    return 0


def prune_containers(root: str, filters: tuple[str, ...]) -> tuple[list[str], int]:
    """Remove the containers that do not run and that filters let through: their IDs, and how many
    bytes they took."""
    removed, total = [], 0
    with opened_store(root) as store:
        for container in list_containers(root):
            if container.is_active or container.state.status == "removing":
                continue
            if not all(_fits(container, text) for text in filters):
                continue
            taken = measure(container.folder).bytes
            try:
                remove_container(store, container.id)
            except ContainerError:
                continue  # it was started, or removed, meanwhile
            removed.append(container.id)
            total += taken
    return removed, total


def _fits(container: Container, text: str) -> bool:
    key, equals, value = text.partition("=")
    if key == "until" and equals:
        age = since_seconds(value)
        return time.time() - container.description.created_ns / _BILLION > age
    if key in ("label", "label!") and equals:
        return fits_label(dict(container.spec.labels), key, value)
    raise OptionError(f"invalid --filter {text!r}", hint="until=24h, label=KEY, label!=KEY")
