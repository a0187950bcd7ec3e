"""Volumes as `volume ls` shows them: the texts of its columns, and which are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from builder.commands.filters import all_fit, fits_label, is_boolean, is_true, parsed_filters
from runtime.containers.volumes import Volume

HEADS = {
    "Driver": "DRIVER",
    "Name": "VOLUME NAME",
    "Scope": "SCOPE",
    "Mountpoint": "MOUNTPOINT",
    "Labels": "LABELS",
    "Links": "LINKS",
    "Size": "SIZE",
    "Availability": "AVAILABILITY",
    "Group": "GROUP",
    "Status": "STATUS",
}
_KEYS = ("dangling", "driver", "label", "name")
_PRUNE_KEYS = ("label", "label!")
Users = Mapping[str, Sequence[str]]


def row(volume: Volume, users: Users) -> dict[str, str]:
    """The texts of all columns."""
    return {
        "Driver": "local",
        "Name": volume.name,
        "Scope": "local",
        "Mountpoint": volume.data,
        "Labels": ",".join(f"{key}={value}" for key, value in volume.labels),
        "Links": str(len(users.get(volume.name, ()))),
        "Size": "N/A",
        "Availability": "N/A",
        "Group": "N/A",
        "Status": "N/A",
    }


def is_unused(volume: Volume, users: Users) -> bool:
    """Whether no container has it."""
    return not users.get(volume.name)


def chosen(
    volumes: Sequence[Volume], users: Users, filters: Sequence[str], *, pruning: bool = False
) -> list[Volume]:
    """The volumes that `--filter`s let through: of each key one value must fit, of labels all.

    `OptionError` for a filter that is none.
    """
    wanted = parsed_filters(filters, _PRUNE_KEYS if pruning else _KEYS, _can_be)
    return [volume for volume in volumes if all_fit(wanted, partial(_fits, volume, users))]


def _can_be(key: str, value: str) -> bool:
    return key != "dangling" or is_boolean(value)


def _fits(volume: Volume, users: Users, key: str, value: str) -> bool:
    match key:
        case "dangling":
            return is_unused(volume, users) == is_true(value)
        case "driver":
            return value == "local"
        case "name":
            return value in volume.name
        case _:
            return fits_label(dict(volume.labels), key, value)
