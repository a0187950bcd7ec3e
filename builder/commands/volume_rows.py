"""Volumes as `volume ls` shows them: the texts of its columns, and which are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from builder.errors import OptionError
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
_TRUE, _FALSE = ("1", "t", "true"), ("0", "f", "false")
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
    wanted: dict[str, list[str]] = {}
    for text in filters:
        key, equals, value = text.partition("=")
        keys = _PRUNE_KEYS if pruning else _KEYS
        if not equals or key not in keys or (key == "dangling" and value not in _TRUE + _FALSE):
            hint = f"KEY=VALUE; KEY: {', '.join(keys)}"
            raise OptionError(f"invalid --filter {text!r}", hint=hint)
        wanted.setdefault(key, []).append(value)
    return [
        volume
        for volume in volumes
        if all(
            (all if key.startswith("label") else any)(
                _fits(volume, users, key, value) for value in values
            )
            for key, values in wanted.items()
        )
    ]


def _fits(volume: Volume, users: Users, key: str, value: str) -> bool:
    match key:
        case "dangling":
            return is_unused(volume, users) == (value in _TRUE)
        case "driver":
            return value == "local"
        case "name":
            return value in volume.name
        case _:
            name, equals, text = value.partition("=")
            labels = dict(volume.labels)
            has = name in labels and (not equals or labels[name] == text)
            return has != key.endswith("!")
