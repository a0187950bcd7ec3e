"""`lamina run` and `create`: new containers."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Any

import click

from builder.call_words import run_words
from builder.commands.container_image import available, image_options
from builder.commands.container_limits import say_if_out_of_memory, say_unenforced
from builder.commands.container_mounts import mount_options
from builder.commands.container_options import container_options, spec_of
from builder.commands.container_refused import RUN_REFUSED
from builder.commands.failures import not_started, say
from builder.commands.opened import opened_engine, opened_monitor, opened_store
from builder.commands.refusals import refusing
from builder.commands.relay import terminal_size
from builder.commands.sessions import Shown, keys_of, need_terminal, new_session
from builder.errors import BuildError, OptionError
from builder.quick import key_of
from runtime.containers.spec import ContainerSpec
from runtime.containers.surroundings import needs_monitor
from runtime.errors import ContainerError
from runtime.image.errors import ImageError

_KILLED = 137


@click.command(
    "run",
    cls=refusing(RUN_REFUSED),
    short_help="Run a command in a new container.",
    context_settings={"allow_interspersed_args": False, "help_option_names": ["--help"]},
)
@click.argument("image")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@container_options
@mount_options
@image_options
@click.option("-d", "--detach", is_flag=True, help="In the background; print its ID.")
@click.option("-a", "--attach", "streams", multiple=True, metavar="stdin|stdout|stderr",
              help="Only these. [default: stdout and stderr, with -i stdin]")  # fmt: skip
@click.option("--sig-proxy/--no-sig-proxy", "proxy", default=True, help="Pass signals on.")
@click.option("--detach-keys", metavar="KEYS", help="[default: ctrl-p,ctrl-q]")
@click.pass_obj
def run_command(
    root: str,
    /,
    detach: bool,
    streams: tuple[str, ...],
    proxy: bool,
    detach_keys: str | None,
    **options: Any,
) -> int:
    """Run COMMAND (or the image's own) in a new container of IMAGE.

    Output and signals pass through; with -i input, too. The exit status is the command's, or
    125, 126, 127 where it could not be started, as with docker.
    """
    spec = spec_of(options, detached=detach)
    id_file = _new_id_file(options["cidfile"])
    keys = keys_of(detach_keys)
    if streams and detach:
        raise OptionError("conflicting options: --attach and --detach")
    shown = _attached(streams, spec)
    if not detach:
        need_terminal(interactive=spec.open_stdin, terminal=spec.terminal)
    try:
        if detach:
            return _run_detached(root, spec, options, id_file)
        monitored = needs_monitor(spec) or spec.terminal or streams or id_file or not proxy
        direct = spec.remove and not monitored
        status = _run_direct(root, spec, options) if direct else None
        if status is None:
            status = _run_attached(root, spec, options, id_file, shown, keys, proxy=proxy)
        return status
    except (BuildError, ContainerError, ImageError) as error:
        return not_started(error)


@click.command(
    "create",
    cls=refusing(RUN_REFUSED),
    short_help="Make a container without starting it.",
    context_settings={"allow_interspersed_args": False, "help_option_names": ["--help"]},
)
@click.argument("image")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@container_options
@mount_options
@image_options
@click.pass_obj
def create_command(root: str, /, **options: Any) -> int:
    """Make a container of IMAGE; `lamina start` runs its command. Prints its ID."""
    from runtime.containers.start import create

    spec = spec_of(options, detached=False)
    id_file = _new_id_file(options["cidfile"])
    say_unenforced(spec)
    with opened_store(root) as store:
        container = create(store, replace(spec, image=available(store, options)))
    _write_id(id_file, container.id)
    click.echo(container.id)
    return 0


def _run_direct(root: str, spec: ContainerSpec, options: dict[str, Any]) -> int | None:
    """Run it without a monitor; `None` if it needs one, to ask whether it is well."""
    from runtime.containers.foreground import run

    if spec.health is not None and spec.health.test != ("NONE",):
        return None
    stdin = 0 if spec.open_stdin else os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    words = run_words(sys.argv[1:])
    key = key_of(words[1]) if words is not None else None  # While we are who we are.
    with opened_engine(root) as engine:
        say_unenforced(spec)
        spec = replace(spec, image=available(engine.store, options))
        if spec.health is None and engine.store.image(spec.image).config.config.healthcheck:
            return None
        return run(engine.store, engine.sandbox, spec, stdin_fd=stdin, say=say, key=key)


def _run_detached(
    root: str, spec: ContainerSpec, options: dict[str, Any], id_file: str | None
) -> int:
    from runtime.containers.start import run_detached

    with opened_monitor(root, spec) as (store, monitor):
        say_unenforced(spec)
        spec = replace(spec, image=available(store, options))
        container = run_detached(store, monitor, spec)
    _write_id(id_file, container.id)
    click.echo(container.id)
    return 0


def _run_attached(
    root: str,
    spec: ContainerSpec,
    options: dict[str, Any],
    id_file: str | None,
    shown: Shown,
    keys: bytes,
    *,
    proxy: bool,
) -> int:
    from runtime.containers.start import run_detached

    with new_session(shown, terminal=spec.terminal, keys=keys) as opened:
        with opened_monitor(root, spec) as (store, monitor):
            say_unenforced(spec)
            container = run_detached(
                store,
                monitor,
                replace(spec, image=available(store, options)),
                client_fd=opened.their_fd,
                attached=(shown.stdin, True),
                size=terminal_size() if spec.terminal else (0, 0),
            )
        _write_id(id_file, container.id)
        status = opened.sit(root, container.id, proxy=proxy)
    if status == _KILLED:
        say_if_out_of_memory(root, container.id)
    return status


def _attached(streams: tuple[str, ...], spec: ContainerSpec) -> Shown:
    """Which streams `--attach` means; without it all."""
    wanted = {stream.lower() for stream in streams}
    if unknown := wanted - {"stdin", "stdout", "stderr"}:
        raise OptionError(f"invalid --attach {min(unknown)!r}", hint="stdin, stdout or stderr")
    if not wanted:
        return Shown(stdin=spec.open_stdin)
    if "stdin" in wanted and not spec.open_stdin:
        raise OptionError("--attach stdin needs -i")
    return Shown(stdin="stdin" in wanted, stdout="stdout" in wanted, stderr="stderr" in wanted)


def _new_id_file(path: str | None) -> str | None:
    if path is not None and os.path.lexists(path):
        raise OptionError(f"--cidfile: {path} is there already", hint="remove it, or name another")
    return path


def _write_id(path: str | None, container_id: str) -> None:
    if path is not None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, container_id.encode())
        finally:
            os.close(fd)
