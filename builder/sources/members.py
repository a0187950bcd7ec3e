"""What is in an archive, as bytes that can be kept.

Only where the content of a member lies in the tar is kept, not the content. The bytes are from a
store, and so from ourselves.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

from runtime.image.layer.entry import Entry, FileSource, Kind

_LEVEL = 1


def pack_members(members: list[Entry]) -> bytes:
    """The entries of a tar as bytes; `unpack_members` gives them back."""
    return zlib.compress(json.dumps([_row(member) for member in members]).encode(), _LEVEL)


def unpack_members(data: bytes, tar: bytes) -> list[Entry]:
    """The entries again, their content in the file `tar`."""
    return [_entry(row, tar) for row in json.loads(zlib.decompress(data))]


def _row(member: Entry) -> list[Any]:
    assert member.inode is None
    content = member.content
    return [
        member.path.decode("latin-1"),
        member.kind.value,
        member.mode,
        member.uid,
        member.gid,
        member.mtime,
        member.size,
        member.target.decode("latin-1"),
        member.rdev,
        [[name, value.decode("latin-1")] for name, value in member.xattrs],
        content.offset if isinstance(content, FileSource) else content.decode("latin-1"),
    ]


def _entry(row: list[Any], tar: bytes) -> Entry:
    path, kind, mode, uid, gid, mtime, size, target, rdev, xattrs, content = row
    return Entry(
        path=path.encode("latin-1"),
        kind=Kind(kind),
        mode=mode,
        uid=uid,
        gid=gid,
        mtime=mtime,
        size=size,
        target=target.encode("latin-1"),
        rdev=rdev,
        xattrs=tuple((name, value.encode("latin-1")) for name, value in xattrs),
        content=FileSource(tar, content) if isinstance(content, int) else content.encode("latin-1"),
    )
