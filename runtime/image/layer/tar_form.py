"""A layer as a tar on disk, asked as if it had been extracted.

The index does to a dictionary what `extract` does to a directory, in the same order and with
the same outcome: entries through the layer's own links, duplicates, whiteouts beside what they
name. A test holds the two together.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter
from dataclasses import replace
from typing import Final

from runtime.image.errors import LayerError
from runtime.image.layer.entry import Entry, Kind
from runtime.image.layer.tar_reader import Limits, scan_raw_tar

_ROOT: Final = Entry(path=b"", kind=Kind.DIRECTORY, mode=0o755)
_MOST_LINKS: Final = 40
_LIMITS: Final = Limits()


class TarForm:
    """A layer that lies in an uncompressed tar; its headers are read when it is first asked."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._index: _Index | None = None
        self._lock = threading.Lock()

    def entry(self, path: bytes) -> Entry | None:
        """What this layer says of a path: an entry, possibly a WHITEOUT, or nothing."""
        return self._indexed().entries.get(path)

    def is_opaque(self, path: bytes) -> bool:
        """Whether a directory of this layer hides what the layers below have in it."""
        return path in self._indexed().opaque

    def names(self, path: bytes) -> list[tuple[bytes, bool]]:
        """The names in a directory of this layer, each with whether it is a whiteout."""
        index = self._indexed()
        prefix = path + b"/" if path else b""
        return [
            (name, index.entries[prefix + name].kind is Kind.WHITEOUT) for name in index.below[path]
        ]

    def _indexed(self) -> _Index:
        index = self._index
        if index is None:
            with self._lock:
                index = self._index
                if index is None:
                    index = self._index = _Index(self.path)
        return index


class _Index:
    def __init__(self, tar: str) -> None:
        self.entries: dict[bytes, Entry] = {b"": _ROOT}
        self.below: dict[bytes, dict[bytes, None]] = {b"": {}}
        self.opaque: set[bytes] = set()
        self._real: dict[bytes, tuple[bytes, int]] = {b"": (b"", 0)}  # and how many links it took
        self._files = 0
        status = os.stat(tar)
        self._device = -status.st_ino  # no inode on disk has it, and no other tar beside this one
        scanned = scan_raw_tar(tar)
        for entry in scanned.entries:
            self._add(entry)
        if scanned.root is not None:
            self.entries[b""] = scanned.root
        self._drop_single_inodes()
        self._real.clear()

    def _drop_single_inodes(self) -> None:
        """Links may have been replaced later: a file with one name is like any other."""
        names = Counter(entry.inode for entry in self.entries.values() if entry.inode)
        for path, entry in self.entries.items():
            if entry.inode and names[entry.inode] == 1:
                self.entries[path] = replace(entry, inode=None)

    def _add(self, entry: Entry) -> None:
        kind = entry.kind
        if kind is Kind.OPAQUE:
            if entry.path:
                self.opaque.add(self._directory(entry.path, entry))
            return
        above, _, name = entry.path.rpartition(b"/")
        parent = self._directory(above, entry)
        path = parent + b"/" + name if parent else name
        there = self.entries.get(path)
        if kind is Kind.HARDLINK:
            self._add_link(entry, path, there)
            return
        if path != entry.path:
            entry = replace(entry, path=path)
        if kind is Kind.DIRECTORY:
            self._add_directory(entry, there)
        elif kind is Kind.WHITEOUT:
            if there is None:
                self._set(entry)
            elif there.kind is Kind.DIRECTORY:
                self.opaque.add(path)
        else:
            if there is not None:
                self._remove(path)
            self._set(entry)

    def _add_directory(self, entry: Entry, there: Entry | None) -> None:
        if there is not None and there.kind is not Kind.DIRECTORY:
            self._remove(entry.path)
            if there.kind is Kind.WHITEOUT:
                self.opaque.add(entry.path)
        self._set(entry)
        self.below.setdefault(entry.path, {})

    def _add_link(self, entry: Entry, path: bytes, there: Entry | None) -> None:
        above, _, name = entry.target.rpartition(b"/")
        parent = self._directory(above, entry, create=False)
        target = parent + b"/" + name if parent else name
        source = self.entries.get(target)
        if source is None or source.kind in (Kind.DIRECTORY, Kind.WHITEOUT):
            raise _no_target(entry)
        if target == path:
            return
        if source.kind is Kind.REGULAR:
            if source.inode is None:
                self._files += 1
                source = replace(source, inode=(self._device, self._files))
                self.entries[target] = source
            elif there is not None and there.inode == source.inode:
                return
        if there is not None:
            self._remove(path)
            if target not in self.entries:
                raise _no_target(entry)
        self._set(replace(source, path=path))

    def _set(self, entry: Entry) -> None:
        path = entry.path
        above, _, name = path.rpartition(b"/")
        self.entries[path] = entry
        self.below[above][name] = None

    def _remove(self, path: bytes) -> None:
        above, _, name = path.rpartition(b"/")
        del self.below[above][name]
        pending = [path]
        while pending:
            path = pending.pop()
            del self.entries[path]
            self.opaque.discard(path)
            pending += [path + b"/" + name for name in self.below.pop(path, ())]
        self._real = {b"": (b"", 0)}

    def _directory(self, path: bytes, entry: Entry, *, create: bool = True) -> bytes:
        """Where a directory of the tar really is, which is made if it is missing."""
        known = path
        while (found := self._real.get(known)) is None:
            known = known.rpartition(b"/")[0]
        real, links = found
        if known == path:
            return real
        pending = path[len(known) :].split(b"/")[::-1]
        while pending:
            name = pending.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                real = real.rpartition(b"/")[0]
                continue
            if len(name) > _LIMITS.name:
                raise _refused(entry, errno.ENAMETOOLONG)
            here = real + b"/" + name if real else name
            there = self.entries.get(here)
            if there is not None and there.kind is Kind.SYMLINK:
                links += 1
                if links > _MOST_LINKS:
                    raise _refused(entry, errno.ELOOP)
                if there.target.startswith(b"/"):
                    real = b""
                pending += there.target.split(b"/")[::-1]
                continue
            if there is None or there.kind is Kind.WHITEOUT:
                if not create:
                    raise _no_target(entry)
                self._make_parent(here, there)
            elif there.kind is not Kind.DIRECTORY:
                raise _refused(entry, errno.ENOTDIR) if create else _no_target(entry)
            real = here
        if len(real) > _LIMITS.path:
            raise _refused(entry, errno.ENAMETOOLONG)
        self._real[path] = real, links
        return real

    def _make_parent(self, path: bytes, there: Entry | None) -> None:
        if len(self.entries) > _LIMITS.entries:
            raise LayerError(os.fsdecode(path), f"there are more than {_LIMITS.entries} entries")
        self._add_directory(Entry(path=path, kind=Kind.DIRECTORY, mode=0o755), there)


def _refused(entry: Entry, code: int) -> LayerError:
    return LayerError(os.fsdecode(entry.path), os.strerror(code))


def _no_target(entry: Entry) -> LayerError:
    member, target = os.fsdecode(entry.path), os.fsdecode(entry.target)
    return LayerError(member, f"it is a hard link to {target!r}, which is not a file of the layer")
