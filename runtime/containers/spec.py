"""What a container is to be, as a value: what the caller wants, and what becomes of it together
with its image's config. The rules are Docker's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal

from runtime.cgroups.devices import Rule
from runtime.cgroups.limits import NO_LIMITS, Limits
from runtime.containers.devices import Device
from runtime.containers.security import (
    DEFAULT_SECURITY,
    SecurityOptions,
    security_document,
    security_from_document,
)
from runtime.errors import InvalidContainer
from runtime.image.model import Healthcheck, RuntimeConfig
from runtime.network.model import (
    NO_NETWORK,
    NetworkSpec,
    Protocol,
    network_document,
    network_from_document,
)
from runtime.sandbox.capabilities import DEFAULT_CAPABILITIES
from runtime.sandbox.spec import BindMount, Mount, TmpfsMount

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHORT_ID: Final = 12

RestartPolicy = Literal["no", "on-failure", "always", "unless-stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """How a log is kept: not at all, or in files of at most so many bytes each (docker's
    `max-size` and `max-file`)."""

    kept: bool = True
    max_size: int | None = None
    max_files: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMount:
    """A volume in a container; `name` is `None` for one that is still to be made up.

    copy        fill it from the image if it is empty
    subpath     a path below the volume, to be mounted instead of all of it
    anonymous   made for this container: to go with it, if so asked
    labels, options  of the volume if it has to be made
    """

    target: str
    name: str | None = None
    read_only: bool = False
    copy: bool = True
    subpath: str = ""
    anonymous: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """An image, and what is to be different from what its config says.

    image        a name or an ID
    name         what the container is called; one is made up if `None`
    command      instead of the image's Cmd
    entrypoint   instead of the image's Entrypoint and Cmd; `()` is none
    env          after the image's, instead of variables with the same name
    hostname     the short ID if `None`, the host's with the host's network
    volumes      those of the image come to these
    volumes_from  containers whose volumes it has, too, and whether it may not write to them
    labels       besides the image's
    terminal     a terminal of its own is its input and output
    init         its first process is one of ours, which reaps; the command is its child
    open_stdin   its input comes from who attaches to it
    stdin_once   its input ends with the first that gave it some
    stop_signal  a number; `None` is the image's, or SIGTERM
    health       instead of what the image has; `test` `("NONE",)` is none
    shell        what a health check in shell form is given to; the image's
    limits       on memory, processors, processes and block devices
    cgroup_parent  the group in which its own is made; lamina's if `None`
    strict       a limit that cannot be had is an error
    devices      of the host's; `device_rules` allow more, for files that it makes itself
    ulimits      (resource, soft, hard), besides docker's
    oom_score_adj  see `SandboxSpec`
    restarts     the most restarts of `on-failure`; 0 is any number
    runtime      the path of another OCI runtime that is to make it
    remove       leave nothing behind at the end
    """

    image: str
    name: str | None = None
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    env: tuple[tuple[str, str], ...] = ()
    working_dir: str | None = None
    user: str | None = None
    hostname: str | None = None
    network: NetworkSpec = NO_NETWORK
    extra_hosts: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    volumes: tuple[VolumeMount, ...] = ()
    volumes_from: tuple[tuple[str, bool], ...] = ()
    capabilities: int = DEFAULT_CAPABILITIES
    seccomp: bool = True
    no_new_privileges: bool = False
    security: SecurityOptions = DEFAULT_SECURITY
    read_only: bool = False
    shm_size: int | None = None
    labels: tuple[tuple[str, str], ...] = ()
    terminal: bool = False
    init: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    stop_signal: int | None = None
    stop_seconds: int | None = None
    health: Healthcheck | None = None
    shell: tuple[str, ...] = ("/bin/sh", "-c")
    restart: RestartPolicy = "no"
    restarts: int = 0
    log: LogOptions = LogOptions()
    limits: Limits = NO_LIMITS
    cgroup_parent: str | None = None
    strict: bool = False
    devices: tuple[Device, ...] = ()
    device_rules: tuple[Rule, ...] = ()
    ulimits: tuple[tuple[int, int, int], ...] = ()
    oom_score_adj: int | None = None
    runtime: str | None = None
    remove: bool = False


def resolved(spec: ContainerSpec, config: RuntimeConfig) -> ContainerSpec:
    """The spec with all that it leaves to the image's config."""
    from runtime.containers.signals import parse_signal

    stop_signal = spec.stop_signal
    if stop_signal is None and config.stop_signal:
        stop_signal = parse_signal(config.stop_signal)
    return replace(
        spec,
        working_dir=spec.working_dir or config.working_dir or "/",
        user=config.user if spec.user is None else spec.user,
        labels=tuple({**dict(config.labels), **dict(spec.labels)}.items()),
        stop_signal=stop_signal,
        network=replace(spec.network, exposed=_exposed(spec, config)),
        health=_health(spec.health, config.healthcheck),
        shell=config.shell or spec.shell,
    )


def command_line(spec: ContainerSpec, config: RuntimeConfig) -> tuple[str, ...]:
    """The words of the command: Entrypoint, then Cmd.

    An entrypoint of the caller's makes the image's Cmd void. `InvalidContainer` if there is
    nothing to run.
    """
    if spec.entrypoint is not None:
        argv = (*spec.entrypoint, *spec.command)
    else:
        argv = (*(config.entrypoint or ()), *(spec.command or config.cmd or ()))
    if not argv:
        raise InvalidContainer(
            "no command specified: the image has neither Entrypoint nor Cmd",
        )
    return argv


def environment(
    spec: ContainerSpec, config: RuntimeConfig, hostname: str
) -> tuple[tuple[str, str], ...]:
    """PATH and HOSTNAME, then the image's variables, then the caller's; the last one counts."""
    env = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if spec.terminal:
        env["TERM"] = "xterm"
    env |= dict(config.env)
    env |= dict(spec.env)
    return tuple(env.items())


def spec_document(spec: ContainerSpec) -> dict[str, Any]:
    """A spec as JSON has it."""
    document: dict[str, Any] = {field.name: getattr(spec, field.name) for field in fields(spec)}
    document["mounts"] = [_mount_document(mount) for mount in spec.mounts]
    document["network"] = network_document(spec.network)
    document["security"] = security_document(spec.security)
    document["volumes"] = [_fields(mount) for mount in spec.volumes]
    document["health"] = spec.health.to_json() if spec.health is not None else None
    document["devices"] = [
        {"source": each.source, "target": each.target, "access": each.access}
        for each in spec.devices
    ]
    for name in ("log", "limits"):
        value = document[name]
        document[name] = {field.name: getattr(value, field.name) for field in fields(value)}
    return document


def spec_from_document(document: Mapping[str, Any]) -> ContainerSpec:
    """What `spec_document` was given. `TypeError`, `KeyError` or `ValueError` if it is none."""
    members = {name: _frozen(value) for name, value in document.items()}
    health = document["health"]
    members["mounts"] = tuple(_mount(each) for each in document["mounts"])
    members["network"] = network_from_document(document["network"])
    members["security"] = security_from_document(document.get("security", {}))
    members["volumes"] = tuple(_volume(each) for each in document.get("volumes", ()))
    members["health"] = Healthcheck.from_json(health) if health is not None else None
    members["log"] = LogOptions(**document["log"])
    members["devices"] = tuple(Device(**each) for each in document["devices"])
    limits = {name: _frozen(value) for name, value in document["limits"].items()}
    members["limits"] = Limits(**limits)
    return ContainerSpec(**members)


def _exposed(spec: ContainerSpec, config: RuntimeConfig) -> tuple[tuple[int, Protocol], ...]:
    """The ports that the image exposes, and those of the caller."""
    found: dict[tuple[int, Protocol], None] = {}
    for text in config.exposed_ports:
        ports, _, protocol = text.lower().partition("/")
        first, _, last = ports.partition("-")
        if protocol in ("", "tcp", "udp") and first.isdigit() and (last or first).isdigit():
            kind: Protocol = "udp" if protocol == "udp" else "tcp"
            for port in range(int(first), min(int(last or first), 65535) + 1):
                found[port, kind] = None
    return tuple(found | dict.fromkeys(spec.network.exposed))


def _health(wanted: Healthcheck | None, given: Healthcheck | None) -> Healthcheck | None:
    """What of a health check the caller does not say is the image's; "NONE" is none."""
    if wanted is None:
        health = given
    elif wanted.test == ("NONE",) or given is None:
        health = wanted
    else:
        health = replace(
            given,
            **{
                name: value
                for name in (
                    "test", "interval_ns", "timeout_ns", "start_period_ns", "start_interval_ns",
                    "retries",
                )
                if (value := getattr(wanted, name))
            },
        )  # fmt: skip
    asks = health is not None and len(health.test) > 1 and health.test[0] in ("CMD", "CMD-SHELL")
    return health if asks else None


def _mount_document(mount: Mount) -> dict[str, Any]:
    return {"type": "bind" if isinstance(mount, BindMount) else "tmpfs", **_fields(mount)}


def _fields(value: Mount | VolumeMount) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _mount(document: Mapping[str, Any]) -> Mount:
    members = {name: _frozen(value) for name, value in document.items()}
    return BindMount(**members) if members.pop("type") == "bind" else TmpfsMount(**members)


def _volume(document: Mapping[str, Any]) -> VolumeMount:
    return VolumeMount(**{name: _frozen(value) for name, value in document.items()})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
