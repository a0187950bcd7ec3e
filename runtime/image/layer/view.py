"""What a stack of layers looks like, without mounting or materialising it.

The rules are overlayfs's: the topmost layer that has a path decides what it is; directories are
merged down to the first that is opaque, or to anything else of that name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Final

from runtime.image.errors import LayerError
from runtime.image.layer.entry import Entry, FileSource, Kind
from runtime.image.layer.tar_form import TarForm
from runtime.image.layer.tree_form import TreeForm

__all__ = ["TarForm", "TreeForm", "View"]

_MOST_LINKS: Final = 40
_ROOT: Final = Entry(path=b"", kind=Kind.DIRECTORY, mode=0o755)
_Layer = TreeForm | TarForm


class View:
    """Layers, bottom first, seen as one tree.

    The layers must not change while they are looked at. Any number of threads may look.
    """

    def __init__(self, layers: Sequence[TreeForm | TarForm]) -> None:
        self._merged: dict[bytes, tuple[_Layer, ...]] = {b"": tuple(layers)[::-1]}

    def lstat(self, path: bytes) -> Entry | None:
        """The entry at a path; no link is followed, not even on the way.

        A regular file's `content` is a `FileSource` (or empty); files that are the same have
        the same `inode`. The root is a directory with the path `b""`.
        """
        if not path:
            layers = self._merged[b""]
            root = layers[0].entry(b"") if layers else None
            return root or _ROOT
        above, _, _ = path.rpartition(b"/")
        for layer in self._layers_of(above):
            entry = layer.entry(path)
            if entry is not None:
                return None if entry.kind is Kind.WHITEOUT else entry
        return None

    def listdir(self, path: bytes) -> list[bytes]:
        """The names in a directory, sorted; none if it is no directory."""
        return [name for name, _ in self._names(path)]

    def resolve(self, path: bytes, *, follow_last: bool = True) -> bytes:
        """Where a path leads to inside the root; the answer has no links on its way.

        Absolute links start at the root and `..` stops there. What is missing is kept as it is
        written. `LayerError` after more than 40 links.
        """
        found: list[bytes] = []
        pending = _components(path)
        links = 0
        while pending:
            name = pending.pop()
            if name == b"..":
                del found[-1:]
                continue
            entry = self.lstat(b"/".join((*found, name)))
            if entry is None or entry.kind is not Kind.SYMLINK or not (pending or follow_last):
                found.append(name)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise LayerError(os.fsdecode(path), "too many levels of symbolic links")
            if entry.target.startswith(b"/"):
                found.clear()
            pending += _components(entry.target)
        return b"/".join(found)

    def read(self, path: bytes, limit: int) -> bytes | None:
        """The content of a file, links followed; `None` if there is no regular file.

        `LayerError` if it has more than `limit` bytes.
        """
        entry = self.lstat(self.resolve(path))
        if entry is None or entry.kind is not Kind.REGULAR:
            return None
        if entry.size > limit:
            raise LayerError(os.fsdecode(path), f"it is larger than {limit} bytes")
        if not isinstance(entry.content, FileSource):
            return entry.content
        fd = entry.content.open()
        with open(fd, "rb") as file:
            return file.read(entry.size)

    def walk(self, path: bytes) -> Iterator[Entry]:
        """The entry at a path and everything below it, in canonical order.

        Nothing if the path is missing. There are no HARDLINK entries: `inode` says it.
        """
        start = self.lstat(path)
        if start is None:
            return
        yield start
        if start.kind is not Kind.DIRECTORY:
            return
        pending = [self._children(path)]
        while pending:
            entry = next(pending[-1], None)
            if entry is None:
                pending.pop()
                continue
            yield entry
            if entry.kind is Kind.DIRECTORY:
                pending.append(self._children(entry.path))

    def _children(self, path: bytes) -> Iterator[Entry]:
        prefix = path + b"/" if path else b""
        for name, layer in self._names(path):
            entry = layer.entry(prefix + name)
            if entry is not None:  # sockets are none
                yield entry

    def _names(self, path: bytes) -> list[tuple[bytes, _Layer]]:
        """The names in a directory, sorted, each with the layer that decides what it is."""
        found: dict[bytes, _Layer | None] = {}
        for layer in self._layers_of(path):
            for name, removed in layer.names(path):
                if name not in found:
                    found[name] = None if removed else layer
        return sorted(
            ((name, layer) for name, layer in found.items() if layer is not None),
            key=lambda item: item[0],
        )

    def _layers_of(self, path: bytes) -> tuple[_Layer, ...]:
        """The layers that have a part in a directory, topmost first; none if it is no directory."""
        known = self._merged.get(path)
        if known is not None:
            return known
        above = path
        while (layers := self._merged.get(above)) is None:
            above = above.rpartition(b"/")[0]
        for name in path[len(above) :].lstrip(b"/").split(b"/"):
            above = above + b"/" + name if above else name
            layers = self._merge(above, layers)
            self._merged[above] = layers
        return layers

    def _merge(self, path: bytes, parents: tuple[_Layer, ...]) -> tuple[_Layer, ...]:
        merged = []
        for layer in parents:
            entry = layer.entry(path)
            if entry is None:
                continue
            if entry.kind is not Kind.DIRECTORY:
                break
            merged.append(layer)
            if layer.is_opaque(path):
                break
        return tuple(merged)


def _components(path: bytes) -> list[bytes]:
    """The components of a path, last first."""
    return [name for name in path.split(b"/")[::-1] if name not in (b"", b".")]
