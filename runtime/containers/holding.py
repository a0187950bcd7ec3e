"""Who has a container: the lock on its folder, `containers/<id>` in the store.

Whoever runs a container, or removes it, holds a lock on its folder. So whoever has the lock knows
that nobody else does. Imported ahead of every container: it imports next to nothing.
"""

from __future__ import annotations

import os

from runtime.image.store.directory_lock import try_lock_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_ID_LENGTH: Final = 64
_HEXADECIMAL: Final = frozenset("0123456789abcdef")


def containers_directory(root: str) -> str:
    """Where the containers of a store are."""
    return os.path.join(root, "containers")


def container_folder(root: str, container_id: str) -> str:
    """The directory of a container."""
    return os.path.join(containers_directory(root), container_id)


def make_folder(root: str) -> tuple[str, str, int]:
    """A new container's ID, its directory, and a descriptor that holds it."""
    parent = containers_directory(root)
    os.makedirs(parent, mode=0o700, exist_ok=True)
    while True:
        container_id = os.urandom(32).hex()
        path = os.path.join(parent, container_id)
        os.mkdir(path, 0o700)
        fd = try_lock_directory(path)
        if fd is not None:
            return container_id, path, fd
        # A sweep took it for litter before we could hold it.


def folder_names(parent: str) -> list[str]:
    """The IDs in a folder of containers, whatever is recorded of them."""
    try:
        names = os.listdir(parent)
    except FileNotFoundError:
        return []
    return [name for name in names if len(name) == _ID_LENGTH and _HEXADECIMAL.issuperset(name)]
