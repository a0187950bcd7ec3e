"""What an image archive has, by name: a tar, or a directory with an OCI layout.

Nothing is unpacked. A tar's members are found by reading its headers, and read where they lie;
links in it are followed as names in it, and lead nowhere else.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from runtime.image.errors import ArchiveError, LayerError

_CHUNK: Final = 1 << 20
_MOST_ENTRIES: Final = 200_000
_MOST_LINKS: Final = 8


class Section(Protocol):
    """What an archive has under a name; readable while the archive is open."""

    @property
    def size(self) -> int: ...

    def chunks(self) -> Iterator[bytes]:
        """Its bytes; fewer than `size` if the archive has become shorter."""


@dataclass(frozen=True, slots=True)
class _TarSection:
    """A part of an open file."""

    fd: int
    offset: int
    size: int

    def chunks(self) -> Iterator[bytes]:
        position, end = self.offset, self.offset + self.size
        while position < end:
            chunk = os.pread(self.fd, min(_CHUNK, end - position), position)
            if not chunk:
                return
            position += len(chunk)
            yield chunk


@dataclass(frozen=True, slots=True)
class _PathSection:
    """A file that is opened when it is read."""

    path: str
    size: int

    def chunks(self) -> Iterator[bytes]:
        # What has taken the file's place may be a pipe, which would be waited for.
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(fd, "rb", buffering=0) as file:
            yield from _TarSection(file.fileno(), 0, self.size).chunks()


class ArchiveFiles(Protocol):
    """An archive's files by name; `name` is the archive's own, for people."""

    name: str

    def __contains__(self, name: str) -> bool: ...

    def section(self, name: str) -> Section:
        """Where a file's bytes are, for as long as the archive is open; `ArchiveError`."""


def read_file(files: ArchiveFiles, name: str, limit: int) -> bytes:
    """A file's content, which may have `limit` bytes."""
    section = files.section(name)
    if section.size > limit:
        raise ArchiveError(f"{files.name}: {name} is longer than the {limit} bytes it may have")
    return b"".join(section.chunks())


@contextmanager
def open_archive(source: str | int, space: str, name: str) -> Iterator[ArchiveFiles]:
    """The files of an archive: a directory, a tar, compressed or not, or a descriptor of one.

    What cannot be read in place is copied to the directory `space` first. `ArchiveError` for
    what is no archive, or has what no image archive has.
    """
    if isinstance(source, str) and os.path.isdir(source):
        yield _Directory(source, name)
        return
    from runtime.image.archives.plain_tar import plain_tar
    from runtime.image.layer.decompression import Growth

    try:
        path = plain_tar(source, space, Growth())
        members = _Members(path)
    except LayerError as error:
        why = error.message.removeprefix("layer: ").removeprefix("layer ")
        raise ArchiveError(f"{name} is no image archive: {why}") from error
    from runtime.image.archives.gate import check_outer

    check_outer(path, name)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield _Tar(fd, members, name)
    finally:
        os.close(fd)


class _Members:
    """Where the regular files of a tar are, and where its links point to."""

    def __init__(self, path: str) -> None:
        from runtime.image.layer.entry import FileSource, Kind
        from runtime.image.layer.tar_reader import Limits, index_tar

        self.files: dict[str, tuple[int, int]] = {}
        self.links: dict[str, str] = {}
        self.twice: set[str] = set()
        limits = Limits(entries=_MOST_ENTRIES)
        for entry in index_tar(path, limits=limits, whiteouts=False):
            name, target = os.fsdecode(entry.path), os.fsdecode(entry.target)
            match entry.kind:
                case Kind.REGULAR:
                    content = entry.content
                    start = content.offset if isinstance(content, FileSource) else 0
                    self._add(name)
                    self.files[name] = (start, entry.size)
                case Kind.HARDLINK:
                    self._add(name)
                    self.links[name] = target
                case Kind.SYMLINK:
                    self._add(name)
                    self.links[name] = posixpath.join(posixpath.dirname(name), target)
                case _:
                    continue

    def _add(self, name: str) -> None:
        if name in self.files or name in self.links:
            self.twice.add(name)


class _Tar:
    """A tar of which the members are known, open for reading."""

    def __init__(self, fd: int, members: _Members, name: str) -> None:
        self.name = name
        self._fd = fd
        self._members = members

    def __contains__(self, name: str) -> bool:
        return name in self._members.files or name in self._members.links

    def section(self, name: str) -> Section:
        found = name
        for _ in range(_MOST_LINKS):
            if found in self._members.twice:
                # Which of them counts differs between readers: one of the two is not what it seems.
                raise ArchiveError(f"{self.name}: {found} is there twice")
            place = self._members.files.get(found)
            if place is not None:
                return _TarSection(self._fd, *place)
            target = self._members.links.get(found)
            if target is None:
                raise ArchiveError(f"{self.name}: {found} is missing")
            found = posixpath.normpath(target)
        raise ArchiveError(f"{self.name}: {name} is a link to a link, and so on")


class _Directory:
    """A directory with files in it. Links are followed: build systems make layouts of links."""

    def __init__(self, path: str, name: str) -> None:
        self.name = name
        self._path = path

    def __contains__(self, name: str) -> bool:
        return os.path.isfile(os.path.join(self._path, name))

    def section(self, name: str) -> Section:
        path = os.path.join(self._path, name)
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            raise ArchiveError(f"{self.name}: {name} is missing") from None
        if not stat.S_ISREG(status.st_mode):
            raise ArchiveError(f"{self.name}: {name} is no file")
        return _PathSection(path, status.st_size)
