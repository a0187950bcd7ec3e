"""Volumes: directories that outlive the containers they are mounted in.

    volumes/NAME/_data         what is in it
    volumes/NAME/volume.json   its labels, options, when it was made

A volume is made aside and renamed into place, and renamed away before it is removed; both under
the lock of the folder of volumes, as is recording a container that uses one. So one that a
container needs never goes, and nothing is ever half there. What `options` say is of docker's
local driver: `type`, `o` and `device`.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from runtime.containers.folder import containers_directory, folder_names
from runtime.errors import InvalidVolume, VolumeInUse, VolumeNotFound
from runtime.image.store.remove import refuse_mounts, remove_tree
from runtime.image.store.store import Store
from runtime.monitor import files
from runtime.monitor.events import append_event
from runtime.monitor.locked_folder import locked_folder

DATA: Final = "_data"
RECORD: Final = "volume.json"
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_LONGEST: Final = 200
_MODE: Final = 0o755


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A volume. `created_ns` in nanoseconds since 1970; `folder` is its own, `data` its files'.

    anonymous   nobody named it: it may go with the container that it was made for
    """

    name: str
    created_ns: int
    anonymous: bool
    labels: tuple[tuple[str, str], ...]
    options: tuple[tuple[str, str], ...]
    folder: str

    @property
    def data(self) -> str:
        return os.path.join(self.folder, DATA)


def volumes_directory(root: str) -> str:
    """Where the volumes of a store are."""
    return os.path.join(root, "volumes")


def check_volume_name(name: str) -> str:
    """The name again; `InvalidVolume` if volumes cannot be called that."""
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise InvalidVolume(
            f"invalid volume name ({name})",
            hint="two or more of [a-zA-Z0-9][a-zA-Z0-9_.-]; a path of the host's begins with /",
        )
    return name


def new_volume_name() -> str:
    """A name for an anonymous volume."""
    return os.urandom(32).hex()


def read_volume(root: str, name: str) -> Volume | None:
    """The volume of that name; `None` if there is none, or its record is damaged."""
    if not _NAME.fullmatch(name):
        return None
    folder = os.path.join(volumes_directory(root), name)
    try:
        with open(os.path.join(folder, RECORD), encoding="utf-8") as file:
            document = json.load(file)
        return Volume(
            name=name,
            created_ns=int(document["created_ns"]),
            anonymous=bool(document["anonymous"]),
            labels=_pairs(document["labels"]),
            options=_pairs(document["options"]),
            folder=folder,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def find_volume(root: str, name: str) -> Volume:
    """The volume of that name; `VolumeNotFound`."""
    volume = read_volume(root, name)
    if volume is None:
        raise VolumeNotFound(name)
    return volume


def volume_names(root: str) -> list[str]:
    """The names in the folder of volumes, whatever is recorded of them, sorted."""
    try:
        return sorted(os.listdir(volumes_directory(root)))
    except FileNotFoundError:
        return []


def list_volumes(root: str) -> list[Volume]:
    """All volumes of the store at `root`, by name."""
    found = (read_volume(root, name) for name in volume_names(root))
    return [volume for volume in found if volume is not None]


def volume_users(root: str) -> dict[str, list[str]]:
    """For each volume that some container has, the IDs of those that have it."""
    users: dict[str, list[str]] = {}
    parent = containers_directory(root)
    for container_id in folder_names(parent):
        for name in recorded_volumes(os.path.join(parent, container_id)):
            users.setdefault(name, []).append(container_id)
    return users


def recorded_volumes(folder: str, *, anonymous: bool = False) -> list[str]:
    """The names of the volumes of the container in a folder; only those made for it, if so asked.

    Also of a container that is still being made, or is half removed.
    """
    try:
        with open(os.path.join(folder, files.CONFIG), encoding="utf-8") as file:
            mounts = json.load(file)["spec"].get("volumes", ())
        return list(
            dict.fromkeys(
                str(mount["name"]) for mount in mounts if mount["anonymous"] or not anonymous
            )
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def locked_volumes(root: str) -> locked_folder:
    """Nobody else makes or removes volumes until the end of the block."""
    return locked_folder(volumes_directory(root))


def create_volume(
    store: Store,
    name: str,
    *,
    labels: Sequence[tuple[str, str]] = (),
    options: Sequence[tuple[str, str]] = (),
    anonymous: bool = False,
) -> Volume:
    """The volume of that name, made if it is missing.

    `InvalidVolume` for a name that is none, and if there is one with other options.
    """
    check_volume_name(name)
    with locked_volumes(store.root):
        volume = read_volume(store.root, name)
        if volume is not None:
            if options and dict(options) != dict(volume.options):
                raise InvalidVolume(f"a volume {name} with other options exists already")
            return volume
        folder = os.path.join(volumes_directory(store.root), name)
        if os.path.lexists(folder):
            raise InvalidVolume(
                f"the record of the volume {name} is damaged", hint="lamina fsck --repair"
            )
        document: dict[str, Any] = {
            "created_ns": time.time_ns(),
            "anonymous": anonymous,
            "labels": dict(labels),
            "options": dict(options),
        }
        _make(store, folder, document)
    _event(store.root, "create", name)
    return find_volume(store.root, name)


def remove_volume(store: Store, name: str, *, unused_by: str | None = None) -> None:
    """Remove a volume and all that is in it.

    `VolumeNotFound`; `VolumeInUse` if a container has it, other than `unused_by`.
    """
    with locked_volumes(store.root):
        folder = find_volume(store.root, name).folder
        users = [user for user in volume_users(store.root).get(name, []) if user != unused_by]
        if users:
            raise VolumeInUse(name, users)
        refuse_mounts(folder)
        trash = store.parts.new_name()
        os.rename(folder, trash)
    with suppress(OSError):  # A sweep of the store will find it.
        remove_tree(trash)
    _event(store.root, "destroy", name)


def remove_anonymous(store: Store, container_id: str, folder: str) -> None:
    """Remove the volumes that were made for a container and that no other one has."""
    for name in recorded_volumes(folder, anonymous=True):
        volume = read_volume(store.root, name)
        if volume is not None and volume.anonymous:
            with suppress(VolumeNotFound, VolumeInUse):
                remove_volume(store, name, unused_by=container_id)


def _make(store: Store, folder: str, document: Mapping[str, Any]) -> None:
    with store.workspace() as space:
        made = os.path.join(space, "volume")
        os.mkdir(made, 0o700)
        data = os.path.join(made, DATA)
        os.mkdir(data)
        os.chmod(data, _MODE)
        files.write_file(os.path.join(made, RECORD), json.dumps(document).encode() + b"\n")
        os.rename(made, folder)


def _event(root: str, action: str, name: str) -> None:
    parent = containers_directory(root)
    append_event(parent, action, name, {"driver": "local"}, kind="volume")


def _pairs(document: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((str(key), str(value)) for key, value in document.items())
