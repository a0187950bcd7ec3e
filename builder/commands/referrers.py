"""`lamina referrers`: what is said of an image."""

from __future__ import annotations

import json

import click

from builder.commands.opened import opened_store
from builder.commands.tables import size_text, table
from runtime.image.attestations import (
    IN_TOTO,
    PREDICATE_PROVENANCE,
    PREDICATE_SPDX,
    Attestation,
)
from runtime.image.digest import sha256

_KINDS = {PREDICATE_SPDX: "sbom", PREDICATE_PROVENANCE: "provenance"}


@click.command("referrers", short_help="List what is said of an image: SBOM, provenance.")
@click.argument("name", metavar="IMAGE")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table")
@click.pass_obj
def referrers_command(root: str, name: str, form: str) -> int:
    """List the attestations of IMAGE, which go with it into archives.

    `lamina inspect --attestations` shows what they say.
    """
    with opened_store(root) as store:
        found = store.statements.of(store.image(name).id)
    rows = [_row(each) for each in found]
    if form == "json":
        for row in rows:
            click.echo(json.dumps(row))
    else:
        heads = ("TYPE", "PREDICATE TYPE", "DIGEST", "SIZE")
        keys = ("type", "predicateType", "digest", "shownSize")
        shown = [{**row, "shownSize": size_text(int(row["size"]))} for row in rows]
        click.echo(table([*heads], [[str(row[key]) for key in keys] for row in shown]))
    return 0


def _row(attestation: Attestation) -> dict[str, str | int]:
    """The digest is the predicate's: that of a statement depends on the manifest it is about."""
    return {
        "type": _KINDS.get(attestation.predicate_type, "other"),
        "artifactType": IN_TOTO,
        "predicateType": attestation.predicate_type,
        "digest": sha256(attestation.predicate),
        "size": len(attestation.predicate),
    }
