"""Making a store's layout, and telling a store from everything else."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from runtime.image.errors import StoreError
from runtime.image.layer.owners import Owners, RecordedOwners
from runtime.image.store.paths import Paths
from runtime.image.store.reserve import keep_reserve

_VERSION: Final = b'{"store":1}\n'
_VERSION_RECORDED: Final = b'{"store":1,"owners":"recorded"}\n'
_OWN_NAMES: Final = frozenset(
    ("version", "lock", "store.db", "store.db-wal", "store.db-shm", "store.db-journal")
) | {
    "store.db.damaged",
    "reserve",
    "blobs",
    "trees",
    "work",
    "containers",
    "caches",
    "failed",
    "partial",
    "volumes",
}


def create(paths: Paths, owners: Owners) -> None:
    """Make the layout; `StoreError` for a directory that holds something else, or a newer store."""
    wanted = _VERSION_RECORDED if isinstance(owners, RecordedOwners) else _VERSION
    os.makedirs(paths.root, mode=0o700, exist_ok=True)
    version = _read_version(paths)
    if not version:
        strangers = set(os.listdir(paths.root)) - _OWN_NAMES
        if strangers:
            raise StoreError(
                f"{paths.root} is not a store: it holds {min(strangers)}",
                hint="give an empty or a new directory",
            )
        # Not to be reached by other users: trees hold set-user-ID programs of images.
        for directory in (os.path.dirname(paths.blobs), paths.blobs, paths.trees, paths.work):
            with suppress(FileExistsError):
                os.mkdir(directory, 0o700)
        keep_reserve(paths)
        # Everyone writes the same bytes, so nobody can see others' halves.
        fd = os.open(paths.version, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, wanted)
        finally:
            os.close(fd)
    elif version != wanted:
        if version in (_VERSION, _VERSION_RECORDED):
            raise _other_owners(paths.root, isinstance(owners, RecordedOwners))
        raise StoreError(
            f"{paths.root} is a store of another version: {version.decode(errors='replace')}",
            hint="use the version of lamina that made it, or another --root",
        )


def _other_owners(root: str, recorded: bool) -> StoreError:
    """A store is of one kind: its files cannot be read as if they had the other's owners."""
    if recorded:
        return StoreError(
            f"{root} was made with more than one user ID, and there is a single one now",
            hint="give this user its subordinate IDs again (`lamina doctor` says how),"
            " or use another --root",
        )
    return StoreError(
        f"{root} was made by a user with a single ID, whose files have their owners recorded",
        hint=f"save its images with that user, or use another --root; `rm -rf {root}`, as the"
        " user it belongs to, removes it",
    )


def _read_version(paths: Paths) -> bytes:
    try:
        with open(paths.version, "rb") as file:
            return file.read(1024)
    except FileNotFoundError:
        return b""
