"""`--runtime`: another OCI runtime instead of lamina's own sandbox."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Any

import click

from builder.errors import OptionError

_OWN = ("lamina", "default")

runtime_option = click.option(
    "--runtime",
    metavar="crun|runc|PATH",
    help="Have another OCI runtime make the container. [default: lamina's own sandbox]",
)


def runtime_of(options: Mapping[str, Any]) -> str | None:
    """The path of the runtime that is meant; `None` for lamina's own."""
    name = options["runtime"]
    if name is None or name in _OWN:
        return None
    if "/" in name:
        path: str = os.path.abspath(name)
        if not os.access(path, os.X_OK) or os.path.isdir(path):
            raise OptionError(f"--runtime {name}: it cannot be executed")
    else:
        search = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin"
        found = shutil.which(name, path=search)
        if found is None:
            raise OptionError(
                f"--runtime {name}: no such program", hint="install it, or give its path"
            )
        path = os.path.abspath(found)
    if options["init"]:
        raise OptionError(
            "--init is of lamina's own sandbox: not with --runtime",
            hint="use an image with an init of its own, such as tini",
        )
    if options["privileged"]:
        raise OptionError("--privileged cannot be said to another runtime: not with --runtime")
    return path
