"""`lamina bundle`: a container for other runtimes."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import click

from builder.commands.container_image import available
from builder.commands.container_options import spec_of
from builder.commands.container_refused import RUN_REFUSED
from builder.commands.container_run import create_command
from builder.commands.opened import opened_store
from builder.commands.refusals import refusing
from builder.errors import OptionError


@click.command(
    "bundle",
    cls=refusing(RUN_REFUSED),
    short_help="Write a container as a bundle for crun, runc and their like.",
    params=[each for each in create_command.params if isinstance(each, click.Option)],
    context_settings={"allow_interspersed_args": True, "help_option_names": ["--help"]},
)
@click.argument("image")
@click.argument("directory", metavar="DIRECTORY")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def bundle_command(root: str, /, directory: str, **options: Any) -> int:
    """Write what `lamina run` would run as an OCI bundle to DIRECTORY: rootfs and config.json.

    The options are those of `run`; an option of COMMAND's comes after `--`. The files in rootfs
    are a copy and belong to who they belong to in the image; for a plain user that is the user's
    subordinate IDs, and config.json maps them.
    """
    from builder.output.bundle import write_bundle
    from runtime.containers.prepare import new_container, sandbox_of
    from runtime.containers.remove import discard_held
    from runtime.oci.config import VERSION

    if options["runtime"] is not None:
        raise OptionError("a bundle is for any runtime: leave out --runtime")
    spec = spec_of(options, detached=False)
    with opened_store(root) as store:
        spec = replace(spec, image=available(store, options), remove=True)
        with new_container(store, spec) as held:
            container = held.container
            try:
                sandbox = sandbox_of(store, container)
                # Volumes that are made for the container go with it; the root has their files.
                own = {each.target for each in container.spec.volumes if each.anonymous}
                kept = tuple(each for each in sandbox.mounts if each.target not in own)
                sandbox = replace(sandbox, mounts=kept)
                left_out = write_bundle(
                    os.path.abspath(directory),
                    sandbox,
                    store.view(container.description.diff_ids),
                    container=container.spec,
                    made=os.path.join(container.folder, "made"),
                    annotations={
                        "org.opencontainers.image.id": container.description.image_id,
                        **dict(container.spec.labels),
                        **dict(container.spec.security.annotations),
                    },
                )
            finally:
                discard_held(store, container.id)
    if sandbox.network == "joined":
        click.echo("warning: networks are not in a bundle: it has loopback only", err=True)
    for path in left_out:
        click.echo(f"warning: {os.fsdecode(path)}: cannot be made without privileges", err=True)
    click.echo(f"{directory}: config.json (OCI {VERSION}) and rootfs", err=True)
    return 0
