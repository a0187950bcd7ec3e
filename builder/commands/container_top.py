"""`lamina top`: the processes of a container."""

from __future__ import annotations

import os
import shutil

import click

from builder.commands.tables import table
from builder.errors import OptionError
from runtime.containers.folder import find_container
from runtime.containers.processes import processes_of
from runtime.errors import NotRunning, SetupFailed

_DEFAULT = ("-ef",)


@click.command(
    "top",
    short_help="Show the processes of a container.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("name")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def top_command(root: str, /, name: str, options: tuple[str, ...]) -> int:
    """Show the processes of the container NAME, as ps(1) of this machine shows them.

    OPTIONS are ps's own, such as `-o pid,user,args`; `pid` must be among its columns. The IDs
    are those that the machine knows the processes by. [default: -ef]
    """
    container = find_container(root, name)
    if not container.is_running:
        raise NotRunning(container.id)
    lines = _ps(options or _DEFAULT)
    heads = lines[0].split()
    if "PID" not in heads:
        raise OptionError(f"couldn't find PID field in ps output: {' '.join(options)}")
    place = heads.index("PID")
    ours = set(map(str, processes_of(container)))
    rows = []
    for line in lines[1:]:
        # The last column is the command, which has blanks.
        words = line.split(None, len(heads) - 1)
        if len(words) > place and words[place] in ours:
            rows.append(words + [""] * (len(heads) - len(words)))
    click.echo(table(heads, rows))
    return 0


def _ps(options: tuple[str, ...]) -> list[str]:
    """What `ps` says."""
    import subprocess

    path = shutil.which("ps", path=f"{os.environ.get('PATH', '')}:/usr/bin:/bin")
    if path is None:
        raise SetupFailed("run ps", 0, "it is not installed", hint="install the package procps")
    # Wide: it would cut lines to the terminal's width, or to 80.
    environment = {**os.environ, "COLUMNS": "100000", "LC_ALL": "C.UTF-8"}
    ended = subprocess.run(
        [path, *options], capture_output=True, encoding="utf-8", errors="replace", env=environment
    )
    if ended.returncode != 0 or not ended.stdout.strip():
        said = ended.stderr.strip().split("\n")[0] or f"status {ended.returncode}"
        raise OptionError(f"ps {' '.join(options)}: {said}")
    return ended.stdout.splitlines()
