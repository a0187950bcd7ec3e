"""Devices of the host that a container is given."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from runtime.cgroups.devices import DEFAULT_RULES, Rule
from runtime.errors import InvalidContainer
from runtime.sandbox.spec import BindMount


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device file of the host's, or a folder of them; `access` is of `rwm`.

    `rwm` is to read, to write, to make such a file.
    """

    source: str
    target: str
    access: str = "rwm"


def device_mounts(devices: tuple[Device, ...]) -> tuple[BindMount, ...]:
    """Mounts of the device files. `InvalidContainer` for what is none.

    Read-only, which does not keep a device from being written to, but its file from being
    changed: that is the host's.
    """
    return tuple(
        BindMount(source=source, target=target, read_only=True, recursive=False)
        for device in devices
        for source, target, _ in _files(device)
    )


def device_rules(devices: tuple[Device, ...], rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """What a container may use: docker's default, these devices, and more rules."""
    found = []
    for device in devices:
        for _, _, status in _files(device):
            kind = "c" if stat.S_ISCHR(status.st_mode) else "b"
            number = status.st_rdev
            found.append((kind, os.major(number), os.minor(number), device.access))
    return (*DEFAULT_RULES, *found, *rules)


def _files(device: Device) -> Iterator[tuple[str, str, os.stat_result]]:
    """Each device file of the host's: where it is, where it is to be, and what it is."""
    try:
        status = os.stat(device.source)
    except OSError as error:
        why = (error.strerror or "").lower()
        raise InvalidContainer(f"--device {device.source}: {why}") from error
    if _is_device(status):
        yield os.path.realpath(device.source), device.target, status
        return
    if not stat.S_ISDIR(status.st_mode):
        raise InvalidContainer(f"--device {device.source}: is no device")
    found = False
    for folder, _, names in os.walk(device.source):
        for name in sorted(names):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            if _is_device(status):
                found = True
                yield path, device.target + path[len(device.source) :], status
    if not found:
        raise InvalidContainer(f"--device {device.source}: there is no device in it")


def _is_device(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
