"""`lamina df`: what the store takes, and what of it could go."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from builder.commands.df_items import details, items_document, plain
from builder.commands.df_rows import Found, Row, rows
from builder.commands.opened import opened_store
from builder.commands.tables import size_text, table
from runtime.containers.folder import list_containers
from runtime.containers.volumes import list_volumes, volume_users
from runtime.image.store.measure import measure
from runtime.image.store.usage import survey


@click.command("df", short_help="Show what the store takes on the disk.")
@click.option("-v", "--verbose", is_flag=True, help="Every image, container, layer and cache.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table",
    help="json: a line for each row, as docker's.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One document, sizes in bytes.")
@click.pass_obj
def df_command(root: str, verbose: bool, form: str, as_json: bool) -> int:
    """Show how much there is of what, and how much of that `lamina prune --all` could reclaim.

    Sizes are those on the disk; what is shared counts once, for the first row that has it.
    """
    from builder.execution.kept_steps import folder_of, kept_steps

    with opened_store(root) as store:
        containers = tuple(
            (container, measure(os.path.join(store.root, "containers", container.id)))
            for container in list_containers(store.root)
        )
        found = Found(
            survey=survey(store.parts),
            containers=containers,
            volumes=tuple((each, measure(each.folder)) for each in list_volumes(store.root)),
            users=volume_users(store.root),
            failed=tuple(measure(folder_of(store, step.id)) for step in kept_steps(store)),
        )
    if as_json:
        click.echo(json.dumps(_document(found, items=verbose), indent=2))
    elif form == "json":
        for row in rows(found):
            click.echo(json.dumps(_docker_row(row)))
    elif verbose:
        click.echo("\n\n".join(details(found)))
    else:
        heads = ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
        click.echo(table(heads, [_cells(row) for row in rows(found)]))
    return 0


def _cells(row: Row) -> list[str]:
    return [
        row.kind, str(row.total), str(row.active), size_text(row.amount.bytes), _reclaimable(row),
    ]  # fmt: skip


def _reclaimable(row: Row) -> str:
    text = size_text(row.reclaimable.bytes)
    if not row.amount.bytes:
        return text
    return f"{text} ({100 * row.reclaimable.bytes // row.amount.bytes}%)"


def _docker_row(row: Row) -> dict[str, str]:
    return {
        "Type": row.kind,
        "TotalCount": str(row.total),
        "Active": str(row.active),
        "Size": size_text(row.amount.bytes),
        "Reclaimable": _reclaimable(row),
    }


def _document(found: Found, *, items: bool) -> dict[str, Any]:
    survey = found.survey
    document: dict[str, Any] = {
        "total": plain(found.amount),
        "database": plain(survey.database),
        "kinds": {
            row.kind.lower().replace(" ", "_"): {
                "total": row.total,
                "active": row.active,
                **plain(row.amount),
                "reclaimable": plain(row.reclaimable),
            }
            for row in rows(found)
        },
    }
    if items:
        document |= items_document(found)
    return document
