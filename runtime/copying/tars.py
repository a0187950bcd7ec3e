"""Items to a tar and from one, as streams."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO, Final

from runtime.copying.items import CopyFailed, Item

_TYPES: Final = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}
_FORMATS: Final = {kind: form for form, kind in _TYPES.items()}
_BILLION: Final = 10**9


class _Reader:
    """A file object of what an item has, cut or filled up to its size: a tar has said that."""

    def __init__(self, item: Item) -> None:
        self._item = item
        self._left = item.size

    def read(self, size: int) -> bytes:
        data = b""
        if self._item.read is not None and self._left:
            data = self._item.read(min(size, self._left))
        if not data:
            raise CopyFailed(f"{os.fsdecode(self._item.path)}: was changed while it was read")
        self._left -= len(data)
        while len(data) < min(size, len(data) + self._left):
            more = self._item.read(min(size - len(data), self._left)) if self._item.read else b""
            if not more:
                raise CopyFailed(f"{os.fsdecode(self._item.path)}: was changed while it was read")
            data += more
            self._left -= len(more)
        return data


def write_tar(items: Iterator[Item], out: BinaryIO, name: bytes) -> int:
    """Write items as a tar (PAX), below `name`; how many bytes of files there were."""
    total = 0
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for item in items:
            info = tarfile.TarInfo(os.fsdecode(_below(name, item.path)))
            info.mode = stat.S_IMODE(item.mode)
            info.uid, info.gid = item.uid, item.gid
            info.mtime = item.mtime_ns // _BILLION
            if item.link is not None:
                info.type = tarfile.LNKTYPE
                info.linkname = os.fsdecode(_below(name, item.link))
                tar.addfile(info)
                continue
            info.type = _TYPES[stat.S_IFMT(item.mode)]
            info.linkname = os.fsdecode(item.target)
            if info.type in (tarfile.CHRTYPE, tarfile.BLKTYPE):
                info.devmajor, info.devminor = os.major(item.rdev), os.minor(item.rdev)
            if info.isreg():
                info.size = item.size
                total += item.size
                tar.addfile(info, _Reader(item))  # type: ignore[arg-type]  # only read is called
            else:
                tar.addfile(info)
    return total


def read_tar(source: BinaryIO) -> Iterator[Item]:
    """The items of a tar, plain or compressed. `CopyFailed` for what is none, or leads out."""
    try:
        with tarfile.open(fileobj=source, mode="r|*") as tar:
            for info in tar:
                item = _item(info)
                if not item.path and not info.isdir():
                    raise CopyFailed("a member of the tar has no name")
                content = tar.extractfile(info) if info.isreg() else None
                yield replace(item, read=content.read) if content is not None else item
    except tarfile.TarError as error:
        raise CopyFailed(f"standard input is no tar: {error}") from error


def _item(info: tarfile.TarInfo) -> Item:
    path = _inside(info.name)
    link = _inside(info.linkname) if info.islnk() else None
    form = stat.S_IFREG if info.islnk() or info.isreg() else _FORMATS.get(info.type)
    if form is None:
        raise CopyFailed(f"{info.name}: a tar's member of type {info.type!r} means nothing here")
    device = info.type in (tarfile.CHRTYPE, tarfile.BLKTYPE)
    return Item(
        path=path,
        mode=form | stat.S_IMODE(info.mode),
        uid=info.uid,
        gid=info.gid,
        mtime_ns=int(info.mtime * _BILLION),
        size=info.size,
        rdev=os.makedev(info.devmajor, info.devminor) if device else 0,
        target=os.fsencode(info.linkname) if info.issym() else b"",
        link=link,
    )


def _inside(name: str) -> bytes:
    parts = [part for part in os.fsencode(name).split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise CopyFailed(f"{name}: a member of the tar leads out of where it is to go")
    return b"/".join(parts)


def _below(name: bytes, path: bytes) -> bytes:
    return name + b"/" + path if path else name
