"""What `run` and `create` have in common: their options, and the spec these make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from builder.commands.container_device_options import device_options, devices_of
from builder.commands.container_limits_options import limits_of, limits_options
from builder.commands.container_mounts import mounts_of
from builder.commands.container_network_options import network_of, network_options
from builder.commands.container_runtime_options import runtime_of, runtime_option
from builder.commands.container_security_options import security_of, security_options
from builder.commands.values import (
    host_address,
    key_value,
    labels_of,
    nanoseconds,
    size_in_bytes,
    variables,
)
from builder.errors import OptionError
from runtime.containers.signals import parse_signal
from runtime.containers.spec import ContainerSpec, LogOptions
from runtime.containers.surroundings import default_mode
from runtime.image.model import Healthcheck
from runtime.network.model import HOST_GATEWAY

Decorated = Callable[..., Any]

_LOG_DRIVERS = ("k8s-file", "json-file", "local")
_POLICIES = ("no", "on-failure", "always", "unless-stopped")


def container_options(command: Decorated) -> Decorated:
    """What a container is to be."""
    for option in reversed((
        click.option("--name", metavar="NAME", help="What it is called. [default: made up]"),
        click.option("--rm", "remove", is_flag=True, help="Leave nothing behind at the end."),
        click.option("-e", "--env", "env", multiple=True, metavar="NAME[=VALUE]"),
        click.option("--env-file", "env_files", multiple=True, metavar="FILE",
                     help="NAME=VALUE lines."),
        click.option("-w", "--workdir", metavar="DIRECTORY", help="Where the command starts."),
        click.option("-u", "--user", metavar="USER[:GROUP]"),
        click.option("--entrypoint", metavar="COMMAND", help="Instead of the image's; '' is none."),
        click.option("-h", "--hostname", metavar="NAME"),
        click.option("--add-host", "hosts", multiple=True, metavar="HOST:IP"),
        click.option("--shm-size", metavar="SIZE", help="Of /dev/shm. [default: 64m]"),
        click.option("--read-only", is_flag=True, help="The root cannot be written."),
        click.option("-l", "--label", "labels", multiple=True, metavar="KEY[=VALUE]"),
        click.option("--label-file", "label_files", multiple=True, metavar="FILE"),
        click.option("-i", "--interactive", is_flag=True, help="Pass input on."),
        click.option("-t", "--tty", is_flag=True, help="Give it a terminal."),
        click.option("--init", is_flag=True, help="A first process that reaps, above the command."),
        click.option("--restart", metavar="no|on-failure[:N]|always|unless-stopped", default="no",
                     help="When to start it again. [default: no]"),
        click.option("--stop-signal", metavar="SIGNAL", help="[default: the image's, or SIGTERM]"),
        click.option("--stop-timeout", type=int, metavar="SECONDS",
                     help="After which `stop` kills it. [default: 10]"),
        click.option("--log-driver", metavar="k8s-file|none",
                     help="Whether to keep a log. [default: k8s-file]"),
        click.option("--log-opt", "log_options", multiple=True, metavar="max-size=…|max-file=…"),
        click.option("--health-cmd", metavar="COMMAND", help="Ask so whether it is well."),
        click.option("--health-interval", metavar="DURATION", help="[default: 30s]"),
        click.option("--health-timeout", metavar="DURATION", help="[default: 30s]"),
        click.option("--health-start-period", metavar="DURATION", help="[default: 0s]"),
        click.option("--health-start-interval", metavar="DURATION", help="[default: 5s]"),
        click.option("--health-retries", type=click.IntRange(0), metavar="N", help="[default: 3]"),
        click.option("--no-healthcheck", is_flag=True, help="Not even if the image has one."),
        click.option("--cidfile", metavar="FILE", help="Write its ID to a new file."),
    )):  # fmt: skip
        command = option(command)
    command = runtime_option(command)
    return device_options(limits_options(network_options(security_options(command))))


def spec_of(options: dict[str, Any], *, detached: bool) -> ContainerSpec:
    """The spec that options make; `OptionError`."""
    entrypoint = options["entrypoint"]
    restart, restarts = _restart(options["restart"])
    if restart != "no" and options["remove"]:
        raise OptionError("conflicting options: --restart and --rm")
    stop_signal = options["stop_signal"]
    mounted = mounts_of(options)
    return ContainerSpec(
        image=options["image"],
        name=options["name"],
        command=options["command"],
        entrypoint=None if entrypoint is None else ((entrypoint,) if entrypoint else ()),
        env=variables(options["env"], options["env_files"]),
        working_dir=options["workdir"],
        user=options["user"],
        hostname=options["hostname"],
        network=network_of(options, default=default_mode()),
        extra_hosts=tuple(host_address(text, HOST_GATEWAY) for text in options["hosts"]),
        read_only=options["read_only"],
        shm_size=size_in_bytes(options["shm_size"], "--shm-size"),
        mounts=mounted.mounts,
        volumes=mounted.volumes,
        volumes_from=mounted.volumes_from,
        labels=labels_of(options["labels"], options["label_files"]),
        terminal=options["tty"],
        init=options["init"],
        open_stdin=options["interactive"],
        stdin_once=options["interactive"] and not detached,
        stop_signal=parse_signal(stop_signal) if stop_signal else None,
        stop_seconds=options["stop_timeout"],
        health=_health(options),
        restart=restart,  # type: ignore[arg-type]  # one of _POLICIES
        restarts=restarts,
        log=_log(options["log_driver"], options["log_options"]),
        runtime=runtime_of(options),
        remove=options["remove"],
        **limits_of(options),
        **security_of(options),
        **devices_of(options),
    )


def _restart(text: str) -> tuple[str, int]:
    policy, colon, count = text.partition(":")
    if policy not in _POLICIES or (colon and (policy != "on-failure" or not count.isdigit())):
        raise OptionError(f"invalid --restart {text!r}", hint=f"{', '.join(_POLICIES)}[:N]")
    return policy, int(count or 0)


def _log(driver: str | None, options: tuple[str, ...]) -> LogOptions:
    if driver == "none":
        return LogOptions(kept=False)
    if driver is not None and driver not in _LOG_DRIVERS:
        raise OptionError(
            f"--log-driver {driver} is not supported", hint=", ".join((*_LOG_DRIVERS, "none"))
        )
    max_size, max_files = None, 1
    for text in options:
        name, value = key_value(text, "--log-opt")
        if name == "max-size":
            max_size = size_in_bytes(value, "--log-opt max-size")
        elif name == "max-file" and value.isdigit() and int(value) > 0:
            max_files = int(value)
        else:
            raise OptionError(f"invalid --log-opt {text!r}", hint="max-size=SIZE, max-file=N")
    if max_files > 1 and max_size is None:
        raise OptionError("--log-opt max-file has no effect without max-size")
    return LogOptions(max_size=max_size, max_files=max_files)


def _health(options: dict[str, Any]) -> Healthcheck | None:
    command = options["health_cmd"]
    health = Healthcheck(
        test=("CMD-SHELL", command) if command else (),
        interval_ns=nanoseconds(options["health_interval"], "--health-interval"),
        timeout_ns=nanoseconds(options["health_timeout"], "--health-timeout"),
        start_period_ns=nanoseconds(options["health_start_period"], "--health-start-period"),
        start_interval_ns=nanoseconds(options["health_start_interval"], "--health-start-interval"),
        retries=options["health_retries"] or 0,
    )
    given = health != Healthcheck()
    if options["no_healthcheck"]:
        if given:
            raise OptionError("--no-healthcheck conflicts with --health-* options")
        return Healthcheck(test=("NONE",))
    return health if given else None
