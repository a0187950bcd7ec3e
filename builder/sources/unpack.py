"""ADD of archives: a tar, plain or compressed, as the entries in it.

A file is an archive if its content says so, whatever its name (dockerfile.md 1.6).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Self

from runtime.image.layer.decompression import open_decompressed
from runtime.image.layer.entry import Entry, FileSource
from runtime.image.layer.tar_reader import index_tar
from runtime.image.store.store import Store

_BLOCK = 512
_CHECKSUM = slice(148, 156)
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\0")
_READ = 1 << 20


class Unpacker:
    """Finds archives and what is in them; what had to be decompressed goes with it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stack = ExitStack()
        self._guard = threading.Lock()
        self._folder: str | None = None
        self._archives: dict[bytes, Entry] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def unpack(self, entry: Entry) -> list[Entry] | None:
        """The entries of an archive, or `None` if the file is none. `LayerError` if broken."""
        with self._guard:
            path = self._plain_tar(entry)
            if path is None:
                return None
            self._archives[path] = entry
        # Names that mean a removal in a layer mean nothing in an archive: no layer can hold them.
        return index_tar(os.fsdecode(path), whiteouts=False)

    def place(self, entry: Entry, name: Callable[[Entry], str]) -> str | None:
        """A name for bytes out of an archive: the archive's, and where in it they are."""
        content = entry.content
        if not isinstance(content, FileSource) or content.path not in self._archives:
            return None
        return f"{name(self._archives[content.path])}+{content.offset}"

    def _plain_tar(self, entry: Entry) -> bytes | None:
        """The path of an uncompressed tar with the content of `entry`; `None` if it is none."""
        source = entry.content
        if not isinstance(source, FileSource):
            return None
        fd = source.open()
        try:
            head = os.read(fd, _BLOCK)
        finally:
            os.close(fd)
        if not head.startswith(_COMPRESSED):
            if not looks_like_tar(head):
                return None
            return source.path if source.offset == 0 else self._part(source, entry.size)
        path = source.path if source.offset == 0 else self._part(source, entry.size)
        return self._decompressed(path)

    def _decompressed(self, path: bytes) -> bytes | None:
        """A decompressed copy of a file, if it is a tar."""
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            with closing(open_decompressed(fd)) as chunks:
                first = b""
                while len(first) < _BLOCK and (chunk := next(chunks, b"")):
                    first += chunk
                if not looks_like_tar(first[:_BLOCK]):
                    return None
                target, out = self._new_file()
                with os.fdopen(out, "wb") as file:
                    file.write(first)
                    for chunk in chunks:
                        file.write(chunk)
                return target
        finally:
            os.close(fd)

    def _part(self, source: FileSource, size: int) -> bytes:
        """A copy of a file that is a part of another."""
        target, out = self._new_file()
        fd = source.open()
        try:
            with os.fdopen(out, "wb") as file:
                while size > 0 and (data := os.read(fd, min(size, _READ))):
                    file.write(data)
                    size -= len(data)
        finally:
            os.close(fd)
        return target

    def _new_file(self) -> tuple[bytes, int]:
        if self._folder is None:
            self._folder = self._stack.enter_context(self._store.workspace())
        path = os.path.join(self._folder, f"archive-{len(os.listdir(self._folder))}")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        return os.fsencode(path), fd


def looks_like_tar(block: bytes) -> bool:
    """Whether a file that begins so is a tar: its first header's checksum has to be right."""
    if len(block) < _BLOCK:
        return False
    if block == bytes(_BLOCK):
        return True
    try:
        checksum = int(block[_CHECKSUM].split(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        return False
    return sum(block) - sum(block[_CHECKSUM]) + 8 * 32 == checksum
