"""`--device` and `--device-cgroup-rule`: devices of the host's."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable
from typing import Any

import click

from builder.errors import OptionError
from runtime.cgroups.devices import Rule
from runtime.containers.devices import Device

Decorated = Callable[..., Any]


def device_options(command: Decorated) -> Decorated:
    """Which devices it may use."""
    for option in reversed((
        click.option("--device", "devices", multiple=True, metavar="PATH[:TARGET[:rwm]]",
                     help="A device of the host's, or a folder of them."),
        click.option("--device-cgroup-rule", "device_rules", multiple=True,
                     metavar="'c MAJOR:MINOR rwm'",
                     help="Allow such devices, for files that it makes itself."),
    )):  # fmt: skip
        command = option(command)
    return command


def devices_of(options: dict[str, Any]) -> dict[str, Any]:
    """Members of a `ContainerSpec` that these options make; `OptionError`."""
    return {
        "devices": tuple(map(_device, options["devices"])),
        "device_rules": tuple(map(_rule, options["device_rules"])),
    }


def _device(text: str) -> Device:
    source, *rest = text.split(":")
    if not source.startswith("/"):
        if "=" in source:
            raise OptionError(f"--device {text}: device names of CDI are not supported")
        raise OptionError(f"--device {text}: the path of a device is absolute")
    access = "rwm"
    target = source
    match rest:
        case []:
            pass
        case [only] if _is_access(only):
            access = only
        case [target]:
            pass
        case [target, access]:
            if not _is_access(access):
                raise OptionError(f"--device {text}: invalid mode {access!r}", hint="rwm")
        case _:
            raise OptionError(f"invalid --device {text!r}", hint="PATH[:TARGET[:rwm]]")
    if not os.path.exists(source):
        raise OptionError(f"--device {source}: no such file or directory")
    target = posixpath.normpath(target or source)
    if not target.startswith("/") or target.strip("/") == "":
        raise OptionError(f"--device {text}: {target!r} is no absolute path below /")
    return Device(source=os.path.normpath(source), target=target, access=access)


def _is_access(text: str) -> bool:
    return bool(text) and set(text) <= set("rwm") and len(set(text)) == len(text)


def _rule(text: str) -> Rule:
    kind, _, rest = text.partition(" ")
    numbers, _, access = rest.partition(" ")
    major, _, minor = numbers.partition(":")
    fine = kind in ("a", "b", "c") and _is_access(access)
    if not fine or not all(number == "*" or number.isdecimal() for number in (major, minor)):
        raise OptionError(f"invalid --device-cgroup-rule {text!r}", hint="as 'c 10:200 rwm'")
    return kind, _number(major), _number(minor), access


def _number(text: str) -> int:
    return -1 if text == "*" else int(text)
