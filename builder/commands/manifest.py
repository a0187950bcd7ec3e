"""`lamina manifest`: names that stand for images of several platforms."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import click

from builder.commands.opened import opened_store
from builder.commands.registry_options import registry_options, registry_session
from builder.errors import OptionError
from runtime.image.errors import ImageNotFound
from runtime.image.reference import Reference
from runtime.image.store.store import Image, Store


@click.group("manifest", short_help="Put images of several platforms under one name.")
def manifest_command() -> None:
    """Make lists of images for several platforms, and send them to registries as an index."""


@manifest_command.command("create", short_help="Make a list of images.")
@click.argument("name")
@click.argument("images", nargs=-1)
@click.option("-a", "--amend", is_flag=True, help="Add to the list if there is one.")
@click.pass_obj
def create_command(root: str, name: str, images: tuple[str, ...], amend: bool) -> int:
    """Let NAME be a list of IMAGES, which are in the store."""
    reference = _tagged(name)
    with opened_store(root) as store:
        known = store.lists.get(reference)
        if known is not None and not amend:
            raise OptionError(f"there is a list {name} already", hint="--amend adds to it")
        found = [store.image(image_id) for image_id in known or ()]
        _keep(store, reference, [*found, *(store.image(image) for image in images)])
    click.echo(str(reference))
    return 0


@manifest_command.command("add", short_help="Add images to a list.")
@click.argument("name")
@click.argument("images", nargs=-1, required=True)
@click.pass_obj
def add_command(root: str, name: str, images: tuple[str, ...]) -> int:
    """Add IMAGES to the list NAME; one takes the place of another for its platform."""
    reference = _tagged(name)
    with opened_store(root) as store:
        found = [*_listed(store, reference), *(store.image(image) for image in images)]
        _keep(store, reference, found)
    click.echo(str(reference))
    return 0


@manifest_command.command("rm", short_help="Remove lists.")
@click.argument("names", nargs=-1, required=True)
@click.pass_obj
def rm_command(root: str, names: tuple[str, ...]) -> int:
    """Forget the lists NAMES; their images stay."""
    with opened_store(root) as store:
        for reference in map(_tagged, names):
            _listed(store, reference)
            store.lists.drop(reference)
            click.echo(str(reference))
    return 0


@manifest_command.command("inspect", short_help="Show a list, here or in a registry.")
@click.argument("name")
@registry_options
@click.pass_obj
def inspect_command(
    root: str, name: str, authfile: str | None, retries: int, retry_delay: float
) -> int:
    """Show the index that pushing the list NAME gives; else what a registry has under NAME."""
    from builder.transfers import no_transfers
    from runtime.image.registry.client import RepositoryClient
    from runtime.image.registry.endpoints import endpoint
    from runtime.image.registry.index_push import local_index

    reference = Reference.parse(name)
    with opened_store(root) as store:
        if store.lists.get(reference) is not None:
            data = local_index(store, _listed(store, reference)).to_bytes()
        else:
            with registry_session(
                no_transfers, authfile=authfile, retries=retries, retry_delay=retry_delay
            ) as session:
                place = endpoint(reference.domain, reference.path, session.registries)
                client = RepositoryClient(session, place)
                data = client.manifest(reference.digest or reference.tag or "").data
    click.echo(json.dumps(json.loads(data), indent=3))
    return 0


@manifest_command.command("push", short_help="Send a list to a registry.")
@click.argument("name")
@click.argument("destination", required=False)
@click.option("-q", "--quiet", is_flag=True, help="Print the digest only.")
@registry_options
@click.pass_obj
def push_command(
    root: str,
    name: str,
    destination: str | None,
    quiet: bool,
    authfile: str | None,
    retries: int,
    retry_delay: float,
) -> int:
    """Send the images of the list NAME, then their index, to the registry in its name."""
    from builder.transfers import no_transfers, transfers_to
    from runtime.image.registry.index_push import push_index

    target = _tagged(destination or name)
    with opened_store(root) as store:
        images = _listed(store, _tagged(name))
        if not images:
            raise OptionError(f"the list {name} is empty", hint="lamina manifest add")
        report = no_transfers if quiet else transfers_to(sys.stderr, "push")
        with registry_session(
            report, authfile=authfile, retries=retries, retry_delay=retry_delay
        ) as session:
            index = push_index(store, session, images, target)
    said = index.digest if quiet else f"{target.tag}: digest: {index.digest} size: {index.size}"
    click.echo(said)
    return 0


def _tagged(name: str) -> Reference:
    reference = Reference.parse(name)
    if reference.digest is not None:
        raise OptionError(f"{name}: a list has a tag, not a digest")
    return reference


def _listed(store: Store, name: Reference) -> list[Image]:
    """The images of a list; `ImageNotFound` without the list, or one of them."""
    known = store.lists.get(name)
    if known is None:
        raise ImageNotFound(f"{name.familiar()} (a list)", hint="lamina manifest create")
    return [store.image(image_id) for image_id in known]


def _keep(store: Store, name: Reference, images: Sequence[Image]) -> None:
    """Remember a list: of images for one platform the last."""
    last = {image.config.platform: image.id for image in images}
    store.lists.put(name, list(last.values()))
