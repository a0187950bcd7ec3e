"""The build context: a directory, seen through its ignore file.

What an ignore pattern excludes is not there; folders that lead to something included are. Owners
are 0:0, as a client sends them (dockerfile.md 1.6). Links are followed inside the context only,
by `builder.sources.trees.resolve`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from builder.errors import ContextError
from builder.sources.trees import join
from grammar.dockerignore import Patterns, parse_patterns
from grammar.errors import InvalidPattern
from runtime.image.layer.entry import Entry, FileSource, Kind

_KINDS = {
    stat.S_IFREG: Kind.REGULAR,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHARACTER,
    stat.S_IFBLK: Kind.BLOCK,
    stat.S_IFIFO: Kind.FIFO,
}
_MOST_IGNORE = 4 << 20


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What changes whenever a file does; the key of the stat cache."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


class Context:
    """A build context on disk.

    `stamps` holds what was seen on the way: of each file and folder its stamp, `None` of what was
    asked for and is not there. What is ignored is not in it, but the folders it lies in are.
    """

    def __init__(self, root: str, patterns: Patterns | None = None, ignore_file: str = "") -> None:
        self.root = os.fsencode(os.path.realpath(root))
        self.stamps: dict[bytes, FileStamp | None] = {}
        self.ignore_file = ignore_file
        self._patterns = patterns
        self._visible: dict[bytes, bool] = {}

    def ignored(self) -> tuple[tuple[int, str], ...]:
        """The patterns of the ignore file by line."""
        if self._patterns is None:
            return ()
        return tuple((each.line or 0, each.text) for each in self._patterns.patterns)

    def lstat(self, path: bytes) -> Entry | None:
        """What is at a path; `None` where nothing is, or where it is ignored."""
        full = join(self.root, path)
        try:
            status = os.lstat(full)
        except (FileNotFoundError, NotADirectoryError):
            self.stamps[full] = None
            return None
        if path and not self._included(path, status):
            return None
        return self._entry(path, status)

    def listdir(self, path: bytes) -> list[bytes]:
        """The names in a folder, sorted, but for those that are ignored."""
        return [entry.path.rpartition(b"/")[2] for entry in self._scan(path)]

    def walk(self, path: bytes) -> Iterator[Entry]:
        """What is at a path and everything below, folders before their content, names sorted."""
        entry = self.lstat(path)
        if entry is None:
            return
        yield entry
        if entry.kind is Kind.DIRECTORY:
            yield from self._below(path)

    def _below(self, folder: bytes) -> Iterator[Entry]:
        for entry in self._scan(folder):
            yield entry
            if entry.kind is Kind.DIRECTORY:
                yield from self._below(entry.path)

    def _scan(self, folder: bytes) -> list[Entry]:
        """The entries of one folder, sorted by name."""
        found: list[Entry] = []
        patterns = self._patterns
        full = join(self.root, folder)
        # Before it is read: names that come or go later change its times.
        self.stamps[full] = _stamp(os.lstat(full))
        with os.scandir(full) as names:
            for name in names:
                path = join(folder, name.name)
                status = name.stat(follow_symlinks=False)
                if patterns is None or self._included(path, status):
                    entry = self._entry(path, status)
                    if entry is not None:
                        found.append(entry)
        found.sort(key=_path)
        return found

    def _included(self, path: bytes, status: os.stat_result) -> bool:
        if self._patterns is None:
            return True
        text = path.decode("utf-8", "surrogateescape")
        if not self._patterns.excludes(text).excluded:
            return True
        if not stat.S_ISDIR(status.st_mode) or not self._patterns.may_include_below(text):
            return False
        # An excluded folder is there if a pattern brings back something below it.
        if path not in self._visible:
            self._visible[path] = bool(self._scan(path))
        return self._visible[path]

    def _entry(self, path: bytes, status: os.stat_result) -> Entry | None:
        """The entry of an inode; `None` for a socket, which no layer can hold."""
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return None
        full = join(self.root, path)
        regular = kind is Kind.REGULAR
        self.stamps[full] = _stamp(status)
        linked = regular and status.st_nlink > 1
        return Entry(
            path=path,
            kind=kind,
            mode=stat.S_IMODE(status.st_mode),
            mtime=int(status.st_mtime),
            size=status.st_size if regular else 0,
            target=os.readlink(full) if kind is Kind.SYMLINK else b"",
            rdev=status.st_rdev if kind in (Kind.CHARACTER, Kind.BLOCK) else 0,
            content=FileSource(full) if regular else b"",
            inode=(status.st_dev, status.st_ino) if linked else None,
        )


def _path(entry: Entry) -> bytes:
    return entry.path


def _stamp(status: os.stat_result) -> FileStamp:
    return FileStamp(
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )


@dataclass(frozen=True, slots=True)
class IgnoreFile:
    """An ignore file: its path and what it says."""

    path: str
    patterns: Patterns


def open_context(root: str, dockerfile: str) -> Context:
    """The context in a directory, with its ignore file; `ContextError`."""
    ignore = find_ignore_file(root, dockerfile)
    return Context(root) if ignore is None else Context(root, ignore.patterns, ignore.path)


def ignore_files(root: str, dockerfile: str) -> tuple[str, str]:
    """Where the ignore file of a context can be; the first that exists is taken."""
    return dockerfile + ".dockerignore", os.path.join(root, ".dockerignore")


def find_ignore_file(root: str, dockerfile: str) -> IgnoreFile | None:
    """The ignore file of the context in a directory, if there is one.

    `DOCKERFILE.dockerignore` beside the Dockerfile is taken instead of `.dockerignore` at the
    context's root where it exists. `ContextError` if the directory or a pattern cannot be read.
    """
    if not os.path.isdir(root):
        what = "is not a directory" if os.path.exists(root) else "not found"
        raise ContextError(f"unable to prepare context: path {root!r} {what}")
    for name in ignore_files(root, dockerfile):
        try:
            with open(name, encoding="utf-8", errors="surrogateescape") as file:
                text = file.read(_MOST_IGNORE)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ContextError(f"cannot read {name}: {error.strerror}") from error
        try:
            return IgnoreFile(name, parse_patterns(text))
        except InvalidPattern as error:
            raise ContextError(f"{name}: {error}") from error
    return None
