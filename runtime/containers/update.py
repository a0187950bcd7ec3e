"""Changing a container's limits, also while it runs: `update`."""

from __future__ import annotations

import errno
import os
from dataclasses import fields, replace

from runtime.cgroups.groups import Groups
from runtime.cgroups.hook import CHANGED, encode_writes
from runtime.cgroups.layout import find_layout
from runtime.cgroups.limits import Limits
from runtime.cgroups.plan import Write, plan_v1, plan_v2
from runtime.containers.names import locked_names
from runtime.containers.processes import groups_of
from runtime.containers.record import Container, write_description
from runtime.errors import InvalidContainer
from runtime.monitor import files


def update(container: Container, changes: Limits) -> Container:
    """Have other limits from now on; those that `changes` leaves out stay.

    `InvalidContainer` if the kernel does not take one, or a container that runs has no cgroup
    for it; then some may be changed already, and none is recorded.
    """
    given = {
        field.name: value
        for field in fields(changes)
        if (value := getattr(changes, field.name)) not in (None, False, ())
    }
    limits = replace(container.spec.limits, **given)
    writes = plan_v1(limits) if find_layout().v1 else plan_v2(limits)
    if container.is_running:
        groups = groups_of(container)
        if groups is None:
            raise InvalidContainer(
                f"container {container.description.short_id} has no cgroup",
                hint="one in the background has, or one that is run with a limit",
            )
        _apply(groups, writes)
    spec = replace(container.spec, limits=limits)
    description = replace(container.description, spec=spec)
    with locked_names(os.path.dirname(container.folder)):
        # For its monitor, which may start it again; and for whoever else does.
        files.write_file(os.path.join(container.folder, CHANGED), encode_writes(writes))
        write_description(container.folder, description)
    return replace(container, description=description)


def _apply(groups: Groups, writes: tuple[Write, ...]) -> None:
    """Write limits; those that only can be when others are, after those."""
    postponed = []
    for write in writes:
        try:
            _write(groups, write)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EBUSY):
                raise _refused(write, error) from error
            postponed.append(write)
    for write in postponed:
        try:
            _write(groups, write)
        except OSError as error:
            raise _refused(write, error) from error


def _write(groups: Groups, write: Write) -> None:
    controller, option, choices = write
    if not groups.write(controller, choices):
        raise InvalidContainer(
            f"{option} cannot be set while the container runs", hint="stop it first"
        )


def _refused(write: Write, error: OSError) -> InvalidContainer:
    _, option, choices = write
    value = choices[0][1]
    return InvalidContainer(
        f"{option}: the kernel does not take {value}: {(error.strerror or '').lower()}"
    )
