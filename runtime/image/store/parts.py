"""The insides of an open store, for what looks after it as a whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runtime.image.store.database import Database
from runtime.image.store.holds import Holds
from runtime.image.store.layers import Layers
from runtime.image.store.paths import Paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a store is made of. `new_name` gives paths for files and directories in the making."""

    paths: Paths
    database: Database
    layers: Layers
    holds: Holds
    new_name: Callable[[], str]
