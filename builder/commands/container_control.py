"""`lamina stop`, `restart`, `kill`, `wait`, `pause`, `unpause`, `rename`, `rm`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click

from builder.commands.container_start import start_one
from builder.commands.each import each
from builder.commands.failures import report
from builder.commands.opened import opened_store
from runtime.containers import control
from runtime.containers.folder import find_container
from runtime.containers.prepare import event
from runtime.containers.record import Container
from runtime.containers.signals import parse_signal
from runtime.errors import ContainerError, InvalidContainer

_UNKNOWN_STATUS = 255
"""What docker gives for a container whose end nobody saw."""


@click.command("stop", short_help="Have containers end.")
@click.argument("names", nargs=-1, required=True)
@click.option("-t", "--time", "--timeout", "seconds", type=int, metavar="SECONDS",
              help="After which they are killed; -1 is never. [default: 10]")  # fmt: skip
@click.option("-s", "--signal", "signal_", metavar="SIGNAL", help="[default: the container's]")
@click.pass_obj
def stop_command(
    root: str, /, names: tuple[str, ...], seconds: int | None, signal_: str | None
) -> int:
    """Send containers their stop signal, and after a time SIGKILL."""
    number = parse_signal(signal_) if signal_ is not None else None
    return each(
        names, lambda name: control.stop(find_container(root, name), seconds=seconds, number=number)
    )


@click.command("restart", short_help="Stop containers, and start them again.")
@click.argument("names", nargs=-1, required=True)
@click.option("-t", "--time", "--timeout", "seconds", type=int, metavar="SECONDS",
              help="After which they are killed; -1 is never. [default: 10]")  # fmt: skip
@click.option("-s", "--signal", "signal_", metavar="SIGNAL", help="[default: the container's]")
@click.pass_obj
def restart_command(
    root: str, /, names: tuple[str, ...], seconds: int | None, signal_: str | None
) -> int:
    """Stop containers if they run, and start them."""
    number = parse_signal(signal_) if signal_ is not None else None

    stopped: dict[str, Container] = {}

    def stop(name: str) -> None:
        container = find_container(root, name)
        if container.spec.remove and container.is_active:
            raise InvalidContainer(
                f"{name} is removed when it stops (--rm), so it cannot be restarted"
            )
        control.stop(container, seconds=seconds, number=number)
        stopped[name] = container

    def start(name: str) -> None:
        if name in stopped:
            start_one(root, stopped[name].id)
            event(stopped[name], "restart")
            click.echo(name)

    # All are stopped before the first start: that may enter a namespace from which others could
    # not be sent a signal.
    return max(each(names, stop, quiet=True), each(names, start, quiet=True))


@click.command("kill", short_help="Send containers a signal.")
@click.argument("names", nargs=-1, required=True)
@click.option("-s", "--signal", "signal_", metavar="SIGNAL", default="KILL",
              help="[default: KILL]")  # fmt: skip
@click.pass_obj
def kill_command(root: str, /, names: tuple[str, ...], signal_: str) -> int:
    """Send the first process of containers a signal."""
    number = parse_signal(signal_)
    return each(names, lambda name: control.send(find_container(root, name), number))


@click.command("wait", short_help="Wait until containers end; print their exit statuses.")
@click.argument("names", nargs=-1, required=True)
@click.pass_obj
def wait_command(root: str, /, names: tuple[str, ...]) -> int:
    """Wait until each container has ended, and print its exit status."""
    status = 0
    for name in names:
        try:
            code = control.wait(find_container(root, name))
        except ContainerError as error:
            status = report(error)
        else:
            click.echo(_UNKNOWN_STATUS if code is None else code)
    return status


@click.command("pause", short_help="Freeze all processes of containers.")
@click.argument("names", nargs=-1, required=True)
@click.pass_obj
def pause_command(root: str, /, names: tuple[str, ...]) -> int:
    """Stop all processes of containers where they are, without their knowing."""
    from runtime.containers.freezer import pause

    return each(names, lambda name: _acted(find_container(root, name), pause, "pause"))


@click.command("unpause", short_help="Let paused containers go on.")
@click.argument("names", nargs=-1, required=True)
@click.pass_obj
def unpause_command(root: str, /, names: tuple[str, ...]) -> int:
    """Let the processes of paused containers go on."""
    from runtime.containers.freezer import unpause

    return each(names, lambda name: _acted(find_container(root, name), unpause, "unpause"))


def _acted(container: Container, act: Callable[[Container], Any], action: str) -> None:
    act(container)
    event(container, action)


@click.command("rename", short_help="Give a container another name.")
@click.argument("name")
@click.argument("new")
@click.pass_obj
def rename_command(root: str, /, name: str, new: str) -> int:
    """Call a container NEW from now on."""
    control.rename(root, name, new)
    return 0


@click.command("rm", short_help="Remove containers.")
@click.argument("names", nargs=-1, required=True)
@click.option("-f", "--force", is_flag=True, help="Kill them if they run; missing ones are fine.")
@click.option("-v", "--volumes", is_flag=True, help="With their anonymous volumes.")
@click.pass_obj
def rm_command(root: str, /, names: tuple[str, ...], force: bool, volumes: bool) -> int:
    """Remove containers, with what they changed in their root."""
    from runtime.containers.remove import kill_all, remove_container, sweep_containers
    from runtime.errors import ContainerNotFound

    if force:
        # Before a namespace is entered: from there not every process could be killed.
        for name in names:
            with suppress(ContainerNotFound):
                kill_all(find_container(root, name))
    with opened_store(root) as store:

        def act(name: str) -> None:
            try:
                remove_container(store, name, force=force, volumes=volumes)
            except ContainerNotFound:
                if not force:
                    raise
                # Of one that was killed while it was made there may still be a name.
                sweep_containers(store)

        return each(names, act)
