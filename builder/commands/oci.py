"""`lamina oci`: lamina's sandbox as an OCI runtime, for engines such as podman."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import click

from builder.errors import OptionError
from runtime.containers.signals import parse_signal
from runtime.errors import ContainerError

_OPTIONS = {"help_option_names": ["-h", "--help"]}


@click.group("oci", short_help="Run bundles, as crun and runc do.", context_settings=_OPTIONS)
@click.option("--root", "state_root", metavar="DIRECTORY",
              help="Where containers are recorded. [default: /run/lamina/oci, or below"
              " $XDG_RUNTIME_DIR]")  # fmt: skip
@click.option("--log", metavar="FILE", help="Where errors are written, too.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text")
@click.option("--debug", is_flag=True, help="Accepted: errors say what they know.")
@click.option("--systemd-cgroup", is_flag=True,
              help="cgroupsPath has systemd's form. Groups are made without systemd.")  # fmt: skip
@click.option("--cgroup-manager", type=click.Choice(["cgroupfs", "systemd", "disabled"]),
              help="As for crun.")  # fmt: skip
@click.option("--rootless", metavar="true|false|auto", help="Accepted: found out.")
@click.pass_context
def oci_command(
    ctx: click.Context,
    state_root: str | None,
    log: str | None,
    log_format: str,
    debug: bool,
    systemd_cgroup: bool,
    cgroup_manager: str | None,
    rootless: str | None,
) -> None:
    """Run containers of bundles: a root and a config.json that others have written.

    The verbs and options are those of crun and runc, so that podman can use it:
    `podman --runtime PROGRAM`, where PROGRAM is a script with `exec lamina oci "$@"`.
    """
    from runtime.oci.state import default_state_root
    from runtime.sandbox.privilege import acquire

    if os.geteuid() != 0:
        acquire()
    ctx.obj = _Runtime(state_root or default_state_root(), log, log_format == "json")


class _Runtime:
    """What all verbs share."""

    def __init__(self, root: str, log: str | None, as_json: bool) -> None:
        self.root = root
        self._log = log
        self._as_json = as_json

    def warn(self, text: str) -> None:
        click.echo(f"warning: {text}", err=True)
        self._write("warning", text)

    def doing(self, work: Callable[[], int | None]) -> int:
        """Do something; what fails goes to the log, too."""
        try:
            return work() or 0
        except (ContainerError, OSError) as error:
            self._write("error", str(error))
            raise

    def _write(self, level: str, text: str) -> None:
        if self._log is None:
            return
        line = json.dumps({"level": level, "msg": text}) if self._as_json else f"{level}: {text}"
        with open(self._log, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")


_bundle = click.option("-b", "--bundle", default=".", metavar="DIRECTORY", help="[default: .]")
_pid_file = click.option("--pid-file", metavar="FILE", help="Write its process ID there.")
_console = click.option("--console-socket", metavar="SOCKET",
                        help="Who is to have the other side of its terminal.")  # fmt: skip
_preserve = click.option("--preserve-fds", type=int, default=0, help="Only 0 is supported.")
_id = click.argument("container_id", metavar="ID")


@oci_command.command("create", context_settings=_OPTIONS)
@_bundle
@_pid_file
@_console
@_preserve
@click.option("--no-pivot", is_flag=True, hidden=True)
@click.option("--no-new-keyring", is_flag=True, help="Accepted: there never is one.")
@_id
@click.pass_obj
def create_command(
    runtime: _Runtime,
    bundle: str,
    pid_file: str | None,
    console_socket: str | None,
    preserve_fds: int,
    no_pivot: bool,
    no_new_keyring: bool,
    container_id: str,
) -> int:
    """Make the container of a bundle; its command waits for `start`."""
    from runtime.oci.lifecycle import create

    _check(preserve_fds, no_pivot)

    def work() -> None:
        create(
            runtime.root,
            container_id,
            os.path.abspath(bundle),
            warn=runtime.warn,
            pid_file=pid_file,
            on_terminal=_sender(console_socket),
        )

    return runtime.doing(work)


@oci_command.command("start", context_settings=_OPTIONS)
@_id
@click.pass_obj
def start_command(runtime: _Runtime, container_id: str) -> int:
    """Have the command of a container that was made run."""
    from runtime.oci.lifecycle import start

    return runtime.doing(lambda: start(runtime.root, container_id, warn=runtime.warn))


@oci_command.command("run", context_settings=_OPTIONS)
@_bundle
@_pid_file
@_console
@_preserve
@click.option("-d", "--detach", is_flag=True, help="Do not wait for its end.")
@click.option("--keep", is_flag=True, help="Do not delete it at its end.")
@_id
@click.pass_obj
def run_command(
    runtime: _Runtime,
    bundle: str,
    pid_file: str | None,
    console_socket: str | None,
    preserve_fds: int,
    detach: bool,
    keep: bool,
    container_id: str,
) -> int:
    """create, start, and unless detached wait and delete; the exit status is the command's."""
    from runtime.oci.lifecycle import create, delete, start, wait_for_child

    _check(preserve_fds, False)

    def work() -> int:
        container = create(
            runtime.root,
            container_id,
            os.path.abspath(bundle),
            warn=runtime.warn,
            pid_file=pid_file,
            on_terminal=_sender(console_socket),
        )
        try:
            start(runtime.root, container_id, warn=runtime.warn)
        except ContainerError:
            delete(runtime.root, container_id, force=True, warn=runtime.warn)
            raise
        if detach:
            return 0
        status = wait_for_child(container)
        if not keep:
            delete(runtime.root, container_id, force=True, warn=runtime.warn)
        return status

    return runtime.doing(work)


@oci_command.command("state", context_settings=_OPTIONS)
@_id
@click.pass_obj
def state_command(runtime: _Runtime, container_id: str) -> int:
    """Print what a container is and does, as JSON."""
    from runtime.oci.lifecycle import status_of
    from runtime.oci.state import read

    def work() -> None:
        container = read(runtime.root, container_id)
        document = container.document() | {"status": status_of(container)}
        click.echo(json.dumps(document, indent=2))

    return runtime.doing(work)


@oci_command.command("kill", context_settings=_OPTIONS)
@click.option("-a", "--all", "everything", is_flag=True, help="All of its processes.")
@_id
@click.argument("signal", default="TERM")
@click.pass_obj
def kill_command(runtime: _Runtime, everything: bool, container_id: str, signal: str) -> int:
    """Send a signal to a container's first process."""
    from runtime.oci.lifecycle import kill

    number = parse_signal(signal)
    return runtime.doing(lambda: kill(runtime.root, container_id, number, everything=everything))


@oci_command.command("delete", context_settings=_OPTIONS)
@click.option("-f", "--force", is_flag=True, help="Kill it first, and do not mind if it is gone.")
@_id
@click.pass_obj
def delete_command(runtime: _Runtime, force: bool, container_id: str) -> int:
    """Remove what is left of a container that has ended."""
    from runtime.oci.lifecycle import delete
    from runtime.oci.state import names

    if force and container_id not in names(runtime.root):
        return 0
    return runtime.doing(lambda: delete(runtime.root, container_id, force=force, warn=runtime.warn))


@oci_command.command("pause", context_settings=_OPTIONS)
@_id
@click.pass_obj
def pause_command(runtime: _Runtime, container_id: str) -> int:
    """Stop every process of a container, until `resume`."""
    from runtime.oci.lifecycle import freeze

    return runtime.doing(lambda: freeze(runtime.root, container_id, frozen=True))


@oci_command.command("resume", context_settings=_OPTIONS)
@_id
@click.pass_obj
def resume_command(runtime: _Runtime, container_id: str) -> int:
    """Let the processes of a paused container go on."""
    from runtime.oci.lifecycle import freeze

    return runtime.doing(lambda: freeze(runtime.root, container_id, frozen=False))


@oci_command.command("list", context_settings=_OPTIONS)
@click.option("-f", "--format", "form", type=click.Choice(["table", "json"]), default="table")
@click.option("-q", "--quiet", is_flag=True, help="IDs only.")
@click.pass_obj
def list_command(runtime: _Runtime, form: str, quiet: bool) -> int:
    """List containers."""
    from runtime.oci.state import names, read

    documents = [read(runtime.root, name).document() for name in names(runtime.root)]
    if form == "json":
        click.echo(json.dumps(documents))
        return 0
    if not quiet:
        click.echo(f"{'ID':<24} {'PID':<10} {'STATUS':<10} BUNDLE")
    for each in documents:
        line = f"{each['id']:<24} {each['pid']:<10} {each['status']:<10} {each['bundle']}"
        click.echo(each["id"] if quiet else line)
    return 0


@oci_command.command("exec", context_settings=_OPTIONS | {"allow_interspersed_args": False})
@click.option("-p", "--process", "process_file", metavar="FILE", help="As in a config.json.")
@_pid_file
@_console
@_preserve
@click.option("-d", "--detach", is_flag=True, help="Do not wait for its end.")
@click.option("--cwd", default="/", metavar="DIRECTORY")
@click.option("-e", "--env", "env", multiple=True, metavar="NAME=VALUE")
@click.option("-u", "--user", default="0:0", metavar="UID[:GID]")
@click.option("-t", "--tty", is_flag=True, help="With a terminal, for --console-socket.")
@_id
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def exec_command(
    runtime: _Runtime,
    process_file: str | None,
    pid_file: str | None,
    console_socket: str | None,
    preserve_fds: int,
    detach: bool,
    cwd: str,
    env: tuple[str, ...],
    user: str,
    tty: bool,
    container_id: str,
    command: tuple[str, ...],
) -> int:
    """Run a further command in a container that runs."""
    from runtime.oci.lifecycle import execute, wait_for

    _check(preserve_fds, False)
    process = _process(process_file) if process_file else _words(command, cwd, env, user)
    if tty:
        process["terminal"] = True
    if process.get("terminal") and console_socket is None:
        raise OptionError("a terminal needs --console-socket: somebody must have its other side")

    def work() -> int:
        sender = _sender(console_socket)
        pid, pidfd = execute(runtime.root, container_id, process, on_terminal=sender)
        if pid_file is not None:
            with open(pid_file, "w", encoding="ascii") as file:
                file.write(str(pid))
        return 0 if detach else wait_for(pidfd)

    return runtime.doing(work)


@oci_command.command("features", context_settings=_OPTIONS)
def features_command() -> int:
    """Print what this runtime can do, as JSON."""
    from runtime.oci.features import features

    click.echo(json.dumps(features(), indent=2))
    return 0


def _check(preserve_fds: int, no_pivot: bool) -> None:
    if preserve_fds:
        raise OptionError("--preserve-fds is not supported: no descriptor goes into a container")
    if no_pivot:
        raise OptionError("--no-pivot is not supported: the host's files would stay within reach")


def _sender(path: str | None) -> Callable[[int], None] | None:
    """What sends a terminal's other side over a socket."""
    if path is None:
        return None

    def send(fd: int) -> None:
        import socket

        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(path)
            socket.send_fds(connection, [b"/dev/ptmx"], [fd])

    return send


def _process(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            process = json.load(file)
    except (OSError, ValueError) as error:
        raise OptionError(f"--process {path}: {error}") from error
    if not isinstance(process, dict):
        raise OptionError(f"--process {path}: it is no object")
    return process


def _words(command: tuple[str, ...], cwd: str, env: tuple[str, ...], user: str) -> dict[str, Any]:
    uid, _, gid = user.partition(":")
    if not (uid.isdigit() and (gid or "0").isdigit()):
        raise OptionError(f"invalid --user {user!r}", hint="numbers: UID or UID:GID")
    return {
        "args": list(command),
        "cwd": cwd,
        "env": list(env),
        "user": {"uid": int(uid), "gid": int(gid or 0)},
        "terminal": False,
    }
