"""`lamina export`."""

from __future__ import annotations

import os
import sys

import click

from builder.commands.opened import opened_store
from builder.errors import BuildError, OptionError
from runtime.containers.commit import upper_owners
from runtime.containers.folder import find_container
from runtime.image.errors import LayerError


@click.command("export", short_help="Write a container's files as a tar.")
@click.argument("name", metavar="CONTAINER")
@click.option("-o", "--output", metavar="FILE", help="[default: standard output]")
@click.pass_obj
def export_command(root: str, /, name: str, output: str | None) -> int:
    """Write the files of CONTAINER, those of its image and its changes, as one tar.

    What is mounted in it (volumes, /proc, the generated /etc/hosts) is not in it. `lamina import`
    makes an image of it.
    """
    from builder.output.files_output import write_files_tar
    from runtime.image.layer.view import TreeForm, View

    if output in (None, "-") and sys.stdout.isatty():
        raise OptionError("refusing to write an archive to a terminal", hint="-o FILE")
    with opened_store(root) as store:
        container = find_container(root, name)
        layers = [store.form(diff_id) for diff_id in container.description.diff_ids]
        upper = TreeForm(os.path.join(container.folder, "upper"), upper_owners(store, container))
        view = View([*layers, upper])
        out = output if output not in (None, "-") else sys.stdout.fileno()
        try:
            write_files_tar(view, out, mtime=None)
        except (LayerError, FileNotFoundError) as error:
            if not container.is_running:
                raise
            raise BuildError(
                f"{name} has changed its files while they were read: {error}",
                hint=f"lamina pause {name}, and unpause it afterwards",
            ) from error
    return 0
