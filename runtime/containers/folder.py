"""Where containers are: a directory each, `containers/<id>` in the store.

Whoever runs a container, or removes it, holds a lock on its directory. So whoever has the lock
knows that nobody else does.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from runtime.containers.names import Names
from runtime.containers.record import Container, read_container
from runtime.errors import ContainerNotFound, InvalidContainer

_ID_LENGTH: Final = 64
_HEXADECIMAL: Final = frozenset("0123456789abcdef")


def containers_directory(root: str) -> str:
    """Where the containers of a store are."""
    return os.path.join(root, "containers")


def container_folder(root: str, container_id: str) -> str:
    """The directory of a container."""
    return os.path.join(containers_directory(root), container_id)


@contextmanager
def new_folder(root: str) -> Iterator[tuple[str, str, int]]:
    """A new container's ID, its directory, and a descriptor that holds it.

    The descriptor is closed at the end of the block; who got it before, holds it further.
    """
    parent = containers_directory(root)
    os.makedirs(parent, mode=0o700, exist_ok=True)
    while True:
        container_id = os.urandom(32).hex()
        path = os.path.join(parent, container_id)
        os.mkdir(path, 0o700)
        fd = try_hold(path)
        if fd is not None:
            break
        # A sweep took it for litter before we could hold it.
    try:
        yield container_id, path, fd
    finally:
        os.close(fd)


def try_hold(path: str) -> int | None:
    """Lock a container's directory; `None` if somebody holds it, or it is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), os.lstat(path)):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def hold(path: str, seconds: float) -> int | None:
    """Lock a container's directory as soon as it is free, or give up after so long."""
    deadline = time.monotonic() + seconds
    while True:
        fd = try_hold(path)
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


def folder_names(parent: str) -> list[str]:
    """The IDs in a folder of containers, whatever is recorded of them."""
    try:
        names = os.listdir(parent)
    except FileNotFoundError:
        return []
    return [name for name in names if len(name) == _ID_LENGTH and _HEXADECIMAL.issuperset(name)]
