"""`lamina inspect`: everything about containers and images, as JSON or by a template."""

from __future__ import annotations

import json
from typing import Any

import click

from builder.commands.failures import report
from builder.commands.opened import opened_store
from builder.commands.volume import volume_document
from runtime.containers.folder import find_container
from runtime.containers.volumes import find_volume, read_volume
from runtime.errors import ContainerError, ContainerNotFound
from runtime.image.errors import ImageError, ImageNotFound


@click.command("inspect", short_help="Show what containers, images and volumes are, as JSON.")
@click.argument("names", nargs=-1, required=True)
@click.option("-f", "--format", "form", metavar="json|TEMPLATE",
              help="Such as '{{.State.Running}}'; see docs/run.md.")  # fmt: skip
@click.option("-s", "--size", is_flag=True, help="With the sizes of containers.")
@click.option("--attestations", is_flag=True, help="Images with their SBOM and provenance.")
@click.option("--type", "kind", type=click.Choice(["container", "image", "volume"]),
              help="Look for nothing else.")  # fmt: skip
@click.pass_obj
def inspect_command(
    root: str, /, names: tuple[str, ...], form: str | None, size: bool, attestations: bool,
    kind: str | None,
) -> int:  # fmt: skip
    """Show containers, images and volumes by name or ID, as a JSON list.

    A container is looked for first, then an image.
    """
    from builder.commands.templates import Template

    template = Template(form) if form not in (None, "", "json") and form is not None else None
    found: list[dict[str, Any]] = []
    status = 0
    for name in names:
        try:
            found.append(_document(root, name, kind, size=size, said=attestations))
        except (ContainerError, ImageError) as error:
            status = report(error)
    if template is not None:
        for document in found:
            click.echo(template.render(document))
    elif form == "json":
        for document in found:
            click.echo(json.dumps(document, ensure_ascii=False))
    else:
        click.echo(json.dumps(found, indent=4, ensure_ascii=False))
    return status


def _document(root: str, name: str, kind: str | None, *, size: bool, said: bool) -> dict[str, Any]:
    if kind == "volume":
        return volume_document(find_volume(root, name))
    if kind != "image":
        try:
            container = find_container(root, name)
        except ContainerNotFound:
            if kind == "container":
                raise
        else:
            from builder.commands.container_document import container_document
            from runtime.containers.networks import wired_now

            return container_document(container, wired_now(root), size=size)
    from builder.commands.images import image_document

    with opened_store(root) as store:
        try:
            image = store.image(name)
        except ImageNotFound:
            volume = read_volume(root, name) if kind is None else None
            if volume is None:
                raise
            return volume_document(volume)
        document = image_document(image, store.remotes.digests(image.id))
        if said:
            document["Attestations"] = [
                {"PredicateType": each.predicate_type, "Predicate": json.loads(each.predicate)}
                for each in store.statements.of(image.id)
            ]
        return document
