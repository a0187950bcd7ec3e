"""Files in a store that no row of the database knows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal

from runtime.image.digest import DiffID, Digest
from runtime.image.store.blobs import unlink_if_there
from runtime.image.store.check_layers import blob_problem
from runtime.image.store.collect import named_in
from runtime.image.store.directory_lock import try_lock_directory
from runtime.image.store.faults import Fault, NotMended, fault
from runtime.image.store.parts import Parts
from runtime.image.store.remove import remove_tree

_MAKING_SECONDS: Final = 5.0


class FileChecks:
    """Looks for files that nobody knows, and for blobs that belong to no layer."""

    def __init__(self, parts: Parts, *, repair: bool) -> None:
        self._paths = parts.paths
        self._database = parts.database
        self._holds = parts.holds
        self._repair = repair

    def check(self) -> list[Fault]:
        """All faults of files."""
        return [
            *self._strays(self._paths.blobs, "blobs", "SELECT 1 FROM blobs WHERE digest = ?"),
            *self._strays(self._paths.trees, "trees", "SELECT 1 FROM layers WHERE diff_id = ?"),
            *self._strangers(self._paths.blobs),
            *self._strangers(self._paths.trees),
            *self._loose_blobs(),
            *self._workspaces(),
        ]

    def _strays(self, folder: str, what: str, query: str) -> list[Fault]:
        """What has a digest for a name, but no row, and is not just being made."""
        found = []
        for name in named_in(folder):
            if self._database.row(query, (name,)) is not None:
                continue
            with self._holds.taking([DiffID(name)]) as taken:
                if not taken or self._database.row(query, (name,)) is not None:
                    continue
                path = os.path.join(folder, name.removeprefix("sha256:"))
                if not os.path.lexists(path):
                    continue  # Somebody else has removed it, and its row, since we listed it.
                found.append(self._leftover(path, f"none of the {what} that are known"))
        return found

    def _strangers(self, folder: str) -> list[Fault]:
        ours = {name.removeprefix("sha256:") for name in named_in(folder)}
        return [
            self._leftover(os.path.join(folder, name), "not named after a digest")
            for name in sorted(set(os.listdir(folder)) - ours)
        ]

    def _loose_blobs(self) -> list[Fault]:
        """Blobs with a row that belong to no layer: they are hashed here."""
        found = []
        for digest, size in self._database.rows(
            "SELECT digest, size FROM blobs WHERE diff_id IS NULL ORDER BY digest"
        ):
            name = Digest(str(digest))
            self._holds.hold(name)
            problem = blob_problem(self._paths.blob(name), name, size)
            if problem:
                mend = self._forgetting(name) if self._repair else None
                found.append(fault("blob", name, problem, mend))
        return found

    def _forgetting(self, digest: Digest) -> Callable[[], str]:
        def forget() -> str:
            with self._holds.taking([digest]) as taken:
                if not taken:
                    raise NotMended("it is in use by another process")
                self._database.execute("DELETE FROM blobs WHERE digest = ?", (digest,))
                unlink_if_there(self._paths.blob(digest))
            return "removed"

        return forget

    def _workspaces(self) -> list[Fault]:
        """What opening the store should have removed; what is just being made has no lock yet."""
        latest = time.time() - _MAKING_SECONDS
        found = []
        for name in sorted(os.listdir(self._paths.work)):
            path = os.path.join(self._paths.work, name)
            with suppress(FileNotFoundError):
                if os.lstat(path).st_mtime < latest and not _is_locked(path):
                    problem = "left by a process that was killed"
                    found.append(self._leftover(path, problem, "workspace"))
        return found

    def _leftover(
        self, path: str, problem: str, kind: Literal["file", "workspace"] = "file"
    ) -> Fault:
        def remove() -> str:
            remove_tree(path)
            return "removed"

        relative = os.path.relpath(path, self._paths.root)
        return fault(kind, relative, problem, remove if self._repair else None)


def _is_locked(path: str) -> bool:
    """Whether somebody has a workspace, or it is gone."""
    try:
        fd = try_lock_directory(path)
    except OSError:
        return False
    if fd is not None:
        os.close(fd)
    return fd is None
