"""Doing something to each of several things that were named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import click

from builder.commands.failures import report
from runtime.errors import ContainerError
from runtime.image.errors import ImageError


def each(names: Iterable[str], act: Callable[[str], object], *, quiet: bool = False) -> int:
    """Do something for each name, whatever becomes of the others; print those that it worked
    for, unless `quiet`. 1 if it did not work for one."""
    status = 0
    for name in names:
        try:
            act(name)
        except (ContainerError, ImageError) as error:
            status = report(error)
        else:
            if not quiet:
                click.echo(name)
    return status


def show_each(
    names: Iterable[str], document_of: Callable[[str], dict[str, Any]], form: str | None
) -> int:
    """Print what there is of each name as a JSON list, or each by a template. 1 if one is not."""
    found, status = [], 0
    for name in names:
        try:
            found.append(document_of(name))
        except ContainerError as error:
            status = report(error)
    if form is not None and form not in ("", "json"):
        from builder.commands.templates import Template

        template = Template(form)
        for document in found:
            click.echo(template.render(document))
    else:
        click.echo(json.dumps(found, indent=4, ensure_ascii=False))
    return status
