"""Doing something to each of several things that were named."""

from __future__ import annotations

from collections.abc import Callable, Iterable

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
