"""`lamina load`."""

from __future__ import annotations

import sys

import click

from builder.commands.image_events import image_event
from builder.commands.opened import opened_store
from builder.errors import OptionError
from runtime.image.platform import Platform


@click.command("load", short_help="Take images out of an archive.")
@click.option("-i", "--input", "source", metavar="FILE|DIR", help="[default: standard input]")
@click.option("-q", "--quiet", is_flag=True, expose_value=False, help="No progress (never is).")
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="Which of several to take.")
@click.pass_obj
def load_command(root: str, source: str | None, platform: str | None) -> int:
    """Take over every image of an archive: what docker, podman, skopeo or lamina saved.

    A tar, compressed or not, or a directory with an OCI layout. On an error nothing is loaded.
    """
    from runtime.image.archives.loading import load_archive

    wanted = None if platform is None else Platform.parse(platform)
    place: str | int = source if source not in (None, "-") else sys.stdin.fileno()
    if isinstance(place, int) and sys.stdin.isatty():
        raise OptionError("standard input is a terminal, and no archive", hint="-i FILE")
    with opened_store(root) as store:
        loaded = load_archive(store, place, platform=wanted)
    for image in loaded:
        image_event(root, "load", image.image_id)
        for name in image.names:
            click.echo(f"Loaded image: {name.tagged()}")
        if not image.names:
            click.echo(f"Loaded image ID: {image.image_id}")
    return 0
