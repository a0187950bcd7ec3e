"""File trees as values, wherever they are: a directory, a tar, or layers in a store.

What is compared is what an image says of a path: kind, mode, owner, attributes, target, content,
and which paths are the same file. Times only of regular files: tools differ on directories.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from runtime.image.layer.entry import Entry, FileSource, Kind
from runtime.image.layer.view import View

_XATTRS = ("security.capability", "user.")
_KINDS = {
    stat.S_IFREG: "-",
    stat.S_IFDIR: "d",
    stat.S_IFLNK: "l",
    stat.S_IFIFO: "p",
    stat.S_IFCHR: "c",
    stat.S_IFBLK: "b",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is at a path. `links` are all paths of the same file, if there are several."""

    kind: str
    mode: int
    uid: int
    gid: int
    mtime: int = 0
    target: str = ""
    device: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()
    digest: str = ""
    links: tuple[str, ...] = ()


Tree = dict[str, Seen]


def tree_of_view(view: View) -> Tree:
    """What layers in a store look like on top of each other."""
    groups: dict[object, list[str]] = defaultdict(list)
    found: Tree = {}
    for entry in view.walk(b""):
        if entry.path:
            path = os.fsdecode(entry.path)
            found[path] = _of_entry(entry)
            if entry.inode is not None:
                groups[entry.inode].append(path)
    return _linked(found, groups.values())


def tree_of_directory(directory: Path) -> Tree:
    """What is below a directory."""
    groups: dict[object, list[str]] = defaultdict(list)
    found: Tree = {}
    for path in _below(os.fspath(directory)):
        status = os.lstat(path)
        name = os.path.relpath(path, directory)
        found[name] = _of_file(path, status)
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            groups[status.st_ino].append(name)
    return _linked(found, groups.values())


def tree_of_tar(path: Path) -> Tree:
    """What a tar of a whole file system has in it."""
    groups: dict[object, list[str]] = defaultdict(list)
    found: Tree = {}
    with tarfile.open(path) as tar:
        for member in tar:
            name = member.name.removeprefix("./").strip("/")
            if name in ("", "."):
                continue
            if member.islnk():
                target = member.linkname.removeprefix("./").strip("/")
                found[name] = found[target]
                groups[target] += [name] if groups[target] else [target, name]
            else:
                found[name] = _of_member(tar, member)
    return _linked(found, groups.values())


def _linked(found: Tree, groups: Iterable[list[str]]) -> Tree:
    for group in groups:
        if len(group) > 1:
            for path in group:
                found[path] = replace(found[path], links=tuple(sorted(group)))
    return found


def _of_entry(entry: Entry) -> Seen:
    kind = entry.kind
    digest = ""
    if kind is Kind.REGULAR:
        data = entry.content
        if isinstance(data, FileSource):
            with open(data.open(), "rb") as file:
                data = file.read(entry.size)
        digest = hashlib.sha256(data).hexdigest()
    return Seen(
        kind=kind.value,
        mode=0 if kind is Kind.SYMLINK else entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        mtime=entry.mtime if kind is Kind.REGULAR else 0,
        target=os.fsdecode(entry.target),
        device=entry.rdev,
        xattrs=entry.xattrs,
        digest=digest,
    )


def _below(directory: str) -> Iterator[str]:
    with os.scandir(directory) as items:
        for item in items:
            yield item.path
            if item.is_dir(follow_symlinks=False):
                yield from _below(item.path)


def _of_file(path: str, status: os.stat_result) -> Seen:
    kind = _KINDS[stat.S_IFMT(status.st_mode)]
    names = sorted(n for n in os.listxattr(path, follow_symlinks=False) if n.startswith(_XATTRS))
    digest = ""
    if kind == "-":
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return Seen(
        kind=kind,
        mode=0 if kind == "l" else stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime=int(status.st_mtime) if kind == "-" else 0,
        target=os.readlink(path) if kind == "l" else "",
        device=status.st_rdev if kind in "cb" else 0,
        xattrs=tuple((n, os.getxattr(path, n, follow_symlinks=False)) for n in names),
        digest=digest,
    )


def _of_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Seen:
    kind = next(
        letter
        for letter, holds in zip(
            "-dlpcb",
            (member.isfile, member.isdir, member.issym, member.isfifo, member.ischr, member.isblk),
            strict=True,
        )
        if holds()
    )
    content = tar.extractfile(member) if kind == "-" else None
    prefix = "SCHILY.xattr."
    xattrs = {
        name.removeprefix(prefix): value.encode("utf-8", "surrogateescape")
        for name, value in member.pax_headers.items()
        if name.startswith(prefix) and name.removeprefix(prefix).startswith(_XATTRS)
    }
    return Seen(
        kind=kind,
        mode=0 if kind == "l" else member.mode & 0o7777,
        uid=member.uid,
        gid=member.gid,
        mtime=int(member.mtime) if kind == "-" else 0,
        target=member.linkname if kind == "l" else "",
        device=os.makedev(member.devmajor, member.devminor) if kind in "cb" else 0,
        xattrs=tuple(sorted(xattrs.items())),
        digest=hashlib.sha256(content.read()).hexdigest() if content else "",
    )
