"""The command line: `lamina COMMAND`.

The only place, with `builder.commands`, that prints, exits or reads the environment. Commands
are imported when they are called, so that none pays for another's libraries.

Exit statuses: 0; the command's own for `run`; 1 an operation failed; 2 usage; 125, 126, 127 as
`docker run` (DESIGN §8); 130 and 143 when interrupted or terminated.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from types import FrameType
from typing import Any

import click

from builder.call_words import default_root
from builder.commands.failures import report
from builder.version import installed_version

_COMMANDS = {
    "attach": "builder.commands.container_attach",
    "build": "builder.commands.build",
    "bundle": "builder.commands.bundle",
    "commit": "builder.commands.container_commit",
    "container": "builder.commands.groups",
    "context": "builder.commands.context",
    "cp": "builder.commands.container_copy",
    "create": "builder.commands.container_run",
    "debug": "builder.commands.debug",
    "df": "builder.commands.df",
    "diff": "builder.commands.container_commit",
    "doctor": "builder.commands.doctor",
    "events": "builder.commands.events",
    "exec": "builder.commands.container_exec",
    "explain": "builder.commands.explain",
    "fsck": "builder.commands.fsck",
    "export": "builder.commands.export",
    "history": "builder.commands.images",
    "image": "builder.commands.groups",
    "images": "builder.commands.images",
    "import": "builder.commands.images",
    "inspect": "builder.commands.inspect",
    "kill": "builder.commands.container_control",
    "lint": "builder.commands.lint",
    "load": "builder.commands.load",
    "login": "builder.commands.login",
    "logout": "builder.commands.login",
    "logs": "builder.commands.container_logs",
    "manifest": "builder.commands.manifest",
    "oci": "builder.commands.oci",
    "parse": "builder.commands.parse",
    "pause": "builder.commands.container_control",
    "network": "builder.commands.network",
    "port": "builder.commands.container_port",
    "prune": "builder.commands.prune",
    "ps": "builder.commands.container_list",
    "pull": "builder.commands.pull",
    "push": "builder.commands.push",
    "referrers": "builder.commands.referrers",
    "rename": "builder.commands.container_control",
    "restart": "builder.commands.container_control",
    "rm": "builder.commands.container_control",
    "rmi": "builder.commands.images",
    "run": "builder.commands.container_run",
    "save": "builder.commands.save",
    "serve": "builder.commands.serve",
    "start": "builder.commands.container_start",
    "stats": "builder.commands.container_stats",
    "stop": "builder.commands.container_control",
    "system": "builder.commands.groups",
    "tag": "builder.commands.images",
    "volume": "builder.commands.volume",
    "top": "builder.commands.container_top",
    "unpause": "builder.commands.container_control",
    "update": "builder.commands.container_update",
    "wait": "builder.commands.container_control",
}


class _Commands(click.Group):
    """The commands, each imported from its module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(_COMMANDS[cmd_name])
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"lamina {installed_version()}")
        ctx.exit()


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.option(
    "--root",
    envvar="LAMINA_ROOT",
    metavar="DIRECTORY",
    help="Where images and layers are kept. [default: /var/lib/lamina for root, "
    "~/.local/share/lamina for others]",
)
@click.pass_context
def lamina(ctx: click.Context, root: str | None) -> None:
    """Build container images from Dockerfiles and run them: no daemon, no root needed."""
    ctx.obj = root or default_root()


class Terminated(BaseException):
    """SIGTERM or SIGHUP: unwind as an interrupt does, so that nothing is left behind."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _terminate(number: int, _frame: FrameType | None) -> None:
    raise Terminated(number)


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line and exit with its status."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)
    try:
        status = lamina.main(arguments, prog_name="lamina", standalone_mode=False)
    except click.exceptions.Abort:
        status = 128 + signal.SIGINT
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except Terminated as error:
        status = 128 + error.number
    except BrokenPipeError:
        # Whoever read our output has gone; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 128 + signal.SIGPIPE
    except Exception as error:
        status = signal_behind(error) or report(error)
    sys.exit(status or 0)


def signal_behind(error: BaseException | None) -> int | None:
    """The status for a signal that an error comes of: what was being done may have wrapped it.

    Python before 3.12 makes a `RuntimeError` of all that is raised while a class is being made
    (`__set_name__`), and modules make classes when they are imported.
    """
    while error is not None:
        if isinstance(error, Terminated):
            return 128 + error.number
        if isinstance(error, KeyboardInterrupt):
            return 128 + signal.SIGINT
        error = error.__cause__ or error.__context__
    return None
