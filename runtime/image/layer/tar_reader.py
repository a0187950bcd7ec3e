"""Tars to entries, whoever wrote them: ustar, GNU, PAX, and what is older.

Nothing in a tar is believed: names are normalised or refused, numbers and headers are bounded
before anything is reserved for them. What is refused is refused by name, with `LayerError`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Self

from runtime.image.errors import LayerError
from runtime.image.layer.entry import Content, Entry, FileSource, Kind
from runtime.image.layer.overlay_marks import META_PREFIX, OPAQUE_NAME, WHITEOUT_PREFIX, is_kept
from runtime.image.layer.tar_fields import (
    decimal,
    number,
    path_of,
    pax_records,
    refusal,
    text,
    verify_checksum,
)
from runtime.image.layer.tar_header import BLOCK, decode_xattr_name
from runtime.image.layer.tar_source import Body, Chunks, RawTar, Source

_FIELDS: Final = struct.Struct("100s8s8s8s12s12s8xc100s6s2x64x8s8s155s12x")
_ZERO_BLOCK: Final = bytes(BLOCK)
_XATTR: Final = b"SCHILY.xattr."
_LARGEST_ID: Final = (1 << 32) - 2  # chown takes -1 for "leave it"
_LATEST: Final = 1 << 36
_REMEMBERED: Final = 1000
_KINDS: Final = {
    b"0": Kind.REGULAR,
    b"\0": Kind.REGULAR,
    b"7": Kind.REGULAR,  # "contiguous"
    b"1": Kind.HARDLINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.CHARACTER,
    b"4": Kind.BLOCK,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a tar may cost; what goes beyond is refused."""

    entries: int = 4_000_000
    size: int = 1 << 40
    """Bytes of all contents together."""
    path: int = 4096
    """Bytes of a path or of a link's target, as PATH_MAX."""
    name: int = 255
    """Bytes of a component of a path, as NAME_MAX."""
    headers: int = 1 << 20
    """Bytes of one extended header."""


def _nowhere() -> Content:
    return b""


class _Parser:
    """The headers of a tar; after each, the source stands at the member's content."""

    def __init__(
        self,
        source: Source,
        limits: Limits,
        whiteouts: bool,
        locate: Callable[[], Content] = _nowhere,
    ) -> None:
        self._source = source
        self._limits = limits
        self._whiteouts = whiteouts
        self._locate = locate
        self._numbers: dict[tuple[bytes, ...], tuple[int, int, int, int]] = {}
        self._count = 0
        self._size = 0
        self.root: Entry | None = None

    def next(self) -> Entry | None:
        """The next entry, `None` at the end of the archive."""
        extended: dict[bytes, bytes] = {}
        source = self._source
        while True:
            block = source.take(BLOCK)
            if len(block) < BLOCK or block == _ZERO_BLOCK:
                self._finish(block, extended)
                return None
            fields = _FIELDS.unpack(block)
            typeflag: bytes = fields[6]
            self._count += 1
            if self._count > self._limits.entries:
                raise refusal(b"", f"there are more than {self._limits.entries} entries")
            verify_checksum(block)
            kind = _KINDS.get(typeflag)
            if kind is None:
                self._extend(typeflag, fields, extended)
                continue
            entry = self._entry(kind, fields, extended)
            if entry is not None:
                return entry
            extended = {}

    def _finish(self, block: bytes, extended: dict[bytes, bytes]) -> None:
        """Check that this is an end, which should be two blocks of zeros, but often is not."""
        if not block:
            if not self._count:
                raise refusal(b"", "it is empty, not a tar")
        elif len(block) < BLOCK:
            raise refusal(b"", "the tar is cut off")
        else:
            second = self._source.take(BLOCK)
            if second and second != _ZERO_BLOCK[: len(second)]:
                raise refusal(b"", "the tar goes on behind its end")
        if extended:
            raise refusal(b"", "the tar ends after an extended header")

    def _extend(
        self, typeflag: bytes, fields: tuple[bytes, ...], extended: dict[bytes, bytes]
    ) -> None:
        """Read a header that only says something about the next one."""
        member = text(fields[0])
        size = number(fields[4], member, "size")
        if typeflag not in (b"x", b"g", b"L", b"K", b"V"):
            name = "sparse files" if typeflag == b"S" else f"entries of type {typeflag!r}"
            raise refusal(member, f"{name} are not supported")
        if not 0 <= size <= self._limits.headers:
            raise refusal(member, f"its extended header has {size} bytes")
        body = self._source.take(size)
        if len(body) < size or self._source.skip(-size % BLOCK) < -size % BLOCK:
            raise refusal(member, "the tar is cut off")
        match typeflag:
            case b"x":
                extended.update(pax_records(body, member))
            case b"L":
                extended[b"path"] = text(body)
            case b"K":
                extended[b"linkpath"] = text(body)
            case _:  # global headers are comments in practice; Docker does not heed them either
                pass

    def _entry(
        self, kind: Kind, fields: tuple[bytes, ...], extended: dict[bytes, bytes]
    ) -> Entry | None:
        """The entry of a header; `None` for the root, and for what is to be left out."""
        raw, mode, uid, gid, size, mtime, typeflag, link, magic, major, minor, prefix = fields
        name = text(raw)
        if prefix[0] and magic == b"ustar\0":
            name = text(prefix) + b"/" + name
        length = number(size, name, "size") if kind is Kind.REGULAR else 0
        permissions, owner, group, time = self._common(name, (mode, uid, gid, mtime))
        linking = kind is Kind.HARDLINK or kind is Kind.SYMLINK
        target = text(link) if linking else b""
        xattrs: tuple[tuple[str, bytes], ...] = ()
        if extended:
            name = extended.get(b"path") or name
            if linking:
                target = extended.get(b"linkpath") or target
            length, owner, group, time, xattrs = self._extended(
                name, kind, extended, (length, owner, group, time)
            )
        if typeflag == b"\0" and name.endswith(b"/"):
            kind, length = Kind.DIRECTORY, 0  # as tars were before there was a type for them
        self._size += length
        if (
            b"\0" in name
            or not 0 <= length <= self._size <= self._limits.size
            or not 0 <= owner <= _LARGEST_ID
            or not 0 <= group <= _LARGEST_ID
            or not -_LATEST <= time <= _LATEST
        ):
            raise self._excess(name, length, owner, group, time)
        path = path_of(name, name, self._limits.path, self._limits.name + len(WHITEOUT_PREFIX))
        rdev = 0
        if linking:
            target = self._target(kind, name, target)
        elif kind is Kind.CHARACTER or kind is Kind.BLOCK:
            rdev = _device(number(major, name, "device"), number(minor, name, "device"), name)
        marked: Kind | None = kind
        if self._whiteouts:
            if WHITEOUT_PREFIX in path:
                marked, path = self._marked(kind, path)
            elif kind is Kind.CHARACTER and rdev == 0:
                marked = Kind.WHITEOUT  # what overlayfs would take it for
        if not path and marked is not Kind.OPAQUE and marked is not None:
            self._root(marked, name, permissions, owner, group, time, xattrs)
            marked = None
        if marked is None or marked is Kind.WHITEOUT or marked is Kind.OPAQUE:
            self._leave_out(name, length)
            return None if marked is None else Entry(path=path, kind=marked, mode=0)
        if len(path) > self._limits.name:
            path_of(path, name, self._limits.path, self._limits.name)
        return Entry(
            path=path,
            kind=marked,
            mode=permissions,
            uid=owner,
            gid=group,
            mtime=time,
            size=length,
            target=target,
            rdev=rdev,
            xattrs=xattrs,
            content=self._locate() if length else b"",
        )

    def _common(self, name: bytes, fields: tuple[bytes, ...]) -> tuple[int, int, int, int]:
        """Mode, owner, group and time, which are the same for file after file."""
        numbers = self._numbers.get(fields)
        if numbers is None:
            if len(self._numbers) > _REMEMBERED:
                self._numbers.clear()
            mode, uid, gid, mtime = fields
            numbers = self._numbers[fields] = (
                number(mode, name, "mode") & 0o7777,
                number(uid, name, "uid"),
                number(gid, name, "gid"),
                number(mtime, name, "mtime"),
            )
        return numbers

    def _extended(
        self,
        name: bytes,
        kind: Kind,
        extended: dict[bytes, bytes],
        numbers: tuple[int, int, int, int],
    ) -> tuple[int, int, int, int, tuple[tuple[str, bytes], ...]]:
        length, owner, group, time = numbers
        xattrs: list[tuple[str, bytes]] = []
        for key, value in extended.items():
            if key.startswith(_XATTR):
                attribute = decode_xattr_name(key.removeprefix(_XATTR))
                if is_kept(attribute):
                    xattrs.append((attribute, value))
            elif key.startswith(b"GNU.sparse."):
                raise refusal(name, "sparse files are not supported")
            elif not value or key in (b"path", b"linkpath"):
                pass
            elif key == b"size":
                length = decimal(value, name, "size") if kind is Kind.REGULAR else 0
            elif key == b"uid":
                owner = decimal(value, name, "uid")
            elif key == b"gid":
                group = decimal(value, name, "gid")
            elif key == b"mtime":
                time = decimal(value, name, "mtime")
        return length, owner, group, time, tuple(sorted(xattrs))

    def _excess(self, name: bytes, length: int, owner: int, group: int, time: int) -> LayerError:
        """What of these no member can have."""
        if b"\0" in name:
            return refusal(name, "its path contains a NUL")
        if length < 0 or self._size > self._limits.size:
            return refusal(name, f"the content is more than {self._limits.size} bytes")
        if not 0 <= owner <= _LARGEST_ID or not 0 <= group <= _LARGEST_ID:
            return refusal(name, f"no owner can be {owner}:{group}")
        return refusal(name, f"no time can be {time}")

    def _target(self, kind: Kind, name: bytes, target: bytes) -> bytes:
        if not target or b"\0" in target or len(target) >= self._limits.path:
            raise refusal(name, "its link's target is empty, too long or contains a NUL")
        if kind is Kind.SYMLINK:
            return target
        return path_of(target, name, self._limits.path, self._limits.name)

    def _marked(self, kind: Kind, path: bytes) -> tuple[Kind | None, bytes]:
        """What a path with `.wh.` in it stands for; `None` for aufs's own files at the top."""
        parent, _, name = path.rpartition(b"/")
        first = path.partition(b"/")[0]
        if first.startswith(META_PREFIX) and first != OPAQUE_NAME:
            return None, b""
        if parent.startswith(WHITEOUT_PREFIX) or b"/" + WHITEOUT_PREFIX in b"/" + parent:
            raise refusal(path, "it lies in a directory whose name begins with .wh.")
        if name == OPAQUE_NAME:
            return Kind.OPAQUE, parent
        if not name.startswith(WHITEOUT_PREFIX):
            return kind, path
        removed = name.removeprefix(WHITEOUT_PREFIX)
        if removed in (b"", b".", b"..") or removed.startswith(WHITEOUT_PREFIX):
            raise refusal(path, "nothing of this name can be removed")
        return Kind.WHITEOUT, parent + b"/" + removed if parent else removed

    def _root(
        self,
        kind: Kind,
        name: bytes,
        mode: int,
        owner: int,
        group: int,
        time: int,
        xattrs: tuple[tuple[str, bytes], ...],
    ) -> None:
        if kind is not Kind.DIRECTORY:
            raise refusal(name, "the root can only be a directory")
        self.root = Entry(
            path=b"", kind=kind, mode=mode, uid=owner, gid=group, mtime=time, xattrs=xattrs
        )

    def _leave_out(self, name: bytes, length: int) -> None:
        whole = length + -length % BLOCK
        if self._source.skip(whole) < length:
            raise refusal(name, "the tar is cut off")


def _device(major: int, minor: int, name: bytes) -> int:
    if not 0 <= major < 1 << 12 or not 0 <= minor < 1 << 20:
        raise refusal(name, f"no device can be {major}:{minor}")
    return os.makedev(major, minor)


class TarReader:
    """An iterator over the members of a tar; `root` is its entry for the root, once it has come."""

    def __init__(self, chunks: Iterable[bytes], limits: Limits, whiteouts: bool) -> None:
        source = Chunks(chunks)
        self._parser = _Parser(source, limits, whiteouts)
        self._body = Body(source)

    @property
    def root(self) -> Entry | None:
        return self._parser.root

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[Entry, Body]:
        body = self._body
        body.finish()
        entry = self._parser.next()
        if entry is None:
            raise StopIteration
        body.begin(entry.path, entry.size)
        return entry, body


_LIMITS: Final = Limits()


def read_tar(
    chunks: Iterable[bytes], *, limits: Limits = _LIMITS, whiteouts: bool = True
) -> TarReader:
    """The members of a tar, each with a reader of its content, good until the next member.

    Leading `/` and `./` are stripped from paths, those with `..` refused; the root is left out.
    With `whiteouts`, as in layers, `.wh.` names become WHITEOUT and OPAQUE entries (OPAQUE has
    the directory's path), without it they are names like others, as in any archive.
    """
    return TarReader(chunks, limits, whiteouts)


@dataclass(frozen=True, slots=True)
class TarIndex:
    """What is in an uncompressed tar on disk, in its order, and its entry for the root."""

    entries: list[Entry]
    root: Entry | None


def scan_raw_tar(path: str, *, limits: Limits = _LIMITS, whiteouts: bool = True) -> TarIndex:
    """Read the headers of an uncompressed tar; contents stay where they are."""
    name = os.fsencode(path)
    entries = []
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        source = RawTar(fd)
        parser = _Parser(source, limits, whiteouts, lambda: FileSource(name, source.position))
        while (entry := parser.next()) is not None:
            entries.append(entry)
            if entry.size and source.skip(entry.size + -entry.size % BLOCK) < entry.size:
                raise refusal(entry.path, "the tar is cut off")
    finally:
        os.close(fd)
    return TarIndex(entries, parser.root)


def index_tar(path: str, *, limits: Limits = _LIMITS, whiteouts: bool = True) -> list[Entry]:
    """The entries of an uncompressed tar on disk, in its order; contents are `FileSource`s."""
    return scan_raw_tar(path, limits=limits, whiteouts=whiteouts).entries
