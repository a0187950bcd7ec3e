"""`lamina diff` and `commit`: what a container has changed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from builder.commands.failures import say
from builder.commands.opened import opened_store
from builder.errors import BuildError, OptionError
from runtime.containers.folder import find_container
from runtime.containers.prepare import event
from runtime.containers.record import Container
from runtime.errors import SandboxUnavailable
from runtime.image.errors import LayerError
from runtime.image.reference import Reference


@click.command("diff", short_help="Show what a container has changed.")
@click.argument("name", metavar="CONTAINER")
@click.pass_obj
def diff_command(root: str, /, name: str) -> int:
    """Show the paths that CONTAINER has added (A), changed (C) or deleted (D) in its image.

    What is in volumes, or mounted otherwise, is not among them.
    """
    from runtime.containers.changes import container_changes

    with opened_store(root) as store:
        container = find_container(root, name)
        with _steady(container):
            changes = container_changes(store, container)
    lines = [f"{change.kind} /{os.fsdecode(change.path)}" for change in changes]
    if sys.stdout.isatty():
        from grammar.errors import printable

        lines = [printable(line) for line in lines]
    click.echo("".join(line + "\n" for line in lines), nl=False)
    return 0


@click.command("commit", short_help="Make an image of a container.")
@click.argument("name", metavar="CONTAINER")
@click.argument("image", metavar="[IMAGE]", required=False)
@click.option("-a", "--author", metavar="TEXT", default="")
@click.option("-m", "--message", metavar="TEXT", default="", help="A comment for its history.")
@click.option("-c", "--change", "changes", multiple=True, metavar="INSTRUCTION",
              help="Apply a Dockerfile instruction, such as 'CMD [\"sh\"]'.")  # fmt: skip
@click.option("-p", "--pause/--no-pause", "pause", default=None,
              help="Pause it meanwhile. [default: where that can be done]")  # fmt: skip
@click.pass_obj
def commit_command(
    root: str,
    /,
    name: str,
    image: str | None,
    author: str,
    message: str,
    changes: tuple[str, ...],
    pause: bool | None,
) -> int:
    """Make an image of what CONTAINER has changed, and of how it was started; print its ID.

    Volumes, and what is mounted otherwise, are not in it.
    """
    from builder.plan.changes import apply_changes
    from runtime.containers.commit import committed

    reference = Reference.parse(image) if image else None
    if reference is not None and reference.digest is not None:
        raise OptionError("an image cannot be given a digest: that is what it is")
    container = find_container(root, name)
    with _paused(root, container, pause), opened_store(root) as store:
        with _steady(container):
            config = committed(store, container, comment=message, author=author)
        image_id = store.put_image(apply_changes(config, changes) if changes else config)
        if reference is not None:
            store.tag(reference, image_id)
    event(container, "commit", comment=message, imageID=image_id)
    click.echo(image_id)
    return 0


@contextmanager
def _paused(root: str, container: Container, wanted: bool | None) -> Iterator[None]:
    """The container, paused until the end of the block if it runs."""
    from runtime.containers.freezer import pause, unpause

    if container.state.status != "running" or wanted is False:
        yield
        return
    try:
        pause(container)
    except SandboxUnavailable as error:
        if wanted:
            raise
        say(f"WARNING: the container goes on meanwhile: {error.message}")
        yield
        return
    try:
        yield
    finally:
        again = find_container(root, container.id)
        if again.state.status == "paused":
            unpause(again)


@contextmanager
def _steady(container: Container) -> Iterator[None]:
    """Says what it means that files were changed while they were read."""
    try:
        yield
    except (LayerError, FileNotFoundError) as error:
        if not container.is_running:
            raise
        raise BuildError(
            f"{container.name} has changed its files while they were read: {error}",
            hint=f"lamina pause {container.name}, and unpause it afterwards",
        ) from error
