"""`lamina push`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from builder.commands.compression_options import compression_options, compression_words
from builder.commands.opened import opened_store
from builder.commands.registry_options import registry_options, registry_session, signing_key
from builder.errors import OptionError
from runtime.image.errors import ImageNotFound, InvalidReference
from runtime.image.manifest import Descriptor
from runtime.image.reference import Reference
from runtime.image.store.store import Image, Store

if TYPE_CHECKING:
    from runtime.image.registry.session import Session


@click.command("push", short_help="Send an image to a registry.")
@click.argument("image")
@click.argument("destination", required=False)
@click.option("-a", "--all-tags", is_flag=True, help="Every tag that the repository has here.")
@click.option("-q", "--quiet", is_flag=True, help="Print the name only.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["oci", "docker"]),
    help="Of the manifest. [default: as it came, else oci]",
)
@compression_options
@click.option(
    "--attestations/--no-attestations",
    default=True,
    show_default=True,
    help="With what is said of the image: SBOM, provenance.",
)
@click.option("--sign", metavar="KEY", help="Sign the manifest with a private key (PEM).")
@click.option("--digestfile", metavar="FILE", help="Write the manifest's digest to a file.")
@registry_options
@click.pass_obj  # fmt: skip
def push_command(root: str, /, **options: Any) -> int:
    """Send IMAGE to the registry in its name, or in DESTINATION.

    What the registry has of it already does not travel. The images of a build for several
    platforms go together, under one name.
    """
    from builder.output.pushing import attached
    from builder.transfers import no_transfers, transfers_to
    from runtime.image.registry.index_push import IndexOptions, push_index
    from runtime.image.registry.push import PushOptions, push
    from runtime.image.registry.referrers import push_referrers
    from runtime.image.registry.signing import push_signature

    wanted = PushOptions(
        format=options["form"],
        recipe=compression_words(options).recipe("push"),
    )
    digest = ""
    key = signing_key(options["sign"]) if options["sign"] else None
    with opened_store(root) as store:
        for image, name in _images(store, options):
            if not options["quiet"]:
                click.echo(f"The push refers to repository [{name.repository}]")
            report = no_transfers if options["quiet"] else transfers_to(sys.stderr, "push")
            with registry_session(
                report,
                authfile=options["authfile"],
                retries=options["retries"],
                retry_delay=options["retry_delay"],
            ) as session:
                images = _together(store, options["image"], image)

                def sent(
                    session: Session, image: Image, made: Descriptor, to: Reference = name
                ) -> None:
                    if options["attestations"]:
                        said = store.statements.of(image.id)
                        push_referrers(session, to, made, attached(image, to, made, said))

                if len(images) > 1:
                    several = IndexOptions(
                        of=[wanted] * len(images), descriptors=[()] * len(images), sent=sent
                    )
                    manifest = push_index(store, session, images, name, several)
                else:
                    manifest = push(store, session, image, name, wanted)
                    sent(session, image, manifest)
                if key is not None:
                    push_signature(session, name, manifest.digest, key)
            digest = manifest.digest
            if options["quiet"]:
                click.echo(str(name))
            else:
                click.echo(f"{name.tag}: digest: {digest} size: {manifest.size}")
    if options["digestfile"]:
        with open(options["digestfile"], "w", encoding="ascii") as file:
            file.write(digest)
    return 0


def _together(store: Store, text: str, image: Image) -> list[Image]:
    """The images that a build for several platforms gave this name, if that still holds."""
    try:
        ids = store.lists.get(Reference.parse(text)) or ()
    except InvalidReference:
        return [image]
    return [store.image(each) for each in ids] if image.id in ids else [image]


def _images(store: Store, options: dict[str, Any]) -> list[tuple[Image, Reference]]:
    """What is pushed, and the names it goes by."""
    text, destination = options["image"], options["destination"]
    if options["all_tags"]:
        if destination is not None:
            raise OptionError("--all-tags goes to the repository itself, not to another one")
        return _tags(store, text)
    name = Reference.parse(destination or text)
    if name.digest is not None:
        raise OptionError("an image cannot be pushed under a digest: give a tag")
    return [(store.image(text), name)]


def _tags(store: Store, text: str) -> list[tuple[Image, Reference]]:
    repository = Reference.parse(text)
    if repository.digest is not None or ":" in text.rpartition("/")[2]:
        raise OptionError("--all-tags and a tag are different wishes", hint="name the repository")
    found = [
        (image, name)
        for image in store.images()
        for name in image.names
        if name.repository == repository.repository and name.tag is not None
    ]
    if not found:
        raise ImageNotFound(text)
    return found
