"""`lamina pull`."""

from __future__ import annotations

import sys

import click

from builder.commands.image_events import image_event
from builder.commands.opened import opened_store
from builder.commands.registry_options import registry_options, registry_session
from builder.errors import OptionError
from runtime.image.platform import Platform, default_platform
from runtime.image.reference import Reference


@click.command("pull", short_help="Fetch images from a registry.")
@click.argument("names", nargs=-1, required=True)
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="[default: this machine's]")
@click.option("-q", "--quiet", is_flag=True, help="Print names only.")
@click.option("-a", "--all-tags", is_flag=True, hidden=True)
@registry_options
@click.pass_obj
def pull_command(
    root: str,
    names: tuple[str, ...],
    platform: str | None,
    quiet: bool,
    all_tags: bool,
    authfile: str | None,
    retries: int,
    retry_delay: float,
) -> int:
    """Fetch images; layers that are in the store already do not travel."""
    from builder.transfers import no_transfers, transfers_to
    from runtime.image.registry.pull import pull

    if all_tags:
        raise OptionError("--all-tags is not supported", hint="name the tags that are wanted")
    references = [Reference.parse(name) for name in names]
    wanted = Platform.parse(platform) if platform else default_platform()
    with opened_store(root) as store:
        for reference in references:
            report = no_transfers if quiet else transfers_to(sys.stderr, "pull")
            with registry_session(
                report, authfile=authfile, retries=retries, retry_delay=retry_delay
            ) as session:
                pulled = pull(store, session, reference, wanted)
            store.tag(reference, pulled.image_id)
            image_event(root, "pull", pulled.image_id, reference.familiar())
            if not quiet:
                what = "Downloaded newer image" if pulled.changed else "Image is up to date"
                click.echo(f"Digest: {pulled.digest}")
                click.echo(f"Status: {what} for {reference.familiar()}")
            click.echo(str(reference))
    return 0
