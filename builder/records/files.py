"""How what a copy consists of differs from what an earlier one consisted of, file by file."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from builder.cache.listing import Listed, listed, read_listing
from runtime.image.layer.entry import Kind

Fate = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """What happened to one entry; `how` says in what it differs: `content`, `mode 0644 → 0755`.

    `path` is where it is in the image, `name` what to call it: its path in what was copied, as far
    as that can be told.
    """

    path: bytes
    name: str
    fate: Fate
    how: tuple[str, ...] = ()
    directory: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How two listings differ. `files` counts those there are now; `times` are old and new."""

    files: int
    changes: tuple[FileChange, ...]
    times: tuple[int, int] | None = None


def compare(old: bytes, new: bytes, names: Names) -> Comparison:
    """Compare two listings; directories that are only there for their content are no change."""
    before, after = read_listing(old), read_listing(new)
    changes: list[FileChange] = []
    times: tuple[int, int] | None = None
    paths = before.keys() | after.keys()
    for path in sorted(path for path in paths if before.get(path) != after.get(path)):
        then, now = before.get(path), after.get(path)
        if then is None or now is None:
            fate: Fate = "added" if then is None else "removed"
            one = listed(path, now or then or b"")
            changes.append(_change(one, names, fate))
            continue
        was, is_ = listed(path, then), listed(path, now)
        if was.mtime != is_.mtime:
            times = (was.mtime, is_.mtime)
        how = tuple(_differences(was, is_))
        if how:
            changes.append(_change(is_, names, "changed", how))
    files = sum(not _is_directory(fields) for fields in after.values())
    return Comparison(files=files, changes=tuple(_without_folders(changes)), times=times)


def _change(one: Listed, names: Names, fate: Fate, how: tuple[str, ...] = ()) -> FileChange:
    directory = one.kind is Kind.DIRECTORY
    name = names.of(one.path, directory)
    return FileChange(path=one.path, name=name, fate=fate, how=how, directory=directory)


def _without_folders(changes: list[FileChange]) -> list[FileChange]:
    """The changes less the folders that came or went with something in them."""
    full = {posixpath.dirname(each.path) for each in changes if each.fate != "changed"}
    return [
        each
        for each in changes
        if not each.directory or each.fate == "changed" or each.path not in full
    ]


def _is_directory(fields: bytes) -> bool:
    return fields.partition(b"\0")[2].startswith(b"d ")


def _differences(was: Listed, now: Listed) -> list[str]:
    """In what an entry differs, its time aside: that is the layer's."""
    if was.kind is not now.kind:
        return [f"{was.kind.name.lower()} → {now.kind.name.lower()}"]
    found = []
    if was.content != now.content:
        found.append("content")
    if was.target != now.target:
        found.append(f"target {_text(was.target)} → {_text(now.target)}")
    if was.mode != now.mode:
        found.append(f"mode {was.mode:04o} → {now.mode:04o}")
    if was.owner != now.owner:
        found.append(f"owner {_owner(was)} → {_owner(now)}")
    if was.xattrs != now.xattrs:
        found.append("extended attributes")
    if was.rdev != now.rdev:
        found.append("device number")
    return found


def _owner(one: Listed) -> str:
    return f"{one.owner[0]}:{one.owner[1]}"


class Names:
    """What the entries of a copy are called: their paths in what was copied, where one source was.

    `facts` are the step's: its sources and its destination.
    """

    def __init__(self, facts: Mapping[str, str]) -> None:
        sources: list[str] = json.loads(facts.get("sources", "[]"))
        alone = len(sources) == 1 and not _is_pattern(sources[0])
        self._source = sources[0] if alone else None
        self._destination = facts.get("destination", "/").strip("/")
        self._into = facts.get("destination", "/").endswith("/")

    def of(self, path: bytes, directory: bool = False) -> str:
        """The name of an entry; where it is in the image, if it was made on the way there."""
        text = _text(path)
        inside = self._inside(text)
        if inside is None or (inside == "" and (directory or self._source is None)):
            return "/" + text
        if self._source is None:
            return inside
        source = posixpath.normpath(self._source).strip("/")
        if inside == "" or (self._into and inside == posixpath.basename(source)):
            return source
        return posixpath.normpath(posixpath.join(source, inside)).lstrip("/")

    def _inside(self, text: str) -> str | None:
        if not self._destination:
            return text
        if text == self._destination:
            return ""
        prefix = self._destination + "/"
        return text.removeprefix(prefix) if text.startswith(prefix) else None


def _is_pattern(source: str) -> bool:
    return any(letter in source for letter in "*?[")


def _text(path: bytes) -> str:
    return path.decode("utf-8", "replace")
