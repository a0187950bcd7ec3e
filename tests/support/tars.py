"""Tars made by hand, which can say things that no writer would."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

UID: Final = os.geteuid()
"""The owner of members that do not say another, so that any user can extract them."""
GID: Final = os.getegid()
END: Final = bytes(1024)


def octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def header(
    name: bytes,
    typeflag: bytes = b"0",
    *,
    size: int | bytes = 0,
    link: bytes = b"",
    mode: int | bytes = 0o644,
    uid: int | bytes = UID,
    gid: int | bytes = GID,
    mtime: int | bytes = 0,
    major: int | bytes = 0,
    minor: int | bytes = 0,
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    checksum: bytes | None = None,
) -> bytes:
    """One block; numbers given as bytes are used as they are."""

    def field(value: int | bytes, width: int) -> bytes:
        return value.ljust(width, b"\0") if isinstance(value, bytes) else octal(value, width)

    head = name.ljust(100, b"\0")[:100] + field(mode, 8) + field(uid, 8) + field(gid, 8)
    head += field(size, 12) + field(mtime, 12)
    tail = typeflag + link.ljust(100, b"\0")[:100] + magic + bytes(64)
    tail += field(major, 8) + field(minor, 8) + prefix.ljust(167, b"\0")
    total = sum(head) + sum(tail) + 8 * 32
    return head + (b"%06o\0 " % total if checksum is None else checksum) + tail


def padded(body: bytes) -> bytes:
    return body + bytes(-len(body) % 512)


def file(name: bytes, body: bytes = b"", *, mode: int = 0o644) -> bytes:
    return header(name, size=len(body), mode=mode) + padded(body)


def directory(name: bytes, *, mode: int = 0o755, mtime: int = 0) -> bytes:
    return header(name, b"5", mode=mode, mtime=mtime)


def symlink(name: bytes, target: bytes) -> bytes:
    return header(name, b"2", link=target, mode=0o777)


def hardlink(name: bytes, target: bytes) -> bytes:
    return header(name, b"1", link=target)


def pax(records: Mapping[bytes, bytes]) -> bytes:
    """An extended header for the next member."""
    body = b""
    for key, value in records.items():
        length = len(key) + len(value) + 3
        while len(b"%d" % length) + len(key) + len(value) + 3 != length:
            length = len(b"%d" % length) + len(key) + len(value) + 3
        body += b"%d %b=%b\n" % (length, key, value)
    return header(b"PaxHeader", b"x", size=len(body)) + padded(body)


def gnu(typeflag: bytes, name: bytes) -> bytes:
    """GNU's long name (L) or long link (K) for the next member."""
    return header(b"././@LongLink", typeflag, size=len(name) + 1) + padded(name + b"\0")
