"""The trees of layers: which are there, and which of them can be trusted.

A tree is moved into place whole, and its row says in which boot of the machine. Nothing is
synced for it: should the machine stop without warning, a tree may come back with files that are
short or empty. So a tree from an earlier boot is compared, once, with the length of its layer's
tar, which every name and size in it is part of (file systems grow a file once its data are down).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from runtime.image.digest import DiffID
from runtime.image.errors import LayerError
from runtime.image.layer.owners import Owners
from runtime.image.store.database import Database
from runtime.image.store.paths import Paths
from runtime.image.store.remove import remove_tree

_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"


class Trees:
    """The trees of a store. What changes one is done by who holds the layer's lock."""

    def __init__(
        self, paths: Paths, database: Database, new_name: Callable[[], str], owners: Owners
    ) -> None:
        self._owners = owners
        self._paths = paths
        self._database = database
        self._new_name = new_name
        self._trusted: set[DiffID] = set()
        self._boot: str | None = None

    def is_trusted(self, diff_id: DiffID) -> bool:
        """Whether there is a tree that was made, or checked, since the machine started.

        It stays while we have the store open.
        """
        if diff_id in self._trusted:
            return True
        if not os.path.lexists(self._paths.tree(diff_id)):
            return False
        row = self._database.row("SELECT tree_boot FROM layers WHERE diff_id = ?", (diff_id,))
        if row is None or row[0] not in ("", self._boot_id()):
            return False
        self._trusted.add(diff_id)
        return True

    def is_suspect(self, diff_id: DiffID) -> bool:
        """Whether there is a tree that `check` has to look at before it can be trusted."""
        return os.path.lexists(self._paths.tree(diff_id))

    def check(self, diff_id: DiffID) -> bool:
        """Whether there is a tree as it should be; any other is removed. Needs the lock."""
        if self.is_trusted(diff_id):
            return True
        tree = self._paths.tree(diff_id)
        if not os.path.lexists(tree):
            return False
        row = self._database.row(
            "SELECT size FROM layers WHERE diff_id = ? AND tree_boot IS NOT NULL", (diff_id,)
        )
        if row is not None and row[0] == _tar_size(tree, self._owners):
            self._database.execute("UPDATE layers SET tree_boot = '' WHERE diff_id = ?", (diff_id,))
            return self.is_trusted(diff_id)
        trash = self._new_name()
        os.rename(tree, trash)
        remove_tree(trash)
        return False

    def publish(self, diff_id: DiffID, tree: str, size: int, *, lossy: bool, exact: bool) -> None:
        """Move a finished tree into place, or drop it if we have one. Needs the lock.

        `exact`: it is known to give the layer's own bytes; else that is unknown.
        """
        if self.check(diff_id):
            remove_tree(tree)
            return
        os.rename(tree, self._paths.tree(diff_id))
        self._database.execute(
            "INSERT INTO layers (diff_id, size, tree_boot, tree_lossy, tree_exact)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT (diff_id) DO UPDATE SET"
            " tree_boot = excluded.tree_boot, tree_lossy = excluded.tree_lossy,"
            " tree_exact = excluded.tree_exact, tree_bytes = NULL, tree_inodes = NULL",
            (diff_id, size, self._boot_id(), int(lossy), 1 if exact else None),
        )
        self._trusted.add(diff_id)

    def is_lossy(self, diff_id: DiffID) -> bool:
        """Whether the tree lacks entries of the layer that we were not allowed to make."""
        row = self._database.row("SELECT tree_lossy FROM layers WHERE diff_id = ?", (diff_id,))
        return row is not None and bool(row[0])

    def forget(self) -> None:
        """To be said before layers are removed."""
        self._trusted.clear()

    def _boot_id(self) -> str:
        if self._boot is None:
            try:
                with open(_BOOT_ID) as file:
                    self._boot = file.read().strip()
            except OSError:
                self._boot = "unknown"
        return self._boot


def _tar_size(tree: str, owners: Owners) -> int:
    """How long the tree's tar would be; -1 if there cannot be one."""
    from runtime.image.layer.entry import Kind
    from runtime.image.layer.pack import scan_tree
    from runtime.image.layer.tar_header import BLOCK, END, encode

    size = len(END)
    try:
        for entry in scan_tree(tree, owners=owners):
            size += len(encode(entry))
            if entry.kind is Kind.REGULAR:
                size += entry.size + -entry.size % BLOCK
    except (OSError, LayerError):
        return -1
    return size
