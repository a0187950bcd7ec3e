"""What a container has changed in the files of its image: `lamina diff`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from runtime.containers.record import Container
from runtime.image.layer.entry import Entry, Kind
from runtime.image.layer.pack import scan_tree
from runtime.image.store.store import Store

ChangeKind = Literal["A", "C", "D"]


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """A path, without a leading slash, that was added, changed or deleted."""

    path: bytes
    kind: ChangeKind


def container_changes(store: Store, container: Container) -> list[Change]:
    """All changes by path; directories in which something has changed are changed as well.

    What is mounted is no change. `LayerError` if the container changes files meanwhile.
    """
    below = store.view(container.description.diff_ids)
    upper = os.path.join(container.folder, "upper")
    entries = list(scan_tree(upper, owners=store.owners))
    there = {entry.path for entry in entries if entry.kind is not Kind.OPAQUE}
    found: dict[bytes, ChangeKind] = {}
    for entry in entries:
        path = entry.path
        if entry.kind is Kind.OPAQUE:
            for name in below.listdir(path):
                if (child := path + b"/" + name) not in there:
                    found[child] = "D"
            continue
        old = below.lstat(path)
        if entry.kind is Kind.WHITEOUT:
            if old is not None:
                found[path] = "D"
        elif old is None:
            found[path] = "A"
        elif not _is_same_directory(old, entry):
            found[path] = "C"
    for path in list(found):
        while (path := path.rpartition(b"/")[0]) and path not in found:
            found[path] = "C"
    return sorted(Change(path, kind) for path, kind in found.items())


def _is_same_directory(old: Entry, new: Entry) -> bool:
    """Whether a directory is only there because something below it may be."""
    if old.kind is not Kind.DIRECTORY or new.kind is not Kind.DIRECTORY:
        return False
    return _attributes(old) == _attributes(new)


def _attributes(entry: Entry) -> tuple[object, ...]:
    return entry.mode, entry.uid, entry.gid, entry.mtime, entry.xattrs
