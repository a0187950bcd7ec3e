"""`lamina images`, `history`, `rmi`, `tag`, `import`: the store."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import click

from builder.commands.image_events import image_event
from builder.commands.opened import opened_store
from builder.commands.tables import ago, size_text, table
from builder.errors import OptionError
from runtime.image.digest import encoded
from runtime.image.model import unix_seconds
from runtime.image.reference import Reference
from runtime.image.store.store import Image

_SHORT = 12


@click.command("import", short_help="Make an image of a root file system tar.")
@click.argument("rootfs")
@click.argument("name", required=False)
@click.option(
    "-c",
    "--change",
    "changes",
    multiple=True,
    metavar="INSTRUCTION",
    help="Apply a Dockerfile instruction, such as 'CMD [\"sh\"]'.",
)
@click.option("-m", "--message", default="", help="A comment for the image's history.")
@click.pass_obj
def import_command(
    root: str, rootfs: str, name: str | None, changes: tuple[str, ...], message: str
) -> int:
    """Make a base image of ROOTFS: a tar, plain or compressed; - is standard input."""
    from builder.plan.changes import apply_changes
    from runtime.image.archives.importing import import_rootfs

    reference = Reference.parse(name) if name else None
    with opened_store(root) as store:
        source: str | int = sys.stdin.fileno() if rootfs == "-" else rootfs
        config = import_rootfs(store, source, comment=message)
        image_id = store.put_image(apply_changes(config, changes))
        if reference is not None:
            store.tag(reference, image_id)
    image_event(root, "import", image_id, name or "")
    click.echo(image_id)
    return 0


@click.command("images", short_help="List images.")
@click.option("-q", "--quiet", is_flag=True, help="IDs only.")
@click.option("--no-trunc", is_flag=True, help="Whole IDs.")
@click.option("--digests", is_flag=True, help="What registries have the images by.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table")
@click.pass_obj
def images_command(root: str, quiet: bool, no_trunc: bool, digests: bool, form: str) -> int:
    """List the images in the store."""
    with opened_store(root) as store:
        images = [(image, store.remotes.digests(image.id)) for image in store.images()]
    rows = [row for image, known in images for row in _rows(image, known, no_trunc=no_trunc)]
    if quiet:
        for identifier in dict.fromkeys(row["ID"] for row in rows):
            click.echo(identifier)
    elif form == "json":
        for row in rows:
            click.echo(json.dumps(row))
    else:
        heads = {"Repository": "REPOSITORY", "Tag": "TAG"}
        heads |= {"Digest": "DIGEST"} if digests else {}
        heads |= {"ID": "IMAGE ID"}
        heads |= {"CreatedSince": "CREATED", "Size": "SIZE"}
        click.echo(table(list(heads.values()), [[row[key] for key in heads] for row in rows]))
    return 0


def _rows(image: Image, digests: Sequence[Reference], *, no_trunc: bool) -> list[dict[str, str]]:
    """A line for each of an image's names, or one without."""
    created = unix_seconds(image.config.created) if image.config.created else 0
    common = {
        "ID": image.id if no_trunc else encoded(image.id)[:_SHORT],
        "CreatedAt": image.config.created,
        "CreatedSince": ago(time.time() - created),
        "Size": size_text(image.size),
    }
    known = {name.repository: name.digest for name in digests}
    rows = []
    for name in image.names:
        digest = name.digest or known.get(name.repository) or "<none>"
        tag = name.tag if name.tag and name.digest is None else "<none>"
        row = {"Repository": name.familiar_repository, "Tag": tag, "Digest": digest}
        rows.append(row | common)
    return rows or [{"Repository": "<none>", "Tag": "<none>", "Digest": "<none>"} | common]


def image_document(image: Image, digests: Sequence[Reference]) -> dict[str, Any]:
    """An image as `docker image inspect` shows it."""
    config = json.loads(image.config.to_bytes())
    history = image.config.history
    return {
        "Id": image.id,
        "RepoTags": [name.tagged() for name in image.names if name.digest is None],
        "RepoDigests": [name.familiar() for name in digests],
        "Comment": history[-1].comment if history else "",
        "Created": image.config.created,
        "Author": image.config.author,
        "Config": config["config"],
        "Architecture": image.config.architecture,
        "Variant": image.config.variant,
        "Os": image.config.os,
        "Size": image.size,
        "RootFS": {"Type": "layers", "Layers": list(image.config.diff_ids)},
    }


@click.command("history", short_help="Show how an image came about.")
@click.argument("name")
@click.option("--no-trunc", is_flag=True, help="Whole instructions.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table")
@click.pass_obj
def history_command(root: str, name: str, no_trunc: bool, form: str) -> int:
    """Show the instructions an image was made by, the last first."""
    with opened_store(root) as store:
        image = store.image(name)
        layers = iter(image.config.diff_ids)
        rows = [
            (entry, None if entry.empty_layer else next(layers, None))
            for entry in image.config.history
        ]
    lines = []
    for entry, diff_id in reversed(rows):
        text = " ".join(entry.created_by.split())
        shown = text if no_trunc or len(text) <= 60 else text[:59] + "…"
        since = ago(time.time() - unix_seconds(entry.created)) if entry.created else ""
        layer = diff_id or "<none>"
        if form == "json":
            document = {"CreatedBy": text, "CreatedAt": entry.created, "Comment": entry.comment}
            click.echo(json.dumps({**document, "Layer": diff_id}))
        lines.append(
            [
                layer if no_trunc else layer.removeprefix("sha256:")[:_SHORT],
                since,
                shown,
                entry.comment,
            ]
        )
    if form == "table":
        click.echo(table(["LAYER", "CREATED", "CREATED BY", "COMMENT"], lines))
    return 0


@click.command("rmi", short_help="Remove images.")
@click.argument("names", nargs=-1, required=True)
@click.option("-f", "--force", is_flag=True, help="Also by ID where an image has several names.")
@click.pass_obj
def rmi_command(root: str, names: tuple[str, ...], force: bool) -> int:
    """Remove names; an image goes with its last name, its layers when nothing needs them."""
    with opened_store(root) as store:
        for name in names:
            removed = store.remove_image(name, force=force)
            for reference in removed.untagged:
                click.echo(f"Untagged: {reference.tagged()}")
                gone = removed.images[0] if removed.images else reference.familiar()
                image_event(root, "untag", gone, reference.familiar())
            for image_id in removed.images:
                image_event(root, "delete", image_id)
            for digest in (*removed.images, *removed.layers):
                click.echo(f"Deleted: {digest}")
            if removed.postponed:
                click.echo("its layers stay for now: the store is in use", err=True)
    return 0


@click.command("tag", short_help="Give an image another name.")
@click.argument("source")
@click.argument("target")
@click.pass_obj
def tag_command(root: str, source: str, target: str) -> int:
    """Let the name TARGET point to the image SOURCE."""
    reference = Reference.parse(target)
    if reference.digest is not None:
        raise OptionError("an image cannot be given a digest: that is what it is")
    with opened_store(root) as store:
        image_id = store.image(source).id
        store.tag(reference, image_id)
    image_event(root, "tag", image_id, reference.familiar())
    return 0
