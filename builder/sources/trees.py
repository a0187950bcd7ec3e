"""File trees as a build sees them, and finding one's way in them.

A tree may be the build context, a stack of layers (`runtime.image.layer.view.View`), or a stack of
layers with the entries of a layer in the making on top (`Draft`). Paths are bytes, relative to
the tree's root and normalised; `b""` is the root.

    TooManyLinks     a symbolic link that leads round in a circle
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from runtime.image.layer.entry import Entry, Kind

_MOST_LINKS = 255


class TooManyLinks(ValueError):
    """A symbolic link that leads round in a circle."""

    def __init__(self, path: bytes) -> None:
        super().__init__(f"too many links in {path.decode('utf-8', 'replace')!r}")


class Lookup(Protocol):
    """What can say what is at a path, following nothing."""

    def lstat(self, path: bytes) -> Entry | None: ...


class FileTree(Lookup, Protocol):
    """What COPY can take files from."""

    def listdir(self, path: bytes) -> list[bytes]: ...

    def walk(self, path: bytes) -> Iterator[Entry]: ...


def normalise(path: bytes) -> bytes:
    """A path without a leading slash, `.` or `..`; `..` stops at the root."""
    parts: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts)


def join(folder: bytes, name: bytes) -> bytes:
    """`name` in `folder`."""
    return folder + b"/" + name if folder else name


def parent(path: bytes) -> bytes:
    """The folder that a path is in."""
    return path.rpartition(b"/")[0]


def resolve(tree: Lookup, path: bytes, *, follow_last: bool = True) -> bytes:
    """Where a path leads inside the tree's root, links followed as `chroot` would.

    What does not exist is kept as it is written. `TooManyLinks` in a circle.
    """
    waiting = path.split(b"/")[::-1]
    done: list[bytes] = []
    links = 0
    while waiting:
        part = waiting.pop()
        if part in (b"", b"."):
            continue
        if part == b"..":
            del done[-1:]
            continue
        here = b"/".join((*done, part))
        last = not any(name not in (b"", b".") for name in waiting)
        if not last or follow_last:
            entry = tree.lstat(here)
            if entry is not None and entry.kind is Kind.SYMLINK:
                links += 1
                if links > _MOST_LINKS:
                    raise TooManyLinks(path)
                if entry.target.startswith(b"/"):
                    done.clear()
                waiting += entry.target.split(b"/")[::-1]
                continue
        done.append(part)
    return b"/".join(done)


class Draft:
    """A layer in the making: new entries, seen on top of what is below.

    Only entries that were put are part of the layer. `finish` adds the folders above them as
    they are below, since a layer's folder entry decides the folder's attributes.
    """

    def __init__(self, below: Lookup) -> None:
        self._below = below
        self._entries: dict[bytes, Entry] = {}
        self._fresh: set[bytes] = set()

    def lstat(self, path: bytes) -> Entry | None:
        """What is at a path, in the draft or else below."""
        entry = self._entries.get(path)
        if entry is not None:
            return entry
        folder = parent(path)
        if folder in self._fresh:
            return None
        above = self._entries.get(folder)
        if above is not None and above.kind is not Kind.DIRECTORY:
            return None
        return self._below.lstat(path)

    def put(self, entry: Entry) -> None:
        """Add an entry, in the place of what was at its path."""
        path = entry.path
        if entry.kind is Kind.DIRECTORY and path not in self._fresh and self.lstat(path) is None:
            # Nothing can be below what is new: lookups in it need not go further down.
            self._fresh.add(path)
        elif entry.kind is not Kind.DIRECTORY:
            self._drop_below(path)
        self._entries[path] = entry

    def _drop_below(self, path: bytes) -> None:
        old = self._entries.get(path)
        if old is None or old.kind is not Kind.DIRECTORY:
            return
        prefix = path + b"/"
        for inner in [p for p in self._entries if p.startswith(prefix)]:
            del self._entries[inner]
        self._fresh = {p for p in self._fresh if p != path and not p.startswith(prefix)}

    def finish(self, mtime: int) -> list[Entry]:
        """The layer's entries: those put, and the folders that lead to them, at that time."""
        entries = dict(self._entries)
        for path in self._entries:
            folder = parent(path)
            while folder and folder not in entries:
                above = self._below.lstat(folder)
                if above is None or above.kind is not Kind.DIRECTORY:
                    break
                entries[folder] = replace(above, mtime=mtime)
                folder = parent(folder)
        return list(entries.values())


class EmptyTree:
    """A root with nothing in it: `FROM scratch`."""

    def lstat(self, path: bytes) -> Entry | None:
        """The root is a folder; there is nothing else."""
        return None if path else Entry(path=b"", kind=Kind.DIRECTORY, mode=0o755)

    def listdir(self, path: bytes) -> list[bytes]:
        """Nothing."""
        return []

    def walk(self, path: bytes) -> Iterator[Entry]:
        """Nothing."""
        return iter(())
