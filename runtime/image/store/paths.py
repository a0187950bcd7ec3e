"""Where things lie in a store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from runtime.image.digest import DiffID, Digest, encoded

LOCK_USE: Final = 0
"""Shared by whoever has the store open, taken alone to mend its database."""
LOCK_CREATION: Final = 1
"""Taken to create the database."""
_LOCK_LAYERS: Final = 1 << 60
_LOCK_USES: Final = 1 << 61


@dataclass(frozen=True, slots=True)
class Paths:
    """The layout.

    version lock store.db reserve
    blobs/sha256/<hex>  trees/<hex>  caches/<name>  work/<id>  partial/<hex>
    """

    root: str

    @property
    def version(self) -> str:
        return f"{self.root}/version"

    @property
    def lock(self) -> str:
        return f"{self.root}/lock"

    @property
    def database(self) -> str:
        return f"{self.root}/store.db"

    @property
    def blobs(self) -> str:
        return f"{self.root}/blobs/sha256"

    @property
    def reserve(self) -> str:
        return f"{self.root}/reserve"

    @property
    def trees(self) -> str:
        return f"{self.root}/trees"

    @property
    def work(self) -> str:
        return f"{self.root}/work"

    @property
    def caches(self) -> str:
        return f"{self.root}/caches"

    @property
    def partial(self) -> str:
        return f"{self.root}/partial"

    def blob(self, digest: Digest | DiffID) -> str:
        return f"{self.root}/blobs/sha256/{encoded(digest)}"

    def tree(self, diff_id: DiffID) -> str:
        return f"{self.root}/trees/{encoded(diff_id)}"


def layer_lock(diff_id: DiffID) -> int:
    """The byte of the lock file that is taken to make a form of a layer."""
    return _LOCK_LAYERS + _start(diff_id)


def use_lock(name: Digest | DiffID) -> int:
    """The byte of the lock file that is shared by whoever uses a layer, a blob or an image."""
    return _LOCK_USES + _start(name)


def _start(name: Digest | DiffID) -> int:
    return int(encoded(name)[:14], 16)
