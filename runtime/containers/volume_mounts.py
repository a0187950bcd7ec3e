"""The volumes of a container: which it has, that they are there, and how they are mounted."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from dataclasses import replace
from typing import assert_never

from runtime.containers.folder import find_container
from runtime.containers.spec import ContainerSpec, VolumeMount
from runtime.containers.volume_fill import fill_volume
from runtime.containers.volume_options import HostFolder, InMemory, OwnFiles, place_of
from runtime.containers.volumes import create_volume, find_volume, new_volume_name
from runtime.errors import InvalidContainer, InvalidVolume
from runtime.image.layer.view import View
from runtime.image.model import RuntimeConfig
from runtime.image.store.store import Store
from runtime.owner_record import has_one_id
from runtime.sandbox.spec import BindMount, Mount, TmpfsMount


def with_volumes(root: str, spec: ContainerSpec, config: RuntimeConfig) -> ContainerSpec:
    """The spec with all volumes that the container will have, each with a name.

    What the caller mounts somewhere is there instead of what `volumes_from` or the image's
    VOLUME would have there. `ContainerNotFound`, `InvalidContainer`.
    """
    own = {posixpath.normpath(mount.target) for mount in (*spec.mounts, *spec.volumes)}
    inherited: dict[str, BindMount | VolumeMount] = {}
    for name, read_only in spec.volumes_from:
        for mount in _volumes_of(root, name):
            if mount.target not in own:
                inherited[mount.target] = replace(mount, read_only=read_only or mount.read_only)
    taken = own | inherited.keys()
    made = []
    for text in config.volumes:
        target = posixpath.normpath("/" + text.lstrip("/"))
        if target == "/":
            raise InvalidContainer(f"the image's VOLUME {text!r} cannot be a mount point")
        if target not in taken:
            made.append(VolumeMount(target=target, anonymous=True))
            taken.add(target)
    given = [mount for mount in inherited.values() if isinstance(mount, BindMount)]
    shared = [mount for mount in inherited.values() if isinstance(mount, VolumeMount)]
    return replace(
        spec,
        mounts=(*spec.mounts, *given),
        volumes=tuple(map(_named, (*shared, *spec.volumes, *made))),
    )


def provide_volumes(
    store: Store, container_id: str, mounts: tuple[VolumeMount, ...], view: View
) -> None:
    """Make the volumes that are missing, and fill those that are empty from the image.

    For who has recorded the container, and holds its folder. `InvalidContainer`,
    `InvalidVolume`.
    """
    for mount in mounts:
        assert mount.name is not None
        volume = create_volume(
            store,
            mount.name,
            labels=mount.labels,
            options=mount.options,
            anonymous=mount.anonymous,
        )
        if not volume.options:
            fill_volume(store, volume, mount, view, user=container_id)


def sandbox_mounts(root: str, mounts: tuple[VolumeMount, ...]) -> tuple[Mount, ...]:
    """Volumes as a sandbox has them mounted; `VolumeNotFound`, `InvalidVolume`."""
    found: list[Mount] = []
    for mount in mounts:
        volume = find_volume(root, mount.name or "")
        place = place_of(dict(volume.options))
        match place:
            case OwnFiles():
                source, read_only = volume.data, mount.read_only
            case HostFolder():
                source, read_only = place.path, mount.read_only or place.read_only
                if not os.path.isdir(source):
                    raise InvalidVolume(f"volume {volume.name}: {source} is no folder")
            case InMemory():
                found.append(_in_memory(mount, place))
                continue
            case _:
                assert_never(place)
        found.append(
            BindMount(
                source=source, target=mount.target, read_only=read_only, subpath=mount.subpath
            )
        )
    return tuple(found)


def _in_memory(mount: VolumeMount, place: InMemory) -> TmpfsMount:
    options = [option for option in place.options if not option.startswith("mode=")]
    modes = [option.removeprefix("mode=") for option in place.options if option not in options]
    return TmpfsMount(
        target=mount.target,
        mode=int(modes[-1], 8) if modes else 0o1777,
        options=tuple(options),
        read_only=mount.read_only,
    )


def _volumes_of(root: str, name: str) -> list[BindMount | VolumeMount]:
    spec = find_container(root, name).spec
    binds = [mount for mount in spec.mounts if isinstance(mount, BindMount)]
    return [*binds, *spec.volumes]


def _named(mount: VolumeMount) -> VolumeMount:
    return mount if mount.name is not None else replace(mount, name=new_volume_name())


def check_owners(mounts: Iterable[Mount]) -> None:
    """`InvalidContainer` for a file system in memory that is to be somebody's whom there is not:
    with one id there is only root."""
    for mount in mounts:
        if isinstance(mount, TmpfsMount) and has_one_id():
            for option in mount.options:
                name, _, value = option.partition("=")
                if name in ("uid", "gid") and value.strip("0"):
                    raise InvalidContainer(
                        f"the file system in memory at {mount.target} cannot have {option}:"
                        " whoever has one id can make none for others",
                        hint="docs/rootless.md says what needs more ids, and how to get them",
                    )
