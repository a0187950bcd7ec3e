"""ADD of archives: a tar, plain or compressed, as the entries in it.

A file is an archive if its content says so, whatever its name (dockerfile.md 1.6). What is in one
that has to be decompressed is remembered by the archive's content: where an ADD of it is known,
nothing is decompressed. What an archive becomes is bounded as that of an image's layers.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Final, Self

from builder.errors import ContextError
from builder.sources.members import pack_members, unpack_members
from runtime.image.errors import LayerError
from runtime.image.layer.decompression import Growth, open_decompressed
from runtime.image.layer.entry import Entry, FileSource
from runtime.image.layer.tar_reader import index_tar
from runtime.image.new_file import write_all
from runtime.image.store.store import Store

_BLOCK: Final = 512
_CHECKSUM: Final = slice(148, 156)
_COMPRESSED: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\0")
_READ: Final = 1 << 20
_MEMO: Final = "archive-members-1"  # the number goes up when the form of what is kept changes
_MOST_REMEMBERED: Final = 200_000
"""How many members of an archive are remembered: more take longer to read than to find again."""

Name = Callable[[Entry], str]


@dataclass(slots=True, kw_only=True)
class _Archive:
    """An archive: the file it is, what is in it, and its tar, which may not be `made` yet."""

    file: Entry
    members: list[Entry]
    tar: bytes
    made: bool


class Unpacker:
    """Finds archives and what is in them; what had to be decompressed goes with it.

    With `name`, which names a file by its content, archives are remembered in the store.
    """

    def __init__(self, store: Store, name: Name | None = None) -> None:
        self._store = store
        self._name = name
        self._stack = ExitStack()
        self._guard = threading.Lock()
        self._folder: str | None = None
        self._made = 0
        self._named: dict[str, _Archive] = {}
        self._archives: dict[bytes, _Archive] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def unpack(self, file: Entry) -> list[Entry] | None:
        """The entries of an archive, or `None` if the file is none. `LayerError` if broken.

        Their content may be read only after `make`.
        """
        with self._guard:
            archive = self._open(file)
            if archive is None:
                return None
            self._archives[archive.tar] = archive
            return list(archive.members)

    def make(self, entries: Iterable[Entry]) -> None:
        """Decompress the archives that entries are from, where that has not been done."""
        tars = {e.content.path for e in entries if isinstance(e.content, FileSource)}
        with self._guard:
            for tar in tars & self._archives.keys():
                archive = self._archives[tar]
                if not archive.made:
                    self._decompress(archive.file, tar)
                    # What was remembered is of the content that the file had when it was named.
                    if _index(tar) != archive.members:
                        raise ContextError(f"{_shown(archive.file)} changed while it was read")
                    archive.made = True

    def place(self, entry: Entry, name: Name) -> str | None:
        """A name for bytes out of an archive: the archive's, and where in it they are."""
        content = entry.content
        if not isinstance(content, FileSource) or content.path not in self._archives:
            return None
        return f"{name(self._archives[content.path].file)}+{content.offset}"

    def _open(self, file: Entry) -> _Archive | None:
        source = file.content
        if not isinstance(source, FileSource):
            return None
        head = _head(source, file.size)
        compressed = head.startswith(_COMPRESSED)
        if not compressed and not looks_like_tar(head):
            return None
        if not compressed and source.offset == 0:
            return _Archive(file=file, members=_index(source.path), tar=source.path, made=True)
        if self._name is None:
            return self._read(file)
        name = self._name(file)
        archive = self._named.get(name) or self._recalled(file, name)
        if archive is None:
            archive = self._read(file)
            if archive is not None and len(archive.members) <= _MOST_REMEMBERED:
                self._store.put_memo(_MEMO, name, pack_members(archive.members))
        if archive is not None:
            self._named[name] = archive
        return archive

    def _recalled(self, file: Entry, name: str) -> _Archive | None:
        """An archive of which an earlier build knew what is in it."""
        memo = self._store.get_memo(_MEMO, name)
        if memo is None:
            return None
        tar = self._new_path()
        return _Archive(file=file, members=unpack_members(memo, tar), tar=tar, made=False)

    def _read(self, file: Entry) -> _Archive | None:
        tar = self._new_path()
        if not self._decompress(file, tar):
            return None
        return _Archive(file=file, members=_index(tar), tar=tar, made=True)

    def _decompress(self, file: Entry, path: bytes) -> bool:
        """Write the tar that a file is to `path`; whether it is one."""
        assert isinstance(file.content, FileSource)
        source = file.content.open()
        out = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if file.content.offset:
                # Decompressors read up to the end of what they are given: cut the part out.
                part = self._part(source, file.size)
                os.close(source)
                source = part
            is_tar = _write_tar(source, out)
        except BaseException:
            os.unlink(path)
            raise
        finally:
            os.close(source)
            os.close(out)
        if not is_tar:
            os.unlink(path)
        return is_tar

    def _part(self, source: int, size: int) -> int:
        """A copy of the next bytes of a file, as a file that has no name."""
        path = self._new_path()
        part = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.unlink(path)
        while size > 0 and (data := os.read(source, min(size, _READ))):
            write_all(part, data)
            size -= len(data)
        os.lseek(part, 0, os.SEEK_SET)
        return part

    def _new_path(self) -> bytes:
        if self._folder is None:
            self._folder = self._stack.enter_context(self._store.workspace())
        self._made += 1
        return os.fsencode(os.path.join(self._folder, f"archive-{self._made}"))


def looks_like_tar(block: bytes) -> bool:
    """Whether a file that begins so is a tar: its first header's checksum has to be right.

    A tar with nothing in it is none: disk images begin with zeros, too (and so for BuildKit).
    """
    if len(block) < _BLOCK:
        return False
    block = block[:_BLOCK]
    try:
        checksum = int(block[_CHECKSUM].split(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        return False
    return sum(block) - sum(block[_CHECKSUM]) + 8 * 32 == checksum


def _write_tar(source: int, out: int) -> bool:
    """Write out what is decompressed from a file, if it is a tar; whether it is one."""
    with closing(open_decompressed(source, Growth())) as chunks:
        first = b""
        try:
            while len(first) < _BLOCK and (chunk := next(chunks, b"")):
                first += chunk
        except LayerError:
            return False  # it only began like something compressed
        if not looks_like_tar(first):
            return False
        write_all(out, first)
        for chunk in chunks:
            write_all(out, chunk)
    return True


def _index(tar: bytes) -> list[Entry]:
    """What is in a tar; names that mean a removal in a layer mean nothing in an archive."""
    return index_tar(os.fsdecode(tar), whiteouts=False)


def _head(source: FileSource, size: int) -> bytes:
    fd = source.open()
    try:
        return os.read(fd, min(_BLOCK, size))
    finally:
        os.close(fd)


def _shown(file: Entry) -> str:
    return os.fsdecode(file.path)
