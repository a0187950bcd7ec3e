"""Where containers are: a directory each, `containers/<id>` in the store.

Who has one is the matter of `runtime.containers.holding`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from runtime.containers.holding import (
    container_folder,
    containers_directory,
    folder_names,
    make_folder,
)
from runtime.containers.names import Names
from runtime.containers.record import Container, read_container
from runtime.errors import ContainerNotFound, InvalidContainer
from runtime.image.store.directory_lock import try_lock_directory

__all__ = [
    "container_folder", "containers_directory", "find_container", "folder_names", "hold",
    "list_containers", "new_folder",
]  # fmt: skip

_HEXADECIMAL: Final = frozenset("0123456789abcdef")


@contextmanager
def new_folder(root: str) -> Iterator[tuple[str, str, int]]:
    """A new container's ID, its directory, and a descriptor that holds it.

    The descriptor is closed at the end of the block; who got it before, holds it further.
    """
    container_id, path, fd = make_folder(root)
    try:
        yield container_id, path, fd
    finally:
        os.close(fd)


def hold(path: str, seconds: float) -> int | None:
    """Lock a container's directory as soon as it is free, or give up after so long."""
    deadline = time.monotonic() + seconds
    while True:
        fd = try_lock_directory(path)
        if fd is not None or time.monotonic() > deadline or not os.path.isdir(path):
            return fd
        time.sleep(0.005)


def list_containers(root: str) -> list[Container]:
    """All containers of the store at `root`, the newest first."""
    parent = containers_directory(root)
    found = [read_container(os.path.join(parent, name)) for name in folder_names(parent)]
    return sorted(
        (container for container in found if container is not None),
        key=lambda container: (-container.description.created_ns, container.id),
    )


def find_container(root: str, name: str) -> Container:
    """The container of that ID or name, or whose ID begins so.

    `ContainerNotFound`; `InvalidContainer` if that is said of several.
    """
    parent = containers_directory(root)
    bare = name.removeprefix("/")
    container_id = Names(parent).find(bare)
    if container_id is not None:
        named = read_container(os.path.join(parent, container_id))
        if named is not None and named.name == bare:
            return named
    if name and _HEXADECIMAL.issuperset(name):
        matching = [other for other in folder_names(parent) if other.startswith(name)]
        found = [read_container(os.path.join(parent, other)) for other in matching]
        there = [container for container in found if container is not None]
        if len(there) > 1:
            raise InvalidContainer(f"several containers have IDs that begin with {name}")
        if there:
            return there[0]
    raise ContainerNotFound(name)
