"""From entries to a layer in the store."""

from __future__ import annotations

import os
from collections.abc import Iterable

from runtime.image.digest import DiffID, sha256
from runtime.image.layer.entry import Entry
from runtime.image.layer.writer import write_layer
from runtime.image.store.store import Store

EMPTY_LAYER = DiffID(sha256(bytes(1024)))
"""The layer that changes nothing: a tar with no member. No image has it; a record may."""


def commit_entries(store: Store, entries: Iterable[Entry]) -> DiffID:
    """Write a layer of ordered entries into the store, as a tar; trees are made when needed."""
    with store.workspace() as workspace:
        path = os.path.join(workspace, "layer.tar")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            layer = write_layer(entries, fd)
        finally:
            os.close(fd)
        store.add_raw(layer, path)
    return layer.diff_id
