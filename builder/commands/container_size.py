"""How much containers have changed: the sizes that `ps --size` shows."""

from __future__ import annotations

import os
from collections.abc import Sequence

from builder.commands.opened import opened_store
from builder.commands.tables import size_text
from runtime.containers.record import Container
from runtime.image.errors import ImageError


def add_sizes(root: str, containers: Sequence[Container], rows: Sequence[dict[str, str]]) -> None:
    """Fill `Size`: what was written, and with the image's layers."""
    with opened_store(root) as store:
        for container, row in zip(containers, rows, strict=True):
            own = tree_size(os.path.join(container.folder, "upper"))
            try:
                below = store.image(container.description.image_id).size
            except ImageError:
                row["Size"] = size_text(own)
            else:
                row["Size"] = f"{size_text(own)} (virtual {size_text(own + below)})"


def tree_size(path: str) -> int:
    """The bytes of the files in a tree, each counted once; 0 if there is none."""
    total = 0
    seen: set[int] = set()
    pending = [path]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                        continue
                    status = entry.stat(follow_symlinks=False)
                    if status.st_ino not in seen:
                        seen.add(status.st_ino)
                        total += status.st_size
        except FileNotFoundError:
            continue
    return total
