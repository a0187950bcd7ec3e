"""`--security-opt`, `--cap-add`, `--pid` and their like: what a container may do and share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from builder.commands.values import key_value
from builder.errors import OptionError
from runtime.containers.security import SecurityOptions
from runtime.errors import InvalidContainer
from runtime.sandbox.capabilities import (
    ALL_CAPABILITIES,
    DEFAULT_CAPABILITIES,
    capability_mask,
)

Decorated = Callable[..., Any]

_OF: Final = "container:"
_IPC_PARAMETERS: Final = frozenset(
    f"kernel.{name}"
    for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni",
                 "shm_rmid_forced")
)  # fmt: skip
_FROM_OPTIONS: Final = {"kernel.hostname": "--hostname", "kernel.domainname": "--domainname"}
_LARGEST_PROFILE: Final = 1 << 20


def security_options(command: Decorated) -> Decorated:
    """What a container may do, and what it shares."""
    for option in reversed((
        click.option("--privileged", is_flag=True, help="May do all that root here may."),
        click.option("--cap-add", "cap_add", multiple=True, metavar="NAME|ALL",
                     help="A capability it has besides the usual ones."),
        click.option("--cap-drop", "cap_drop", multiple=True, metavar="NAME|ALL",
                     help="One that it has not."),
        click.option("--security-opt", "security_opt", multiple=True, metavar="KEY[=VALUE]",
                     help="seccomp=FILE|unconfined|builtin, no-new-privileges,"
                     " systempaths=unconfined"),
        click.option("--group-add", "group_add", multiple=True, metavar="GROUP",
                     help="A group that its user is in, too."),
        click.option("--pid", "pid_mode", metavar="host|container:NAME",
                     help="Whose processes it sees and signals. [default: its own]"),
        click.option("--ipc", "ipc_mode", metavar="private|shareable|none|host|container:NAME",
                     help="Whose shared memory it has. [default: private]"),
        click.option("--uts", "uts_mode", metavar="host", help="Whose host name it has."),
        click.option("--cgroupns", "cgroup_mode", metavar="private|host",
                     help="Whether it sees its cgroup as the root. [default: private]"),
        click.option("--userns", "userns_mode", metavar="host|auto",
                     help="Whether it has user IDs of its own on the host. [default: host]"),
        click.option("--sysctl", "sysctls", multiple=True, metavar="NAME=VALUE",
                     help="A kernel parameter of its own."),
        click.option("--annotation", "annotations", multiple=True, metavar="KEY=VALUE",
                     help="Shown by `inspect`; nothing else."),
    )):  # fmt: skip
        command = option(command)
    return command


def security_of(options: dict[str, Any]) -> dict[str, Any]:
    """The fields of a `ContainerSpec` that these options make; `OptionError`."""
    privileged = options["privileged"]
    choice = _Choice(options["security_opt"])
    security = SecurityOptions(
        privileged=privileged,
        profile=choice.profile,
        unmasked=choice.unmasked,
        groups=_groups(options["group_add"]),
        sysctls=_sysctls(options),
        pid=_mode(options["pid_mode"], "--pid", ("host",), containers=True),
        ipc=_mode(
            options["ipc_mode"],
            "--ipc",
            ("private", "shareable", "none", "host"),
            containers=True,
        ),
        uts=_mode(options["uts_mode"], "--uts", ("host",)),
        cgroup=_mode(options["cgroup_mode"], "--cgroupns", ("private", "host")),
        user=_user_namespace(options["userns_mode"]),
        added=options["cap_add"],
        dropped=options["cap_drop"],
        options=options["security_opt"],
        annotations=tuple(key_value(text, "--annotation") for text in options["annotations"]),
    )
    if security.user == "auto":
        _check_own_user_namespace(security, options)
    if security.uts == "host" and (options["hostname"] or options["domainname"]):
        raise OptionError("conflicting options: --hostname, --domainname and --uts host")
    if options["shm_size"] and security.ipc not in ("private", "shareable"):
        raise OptionError(f"conflicting options: --shm-size and --ipc {security.ipc}")
    capabilities = capabilities_of(options["cap_add"], options["cap_drop"])
    _check_profile(choice.profile, capabilities)
    return {
        "security": security,
        "capabilities": ALL_CAPABILITIES if privileged else capabilities,
        "seccomp": not choice.unconfined,
        "no_new_privileges": choice.no_new_privileges,
    }


def capabilities_of(added: tuple[str, ...], dropped: tuple[str, ...]) -> int:
    """The capabilities that `--cap-add` and `--cap-drop` leave, as docker combines them."""
    adds = {_capability(name, "--cap-add") for name in added}
    drops = {_capability(name, "--cap-drop") for name in dropped}
    if ALL_CAPABILITIES in adds:
        base = ALL_CAPABILITIES
    else:
        base = 0 if ALL_CAPABILITIES in drops else DEFAULT_CAPABILITIES
    for mask in drops - {ALL_CAPABILITIES}:
        base &= ~mask
    for mask in adds - {ALL_CAPABILITIES}:
        base |= mask
    return base


class _Choice:
    """What the values of `--security-opt` say together."""

    def __init__(self, values: tuple[str, ...]) -> None:
        self.profile: str | None = None
        self.unconfined = False
        self.unmasked = False
        self.no_new_privileges = False
        for text in values:
            # Docker once had a colon, and takes it still.
            separator = "=" if "=" in text else ":"
            name, _, value = text.partition(separator)
            self._take(text, name, value)

    def _take(self, text: str, name: str, value: str) -> None:
        match name:
            case "no-new-privileges":
                self.no_new_privileges = _switch(value, text)
            case "seccomp":
                self.unconfined = value == "unconfined"
                self.profile = None if value in ("unconfined", "builtin") else _profile(value)
            case "systempaths" if value == "unconfined":
                self.unmasked = True
            case "apparmor" if value == "unconfined":
                pass  # As it is: there is no profile that we load.
            case "label" if value == "disable":
                pass  # As it is: nothing is relabelled.
            case "apparmor":
                raise OptionError(
                    f"--security-opt {text}: profiles of AppArmor are not applied",
                    hint="apparmor=unconfined; capabilities, seccomp and masked paths hold anyway",
                )
            case "label":
                raise OptionError(
                    f"--security-opt {text}: SELinux labels are not applied", hint="label=disable"
                )
            case _:
                raise OptionError(
                    f"invalid --security-opt {text!r}",
                    hint="seccomp=FILE|unconfined|builtin, no-new-privileges[=true|false],"
                    " systempaths=unconfined, apparmor=unconfined, label=disable",
                )


def _capability(name: str, option: str) -> int:
    if name.upper() in ("ALL", "CAP_ALL"):
        return ALL_CAPABILITIES
    try:
        return capability_mask(name)
    except KeyError as error:
        from difflib import get_close_matches

        from runtime.sandbox.capabilities import capability_names

        known = capability_names(ALL_CAPABILITIES)
        wanted = "CAP_" + name.upper().removeprefix("CAP_")
        near = get_close_matches(wanted, known, 1)
        raise OptionError(
            f"{option}: unknown capability {name!r}",
            hint=f"did you mean {near[0]}?" if near else "see capabilities(7)",
        ) from error


def _switch(value: str, text: str) -> bool:
    from builder.plan.units import parse_switch

    if not value:
        return True
    try:
        return parse_switch(value)
    except ValueError as error:
        raise OptionError(f"--security-opt {text}: {error}") from error


def _profile(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_LARGEST_PROFILE + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise OptionError(
            f"--security-opt seccomp={path}: {(reason or 'unreadable').lower()}",
            hint="a file in Docker's format, unconfined or builtin",
        ) from error
    if len(text) > _LARGEST_PROFILE:
        raise OptionError(f"--security-opt seccomp={path}: it is larger than a megabyte")
    return text


def _check_profile(profile: str | None, capabilities: int) -> None:
    """Complain now, not when the container starts."""
    if profile is None:
        return
    from runtime.sandbox.seccomp_profile import compiled_profile

    try:
        compiled_profile(profile, capabilities)
    except InvalidContainer as error:
        raise OptionError(f"--security-opt seccomp: {error.message}") from error


def _groups(groups: tuple[str, ...]) -> tuple[str, ...]:
    for group in groups:
        if group == "keep-groups":
            raise OptionError(
                "--group-add keep-groups: a container has no groups of the host's",
                hint="name a group of the container's, or a number",
            )
        if not group or ":" in group:
            raise OptionError(f"invalid --group-add {group!r}", hint="a name or a number")
    return groups


def _mode(
    text: str | None, option: str, modes: tuple[str, ...], *, containers: bool = False
) -> str:
    if text is None or text == "":
        return "private"
    if text in modes:
        return text
    if containers and text.startswith(_OF) and len(text) > len(_OF):
        return text
    every = (*modes, "container:NAME") if containers else modes
    raise OptionError(f"invalid {option} {text!r}", hint=" or ".join(every))


def _user_namespace(text: str | None) -> str:
    if text in (None, "", "host"):
        return "host"
    if text == "auto":
        return "auto"
    if text in ("keep-id", "nomap") or (text or "").startswith(("keep-id:", "auto:")):
        raise OptionError(
            f"--userns {text} is not supported",
            hint="auto as root; as another user your own files are root's in a container anyway",
        )
    raise OptionError(f"invalid --userns {text!r}", hint="host or auto")


def _check_own_user_namespace(security: SecurityOptions, options: dict[str, Any]) -> None:
    """What would be another user namespace's is out of reach in one's own, as with docker."""
    modes = {
        "--pid": security.pid,
        "--ipc": security.ipc,
        "--uts": security.uts,
        "--cgroupns": security.cgroup,
        "--network": "host" if "host" in options["networks"] else "private",
    }
    for option, mode in modes.items():
        if mode == "host" or mode.startswith(_OF):
            raise OptionError(f"conflicting options: {option} {mode} and --userns auto")
    if security.privileged:
        raise OptionError("conflicting options: --privileged and --userns auto")


def _sysctls(options: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Parameters of namespaces only: those of the machine are everybody's."""
    found = []
    for text in options["sysctls"]:
        name, equals, value = text.partition("=")
        dotted = name.replace("/", ".")
        if not equals or not name or "\0" in text:
            raise OptionError(f"invalid --sysctl {text!r}", hint="NAME=VALUE")
        if dotted in _FROM_OPTIONS:
            raise OptionError(f"--sysctl {name}: not to be set so", hint=_FROM_OPTIONS[dotted])
        of_ipc = dotted in _IPC_PARAMETERS or dotted.startswith("fs.mqueue.")
        if not of_ipc and not dotted.startswith("net."):
            raise OptionError(
                f"--sysctl {name}: it belongs to the whole machine, not to a container",
                hint="net.*, fs.mqueue.*, " + ", ".join(sorted(_IPC_PARAMETERS)),
            )
        shared = options["ipc_mode"] or "" if of_ipc else next(iter(options["networks"]), "")
        if shared == "host" or shared.startswith(_OF):
            whose = "the IPC namespace" if of_ipc else "the network"
            raise OptionError(f"--sysctl {name}: {whose} is not the container's own ({shared})")
        found.append((name, value))
    return tuple(found)
