"""`lamina save`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from builder.commands.compression_options import compression_options, compression_words
from builder.commands.opened import opened_store
from builder.errors import OptionError
from runtime.image.digest import Digest
from runtime.image.errors import InvalidReference
from runtime.image.reference import Reference
from runtime.image.store.store import Image, Store

if TYPE_CHECKING:
    from runtime.image.archives.outgoing import Format, Outgoing
    from runtime.image.attestations import AttestationForm

_FORMATS = ("oci-archive", "docker-archive", "oci-dir")


@click.command("save", short_help="Write images to an archive.")
@click.argument("names", nargs=-1, required=True, metavar="IMAGE…")
@click.option("-o", "--output", metavar="FILE|DIR", help="[default: standard output]")
@click.option(
    "--format", "form", type=click.Choice(_FORMATS), default="oci-archive", show_default=True,
    help="Either archive is both an OCI layout and what Docker loads.",
)  # fmt: skip
@compression_options
@click.option(
    "--attest-format", "attest", type=click.Choice(["referrers", "index", "none"]),
    default="referrers", show_default=True,
    help="How to write what is said of images (SBOM, provenance); index is BuildKit's way.",
)  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, expose_value=False, help="No progress (never is).")
@click.option("-m", "--multi-image-archive", is_flag=True, hidden=True, expose_value=False)
@click.pass_obj
def save_command(
    root: str,
    /,
    names: tuple[str, ...],
    output: str | None,
    form: str,
    attest: str,
    **options: Any,
) -> int:
    """Write images to one archive, which docker, podman, skopeo, umoci and containerd read.

    A name without a tag stands for all tags that the store has of it.
    """
    from runtime.image.archives.archive import write_archive, write_layout
    from runtime.image.layer.recipe import GZIP

    if output in (None, "-"):
        if form == "oci-dir":
            raise OptionError("--format oci-dir needs a directory", hint="-o DIR")
        if sys.stdout.isatty():
            raise OptionError("refusing to write an archive to a terminal", hint="-o FILE")
    recipe = compression_words(options).recipe("save") or GZIP
    out = output if output not in (None, "-") else sys.stdout.fileno()
    with opened_store(root) as store:
        images = [_attested(store, each, attest) for each in _outgoing(store, names)]
        kind: Format = "docker" if form == "docker-archive" else "oci"
        if form == "oci-dir":
            write_layout(store, images, str(out), recipe=recipe)
        else:
            write_archive(store, images, out, recipe=recipe, format=kind)
    return 0


def _outgoing(store: Store, texts: Sequence[str]) -> list[Outgoing]:
    """Each image once, with the names it was asked for by."""
    from runtime.image.archives.outgoing import Outgoing

    found: dict[Digest, tuple[Image, dict[Reference, None]]] = {}
    for text in texts:
        for image, name in _asked(store, text):
            _, names = found.setdefault(image.id, (image, {}))
            if name is not None:
                names[name] = None
    return [Outgoing(image, tuple(names)) for image, names in found.values()]


def _attested(store: Store, outgoing: Outgoing, form: str) -> Outgoing:
    """The image with what is said of it."""
    if form == "none":
        return outgoing
    said = store.statements.of(outgoing.image.id)
    kind: AttestationForm = "index" if form == "index" else "referrers"
    return replace(outgoing, attestations=said, attestation_form=kind)


def _asked(store: Store, text: str) -> list[tuple[Image, Reference | None]]:
    """What one argument stands for: a name, all tags of a repository, or an ID."""
    try:
        name = Reference.parse(text)
    except InvalidReference:
        return [(store.image(text), None)]
    if "@" not in text and ":" not in text.rpartition("/")[2]:
        tagged = [
            (image, each)
            for image in store.images()
            for each in image.names
            if each.repository == name.repository and each.tag is not None
        ]
        if tagged:
            return [*tagged]
    image = store.image(text)
    return [(image, name if name in image.names else None)]
