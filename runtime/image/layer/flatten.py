"""What a tar's members make of an empty directory, without making it.

A tar is a list of actions: later members replace earlier ones, links lead elsewhere, directories
may be missing. A layer has each path once, in order. Between the two stands the tree that
extracting the tar would give, here in memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from runtime.image.errors import LayerError
from runtime.image.layer.entry import Entry, Kind

_LINK_LIMIT: Final = 40


@dataclass(slots=True)
class _Directory:
    entry: Entry
    above: _Directory | None
    children: dict[bytes, _Directory | Entry] = field(default_factory=dict)


def flatten(members: Iterable[Entry]) -> list[Entry]:
    """The entries of the tree that a tar's members make, in no particular order.

    Each path comes once and has its directories; hard links are regular files of equal `inode`.
    Links are followed inside the tree only. Whiteouts mean nothing here and are left out, as is
    the root. `LayerError` for a hard link to nothing, and for a path below something else than a
    directory.
    """
    root = _Directory(Entry(path=b"", kind=Kind.DIRECTORY, mode=0o755), None)
    files = 0
    for member in members:
        if not member.path or member.kind in (Kind.WHITEOUT, Kind.OPAQUE):
            continue
        directory, name = _parent(root, member.path, member)
        prefix = directory.entry.path + b"/" if directory.entry.path else b""
        path = prefix + name
        present = directory.children.get(name)
        if member.kind is Kind.DIRECTORY:
            entry = replace(member, path=path)
            if isinstance(present, _Directory):
                present.entry = entry
            else:
                directory.children[name] = _Directory(entry, directory)
        elif member.kind is Kind.HARDLINK:
            files += 1
            directory.children[name] = replace(_link_target(root, member, files), path=path)
        else:
            # A symbolic link's mode means nothing, and there is but one it can have.
            mode = 0o777 if member.kind is Kind.SYMLINK else member.mode
            directory.children[name] = replace(member, path=path, mode=mode, inode=None)
    return _entries(root)


def _parent(root: _Directory, path: bytes, member: Entry) -> tuple[_Directory, bytes]:
    """The directory an entry goes into, made if it is missing, and its name there."""
    *above, name = path.split(b"/")
    directory = root
    todo = above[::-1]
    links = 0
    while todo:
        component = todo.pop()
        if component in (b"", b"."):
            continue
        if component == b"..":
            directory = directory.above or root
            continue
        child = directory.children.get(component)
        if child is None:
            prefix = directory.entry.path + b"/" if directory.entry.path else b""
            entry = Entry(path=prefix + component, kind=Kind.DIRECTORY, mode=0o755)
            child = directory.children[component] = _Directory(entry, directory)
        if isinstance(child, _Directory):
            directory = child
            continue
        if child.kind is not Kind.SYMLINK:
            raise _fault(member, f"lies below {os.fsdecode(child.path)}, which is no directory")
        links += 1
        if links > _LINK_LIMIT:
            raise _fault(member, "too many levels of symbolic links")
        if child.target.startswith(b"/"):
            directory = root
        todo += child.target.split(b"/")[::-1]
    return directory, name


def _link_target(root: _Directory, member: Entry, number: int) -> Entry:
    """The entry a hard link refers to; a regular file is marked as being one of several."""
    directory, name = _parent(root, member.target, member)
    target = directory.children.get(name)
    if target is None:
        raise _fault(member, f"is a hard link to {os.fsdecode(member.target)}, which is not there")
    if isinstance(target, _Directory):
        raise _fault(member, f"is a hard link to {os.fsdecode(member.target)}, a directory")
    if target.kind is Kind.REGULAR and target.inode is None:
        target = directory.children[name] = replace(target, inode=(0, number))
    return target


def _entries(root: _Directory) -> list[Entry]:
    entries = []
    todo = [root]
    while todo:
        for child in todo.pop().children.values():
            if isinstance(child, _Directory):
                entries.append(child.entry)
                todo.append(child)
            else:
                entries.append(child)
    return entries


def _fault(member: Entry, why: str) -> LayerError:
    return LayerError(os.fsdecode(member.path), why)
