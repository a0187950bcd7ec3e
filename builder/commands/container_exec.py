"""`lamina exec`: a command in a container that runs."""

from __future__ import annotations

import os
from collections.abc import Mapping

import click

from builder.commands.failures import report
from builder.commands.refusals import Missing, refusing
from builder.commands.relay import Detached, terminal_size
from builder.commands.sessions import Shown, keys_of, need_terminal, sit
from builder.commands.values import variables
from builder.errors import OptionError
from runtime.containers.execute import ExecSpec, Target, entered
from runtime.containers.folder import find_container
from runtime.containers.forwarding import Forwarding
from runtime.containers.prepare import event
from runtime.containers.terminal_side import TerminalSide
from runtime.errors import CommandNotFound, ContainerError

EXEC_REFUSED: Mapping[str, Missing] = {}


@click.command(
    "exec",
    cls=refusing(EXEC_REFUSED),
    short_help="Run a command in a container that runs.",
    context_settings={"allow_interspersed_args": False},
)
@click.argument("name")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("-d", "--detach", is_flag=True, help="In the background.")
@click.option("-i", "--interactive", is_flag=True, help="Pass input on.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal.")
@click.option("-e", "--env", "env", multiple=True, metavar="NAME[=VALUE]")
@click.option("--env-file", "env_files", multiple=True, metavar="FILE", help="NAME=VALUE lines.")
@click.option("-w", "--workdir", metavar="DIRECTORY", help="Where the command starts.")
@click.option("-u", "--user", metavar="USER[:GROUP]")
@click.option("--privileged", is_flag=True, help="With every capability.")
@click.option("--detach-keys", metavar="KEYS", help="[default: ctrl-p,ctrl-q]")
@click.pass_obj
def exec_command(
    root: str,
    /,
    name: str,
    command: tuple[str, ...],
    detach: bool,
    interactive: bool,
    tty: bool,
    env: tuple[str, ...],
    env_files: tuple[str, ...],
    workdir: str | None,
    user: str | None,
    privileged: bool,
    detach_keys: str | None,
) -> int:
    """Run COMMAND in the container NAME, with its environment and under its restrictions.

    The exit status is the command's, or 126, 127 where it could not be started.
    """
    keys = keys_of(detach_keys)
    if detach and (tty or interactive):
        raise OptionError("with -d nobody holds a terminal or gives input: leave out -i and -t")
    if not detach:
        need_terminal(interactive=interactive, terminal=tty)
    wanted = ExecSpec(
        command=command,
        env=variables(env, env_files),
        working_dir=workdir,
        user=user,
        privileged=privileged,
        terminal=tty,
        terminal_size=terminal_size() if tty and not detach else (0, 0),
    )
    container = find_container(root, name)
    with entered(container) as target:
        event(container, f"exec_start: {' '.join(command)}")
        try:
            if detach:
                _start_apart(target, wanted)
                return 0
            if tty:
                return _in_terminal(target, wanted, keys, interactive=interactive)
            return _direct(target, wanted, interactive=interactive)
        except ContainerError as error:
            report(error)
            return 127 if isinstance(error, CommandNotFound) else 126


def _direct(target: Target, wanted: ExecSpec, *, interactive: bool) -> int:
    """The command has our own streams; signals are passed on to it."""
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    with Forwarding() as forwarding:
        return forwarding.attend(target.start(wanted, 0 if interactive else null, 1, 2))


def _in_terminal(target: Target, wanted: ExecSpec, keys: bytes, *, interactive: bool) -> int:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    process = target.start(wanted, null, null, null)
    assert process.terminal is not None
    side = TerminalSide(process, process.terminal)
    try:
        shown = Shown(stdin=interactive)
        status = sit(side, shown=shown, terminal=True, keys=keys, on_signal=process.kill)
    except Detached:
        return 0
    finally:
        side.close()
    assert status is not None
    return status


def _start_apart(target: Target, wanted: ExecSpec) -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    target.start(wanted, null, null, null)
