"""Entries to the bytes of a layer: the same entries, the same bytes, on every machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from runtime.image.digest import DiffID
from runtime.image.errors import LayerError
from runtime.image.layer.buffers import Consumer, Fanout, writer
from runtime.image.layer.entry import Entry, Kind
from runtime.image.layer.tar_header import END, encode, sort_key


@dataclass(frozen=True, slots=True)
class LayerSum:
    """What is known of a layer once it has been written: its name, its tar's size."""

    diff_id: DiffID
    size: int
    entries: int


def write_layer(entries: Iterable[Entry], out_fd: int | None) -> LayerSum:
    """Write a layer's tar (or, without `out_fd`, only name it).

    The entries come in canonical order, each path once, and each regular file is exactly as
    long as its entry says. Regular files of equal `inode` become hard links to the first.
    `LayerError` otherwise, or if a file is changed while it is read; what has been written
    then is worthless. Reading overlaps with hashing and writing.
    """
    consumers: list[Consumer] = [] if out_fd is None else [writer(out_fd)]
    return write_layer_to(entries, *consumers)


def write_layer_to(entries: Iterable[Entry], *consumers: Consumer) -> LayerSum:
    """As `write_layer`, the tar going to any consumers, each in a thread of its own."""
    digest = hashlib.sha256()
    with Fanout(digest.update, *consumers) as out:
        count = _write_entries(entries, out)
        out.put(END)
    return LayerSum(DiffID("sha256:" + digest.hexdigest()), out.size, count)


def canonical_order(entries: Iterable[Entry]) -> list[Entry]:
    """Bring a layer's entries into the order in which they are written.

    Of entries with the same path the last is kept. A hard link that would come before its
    target changes places with it, and regular files of equal `inode` become links to the first.
    """
    by_key = {sort_key(entry): entry for entry in entries}
    ordered = [by_key[key] for key in sorted(by_key)]
    regular = {entry.path: entry for entry in ordered if entry.kind is Kind.REGULAR}
    first: dict[bytes | tuple[int, int], bytes] = {}
    result = []
    for entry in ordered:
        if entry.kind is Kind.HARDLINK:
            source = regular.get(entry.target)
            if source is None:
                result.append(entry)  # to a link or a device: those cannot change places
                continue
        elif entry.kind is Kind.REGULAR:
            source = entry
        else:
            result.append(entry)
            continue
        place = first.setdefault(source.inode or source.path, entry.path)
        if place == entry.path:
            result.append(replace(source, path=entry.path))
        else:
            result.append(link_to(source, entry.path, place))
    return result


def link_to(source: Entry, path: bytes, target: bytes) -> Entry:
    """A hard link at `path` to the regular file `source`, which is written at `target`."""
    return replace(
        source, path=path, kind=Kind.HARDLINK, target=target, size=0, content=b"", xattrs=()
    )


def _write_entries(entries: Iterable[Entry], out: Fanout) -> int:
    count = 0
    last = b""
    for entry in _linked(entries):
        key = sort_key(entry)
        if key <= last:
            raise LayerError(os.fsdecode(entry.path), "comes twice, or too late, in its layer")
        last = key
        count += 1
        header = encode(entry)
        kind = entry.kind
        if kind is Kind.REGULAR:
            _write_file(entry, header, out)
            continue
        out.put(header)
        if kind is Kind.HARDLINK and sort_key(replace(entry, path=entry.target)) >= key:
            raise LayerError(os.fsdecode(entry.path), "a hard link comes before its target")
    return count


def _linked(entries: Iterable[Entry]) -> Iterator[Entry]:
    first: dict[tuple[int, int], bytes] = {}
    for entry in entries:
        if entry.inode is not None and entry.kind is Kind.REGULAR:
            place = first.setdefault(entry.inode, entry.path)
            if place != entry.path:
                yield link_to(entry, entry.path, place)
                continue
        yield entry


def _write_file(entry: Entry, header: bytes, out: Fanout) -> None:
    content = entry.content
    if isinstance(content, bytes):
        if len(content) != entry.size:
            raise LayerError(os.fsdecode(entry.path), "its size is not its content's")
        out.put(header)
        if content:
            out.put(content)
            out.pad(entry.size)
    elif content.fd is not None:
        _copy_file(entry, header, content.fd, out)
    elif not entry.size:
        out.put(header)
    else:
        fd = content.open()
        try:
            if content.offset:  # a part of an archive, which goes on behind it
                _copy_part(entry, header, fd, out)
            else:
                _copy_file(entry, header, fd, out)
        finally:
            os.close(fd)


def _copy_file(entry: Entry, header: bytes, fd: int, out: Fanout) -> None:
    size = entry.size
    count = out.put_file(header, fd, size)
    if count < 0:
        before = os.fstat(fd)
        _copy_part(entry, header, fd, out)
        after = os.fstat(fd)
        count = after.st_size
        if (before.st_mtime_ns, before.st_ctime_ns) != (after.st_mtime_ns, after.st_ctime_ns):
            count = -1
    if count != size:
        raise _changed(entry)


def _copy_part(entry: Entry, header: bytes, fd: int, out: Fanout) -> None:
    out.put(header)
    if out.read(fd, entry.size) != entry.size:
        raise _changed(entry)
    out.pad(entry.size)


def _changed(entry: Entry) -> LayerError:
    return LayerError(os.fsdecode(entry.path), "the file was changed while it was read")
