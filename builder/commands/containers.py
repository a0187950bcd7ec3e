"""`lamina run`, `ps`, `rm`: containers."""

from __future__ import annotations

import json
import shlex
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import click

from builder.commands.failures import report
from builder.commands.opened import opened_engine, opened_store
from builder.commands.tables import ago, table
from builder.commands.values import host_address, size_in_bytes, variables
from runtime.container import ContainerSpec, list_containers, remove_container, run
from runtime.container_state import Container
from runtime.errors import (
    CommandNotFound,
    CommandNotRunnable,
    ContainerError,
    InvalidContainer,
)
from runtime.image.errors import ImageError, ImageNotFound
from runtime.image.store.store import Store

_SHORT = 12
_NOT_STARTED, _NOT_RUNNABLE, _NOT_FOUND = 125, 126, 127


@click.command(
    "run",
    short_help="Run a command in a new container.",
    context_settings={"allow_interspersed_args": False},
)
@click.argument("image")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--rm", "remove", is_flag=True, help="Leave nothing behind at the end.")
@click.option("-e", "--env", "env", multiple=True, metavar="NAME[=VALUE]")
@click.option("--env-file", "env_files", multiple=True, metavar="FILE", help="NAME=VALUE lines.")
@click.option("-w", "--workdir", metavar="DIRECTORY", help="Where the command starts.")
@click.option("-u", "--user", metavar="USER[:GROUP]")
@click.option("--entrypoint", metavar="COMMAND", help="Instead of the image's; '' is none.")
@click.option(
    "--network",
    "--net",
    type=click.Choice(["none", "host"]),
    default="none",
    help="A network of its own with loopback only, or the host's. [default: none]",
)
@click.option("--hostname", metavar="NAME")
@click.option("--add-host", "hosts", multiple=True, metavar="HOST:IP")
@click.option("--shm-size", metavar="SIZE", help="Of /dev/shm. [default: 64m]")
@click.option("--read-only", is_flag=True, help="The root cannot be written.")
@click.option(
    "--pull",
    type=click.Choice(["always", "missing", "never", "newer"]),
    default="missing",
    show_default=True,
    help="Whether to ask a registry.",
)
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="[default: this machine's]")
@click.option("-i", "--interactive", is_flag=True, help="Accepted: input is always passed on.")
@click.pass_obj
def run_command(root: str, /, **options: Any) -> int:
    """Run COMMAND (or the image's own) in a new container of IMAGE.

    Input, output and signals pass through; the exit status is the command's, or 125, 126, 127
    where it could not be started, as with docker.
    """
    spec = _spec(options)
    try:
        with opened_engine(root) as engine:
            spec = replace(spec, image=_available(engine.store, options))
            return run(engine.store, engine.sandbox, spec)
    except CommandNotFound as error:
        report(error)
        return _NOT_FOUND
    except CommandNotRunnable as error:
        report(error)
        return _NOT_RUNNABLE
    except (ContainerError, ImageError) as error:
        report(error)
        return _NOT_STARTED


def _available(store: Store, options: dict[str, Any]) -> str:
    """The name or ID of the image to run, which is in the store then."""
    name, policy = options["image"], options["pull"]
    if policy == "missing" and options["platform"] is None:
        with suppress(ImageNotFound):
            store.image(name)
            return str(name)
    from builder.commands.registry_options import shown_session
    from builder.fetching import available_image
    from runtime.image.platform import Platform, default_platform, suits

    wanted = Platform.parse(options["platform"]) if options["platform"] else default_platform()
    image = available_image(store, name, wanted, policy, shown_session)
    if options["platform"] and not suits(image.config.platform, wanted):
        raise InvalidContainer(f"{name} is an image for {image.config.platform}, not for {wanted}")
    return str(name) if store.image(name).id == image.id else image.id


def _spec(options: dict[str, Any]) -> ContainerSpec:
    entrypoint = options["entrypoint"]
    return ContainerSpec(
        image=options["image"],
        command=options["command"],
        entrypoint=None if entrypoint is None else ((entrypoint,) if entrypoint else ()),
        env=variables(options["env"], options["env_files"]),
        working_dir=options["workdir"],
        user=options["user"],
        hostname=options["hostname"],
        network=options["network"],
        extra_hosts=tuple(host_address(text) for text in options["hosts"]),
        read_only=options["read_only"],
        shm_size=size_in_bytes(options["shm_size"], "--shm-size"),
        remove=options["remove"],
    )


@click.command("ps", short_help="List containers.")
@click.option("-a", "--all", "all_", is_flag=True, help="Those that have ended, too.")
@click.option("-q", "--quiet", is_flag=True, help="IDs only.")
@click.option("--no-trunc", is_flag=True, help="Whole IDs and commands.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table")
@click.pass_obj
def ps_command(root: str, all_: bool, quiet: bool, no_trunc: bool, form: str) -> int:
    """List running containers, or all."""
    with opened_store(root) as store:
        found = list_containers(store.root)
    shown = [c for c in found if all_ or c.status == "running"]
    rows = [_row(container, no_trunc=no_trunc) for container in shown]
    if quiet:
        click.echo("".join(row["ID"] + "\n" for row in rows), nl=False)
    elif form == "json":
        click.echo("".join(json.dumps(row) + "\n" for row in rows), nl=False)
    else:
        heads = {"ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND"}
        heads |= {"CreatedAt": "CREATED", "Status": "STATUS"}
        click.echo(table(list(heads.values()), [[row[key] for key in heads] for row in rows]))
    return 0


def _row(container: Container, *, no_trunc: bool) -> dict[str, str]:
    words = shlex.join(container.command)
    return {
        "ID": container.id if no_trunc else container.id[:_SHORT],
        "Image": container.image,
        "Command": f'"{words if no_trunc or len(words) <= 20 else words[:19] + "…"}"',
        "CreatedAt": ago(time.time() - container.created),
        "Status": _status(container),
    }


def _status(container: Container) -> str:
    """`Up 3 minutes`, `Exited (1) 2 hours ago`, as docker says it."""
    if container.status == "running":
        return "Up " + ago(time.time() - container.created).removesuffix(" ago")
    if container.status == "exited":
        known = "unknown" if container.exit_status is None else str(container.exit_status)
        since = f" {ago(time.time() - container.finished)}" if container.finished else ""
        return f"Exited ({known}){since}"
    return container.status.capitalize()


@click.command("rm", short_help="Remove containers.")
@click.argument("names", nargs=-1, required=True)
@click.option("-f", "--force", is_flag=True, help="Kill it if it is running.")
@click.pass_obj
def rm_command(root: str, names: tuple[str, ...], force: bool) -> int:
    """Remove containers, with what they changed in their root."""
    with opened_store(root) as store:
        for name in names:
            click.echo(remove_container(store, name, force=force))
    return 0
