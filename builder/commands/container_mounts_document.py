"""What a container has mounted, as docker's `inspect` shows it."""

from __future__ import annotations

import os
from typing import Any

from runtime.containers.record import Container
from runtime.containers.spec import ContainerSpec
from runtime.containers.volume_options import HostFolder, place_of
from runtime.containers.volumes import DATA, read_volume, volumes_directory
from runtime.sandbox.spec import BindMount, TmpfsMount


def mounts_document(container: Container) -> list[dict[str, Any]]:
    """Its mounts: those of the host's, volumes, file systems in memory."""
    spec = container.spec
    root = os.path.dirname(os.path.dirname(container.folder))
    found: list[dict[str, Any]] = []
    for mount in spec.mounts:
        if isinstance(mount, BindMount):
            found.append(
                {
                    "Type": "bind",
                    "Source": mount.source,
                    "Destination": mount.target,
                    "Mode": "",
                    "RW": not mount.read_only,
                    "Propagation": "rslave" if mount.slave else "rprivate",
                }
            )
        else:
            found.append(
                {
                    "Type": "tmpfs",
                    "Source": "",
                    "Destination": mount.target,
                    "Mode": "",
                    "RW": not mount.read_only,
                    "Propagation": "",
                }
            )
    for volume in spec.volumes:
        found.append(
            {
                "Type": "volume",
                "Name": volume.name,
                "Source": _source(root, volume.name or ""),
                "Destination": volume.target,
                "Driver": "local",
                "Mode": "",
                "RW": not volume.read_only,
                "Propagation": "",
            }
        )
    return found


def binds_document(spec: ContainerSpec) -> list[str]:
    """What `-v` gave, as docker writes it."""
    found = [(m.source, m.target, m.read_only) for m in spec.mounts if isinstance(m, BindMount)]
    found += [(m.name or "", m.target, m.read_only) for m in spec.volumes if not m.anonymous]
    return [f"{source}:{target}:{'ro' if fixed else 'rw'}" for source, target, fixed in found]


def tmpfs_document(spec: ContainerSpec) -> dict[str, str]:
    """The file systems in memory and their options."""
    return {
        mount.target: ",".join(
            (
                *((f"size={mount.size}",) if mount.size is not None else ()),
                f"mode={mount.mode:o}",
                *mount.options,
            )
        )
        for mount in spec.mounts
        if isinstance(mount, TmpfsMount)
    }


def _source(root: str, name: str) -> str:
    volume = read_volume(root, name)
    place = place_of(dict(volume.options)) if volume is not None else None
    if isinstance(place, HostFolder):
        return place.path
    return os.path.join(volumes_directory(root), name, DATA)
