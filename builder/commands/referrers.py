"""`lamina referrers`: what is said of an image."""

from __future__ import annotations

import json
from typing import Any

import click

from builder.commands.opened import opened_store
from builder.commands.registry_options import registry_options, registry_session
from builder.commands.tables import size_text, table
from runtime.image.attestations import (
    IN_TOTO,
    PREDICATE_PROVENANCE,
    PREDICATE_SPDX,
    PREDICATE_TYPE,
    Attestation,
)
from runtime.image.digest import sha256
from runtime.image.manifest import Descriptor
from runtime.image.reference import Reference

_KINDS = {PREDICATE_SPDX: "sbom", PREDICATE_PROVENANCE: "provenance"}


@click.command("referrers", short_help="List what is said of an image: SBOM, provenance.")
@click.argument("name", metavar="IMAGE")
@click.option("--remote", is_flag=True, help="Ask the registry in the image's name instead.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table")
@registry_options
@click.pass_obj
def referrers_command(root: str, /, name: str, remote: bool, form: str, **options: Any) -> int:
    """List the attestations of IMAGE, which go with it into archives and to registries.

    `lamina inspect --attestations` shows what they say.
    """
    rows = _remote_rows(name, options) if remote else _stored_rows(root, name)
    if form == "json":
        for row in rows:
            click.echo(json.dumps(row))
    else:
        heads = ("TYPE", "PREDICATE TYPE", "DIGEST", "SIZE")
        keys = ("type", "predicateType", "digest", "shownSize")
        shown = [{**row, "shownSize": size_text(int(row["size"]))} for row in rows]
        click.echo(table([*heads], [[str(row[key]) for key in keys] for row in shown]))
    return 0


def _stored_rows(root: str, name: str) -> list[dict[str, str | int]]:
    with opened_store(root) as store:
        return [_row(each) for each in store.statements.of(store.image(name).id)]


def _remote_rows(name: str, options: dict[str, Any]) -> list[dict[str, str | int]]:
    from builder.transfers import no_transfers
    from runtime.image.registry.referrers import list_referrers

    with registry_session(no_transfers, **options) as session:
        found = list_referrers(session, Reference.parse(name))
    return [_remote_row(each) for each in found]


def _remote_row(manifest: Descriptor) -> dict[str, str | int]:
    predicate_type = dict(manifest.annotations).get(PREDICATE_TYPE, "")
    return {
        "type": _KINDS.get(predicate_type, "other"),
        "artifactType": manifest.artifact_type,
        "predicateType": predicate_type,
        "digest": manifest.digest,
        "size": manifest.size,
    }


def _row(attestation: Attestation) -> dict[str, str | int]:
    """The digest is the predicate's: that of a statement depends on the manifest it is about."""
    return {
        "type": _KINDS.get(attestation.predicate_type, "other"),
        "artifactType": IN_TOTO,
        "predicateType": attestation.predicate_type,
        "digest": sha256(attestation.predicate),
        "size": len(attestation.predicate),
    }
