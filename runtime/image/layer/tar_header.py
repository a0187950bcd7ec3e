"""The headers of our tars: exactly one way to write an entry.

POSIX ustar, with a PAX extended header before it only where ustar cannot say it: a path that
does not fit even when split at a slash, a name that is not ASCII, large numbers, times before
1970, extended attributes. Numbers are octal and NUL-terminated, owners numeric only, device
fields always present, the checksum as POSIX.1-1988 has it. That is also what Go's archive/tar
writes, apart from the split.
"""

from __future__ import annotations

import os
import zlib
from typing import Final

from runtime.image.errors import LayerError
from runtime.image.layer.entry import Entry, Kind
from runtime.image.layer.overlay_marks import OPAQUE_NAME, WHITEOUT_PREFIX

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)
"""What follows the last entry."""

_MAX_ID: Final = 0o7777777
_MAX_SIZE: Final = 0o77777777777
_ZEROS: Final = bytes(BLOCK)
_USTAR: Final = b"ustar\x0000" + bytes(64)
_SPACES: Final = 8 * ord(" ")  # the checksum counts its own field as spaces


def _tail(typeflag: bytes, target: bytes, device: bytes, prefix: bytes) -> bytes:
    return b"".join((typeflag, target.ljust(100, b"\0"), _USTAR, device, prefix.ljust(167, b"\0")))


_NO_DEVICE: Final = b"0000000\x000000000\0"
_REGULAR_TAIL: Final = _tail(b"0", b"", _NO_DEVICE, b"")
_DIRECTORY_TAIL: Final = _tail(b"5", b"", _NO_DEVICE, b"")


def encode(entry: Entry) -> bytes:
    """The header of an entry, with its extended header if it needs one.

    `LayerError` if the path cannot stand in a layer.
    """
    path = entry.path
    if WHITEOUT_PREFIX in path or not path:
        _check_name(entry)
    kind = entry.kind
    size = 0
    if kind is Kind.REGULAR:
        size = entry.size
        tail = _REGULAR_TAIL
    elif kind is Kind.DIRECTORY:
        path += b"/"
        tail = _DIRECTORY_TAIL
    else:
        return _encode_special(entry)
    if (
        len(path) <= 100
        and size <= _MAX_SIZE
        and not entry.xattrs
        and path.isascii()
        and entry.uid <= _MAX_ID
        and entry.gid <= _MAX_ID
        and 0 <= entry.mtime <= _MAX_SIZE
    ):
        numbers = (entry.mode, entry.uid, entry.gid, size, entry.mtime)
        head = path.ljust(100, b"\0") + b"%07o\0%07o\0%07o\0%011o\0%011o\0" % numbers
        return b"%b%06o\0 %b" % (head, _sum(head, tail), tail)
    return _encode_extended(entry, path, size, tail[:1], b"", _NO_DEVICE)


def sort_key(entry: Entry) -> bytes:
    """Ascending keys are the canonical order.

    In a directory: its opaque marker, then whiteouts, then the rest by name; the content of a
    directory directly behind it.
    """
    key = b"\2" + entry.path.replace(b"/", b"\0\2")
    kind = entry.kind
    if kind is Kind.WHITEOUT:
        start = key.rfind(b"\0") + 1
        return key[:start] + b"\1" + key[start + 1 :]
    if kind is Kind.OPAQUE:
        return key + b"\0\0" if entry.path else b"\0"
    return key


def _sum(head: bytes, tail: bytes) -> int:
    # Adler-32's low half is 1 + the sum modulo 65521, at a thirtieth of the price of `sum`.
    # ASCII fields cannot reach the modulus: 355 bytes of names and 100 of digits make 50,785.
    return (zlib.adler32(tail, zlib.adler32(head)) & 0xFFFF) - 1 + _SPACES


def _check_name(entry: Entry) -> None:
    member = os.fsdecode(entry.path)
    if not entry.path:
        if entry.kind is not Kind.OPAQUE:
            raise LayerError(".", "the root is not an entry of a layer")
    elif any(name.startswith(WHITEOUT_PREFIX) for name in entry.path.split(b"/")):
        raise LayerError(member, "names that begin with .wh. have a meaning of their own in layers")


def _encode_special(entry: Entry) -> bytes:
    path, target, device = entry.path, b"", _NO_DEVICE
    match entry.kind:
        case Kind.SYMLINK:
            typeflag, target = b"2", entry.target
        case Kind.HARDLINK:
            typeflag, target = b"1", entry.target
        case Kind.CHARACTER | Kind.BLOCK:
            if entry.rdev == 0 and entry.kind is Kind.CHARACTER:
                raise LayerError(os.fsdecode(path), "a character device 0/0 is a whiteout")
            typeflag = b"3" if entry.kind is Kind.CHARACTER else b"4"
            device = b"%07o\0%07o\0" % (os.major(entry.rdev), os.minor(entry.rdev))
        case Kind.FIFO:
            typeflag = b"6"
        case Kind.WHITEOUT:
            parent, slash, name = path.rpartition(b"/")
            return _encode_mark(parent + slash + WHITEOUT_PREFIX + name)
        case Kind.OPAQUE:
            return _encode_mark(path + b"/" + OPAQUE_NAME if path else OPAQUE_NAME)
        case _:  # encode() has the others
            raise AssertionError(entry.kind)
    return _encode_extended(entry, path, 0, typeflag, target, device)


def _encode_mark(path: bytes) -> bytes:
    entry = Entry(path=path, kind=Kind.REGULAR, mode=0)
    return _encode_extended(entry, path, 0, b"0", b"", _NO_DEVICE)


def _encode_extended(
    entry: Entry, path: bytes, size: int, typeflag: bytes, target: bytes, device: bytes
) -> bytes:
    """The header, after a PAX header with whatever of it ustar cannot hold."""
    records: dict[bytes, bytes] = {}
    prefix = b""
    if len(path) > 100 or not path.isascii():
        cut = _split(path)
        if cut:
            prefix, path = path[:cut], path[cut + 1 :]
        else:
            records[b"path"] = path
    if len(target) > 100 or not target.isascii():
        records[b"linkpath"] = target
    uid = _number(records, b"uid", entry.uid, _MAX_ID)
    gid = _number(records, b"gid", entry.gid, _MAX_ID)
    size = _number(records, b"size", size, _MAX_SIZE)
    mtime = _number(records, b"mtime", entry.mtime, _MAX_SIZE)
    for key, value in entry.xattrs:
        records[b"SCHILY.xattr." + encode_xattr_name(key)] = value
    numbers = (entry.mode, uid, gid, size, mtime)
    head = _ascii(path) + b"%07o\0%07o\0%07o\0%011o\0%011o\0" % numbers
    tail = _tail(typeflag, _ascii(target), device, prefix)
    header = b"%b%06o\0 %b" % (head, _sum(head, tail), tail)
    return _pax_header(path, records) + header if records else header


def _number(records: dict[bytes, bytes], key: bytes, value: int, largest: int) -> int:
    if 0 <= value <= largest:
        return value
    records[key] = b"%d" % value
    return 0


def _split(path: bytes) -> int:
    """Where to cut a path into ustar's prefix (155 bytes) and name (100 bytes); 0 if nowhere."""
    if not path.isascii() or len(path) > 256:
        return 0
    cut = path.find(b"/", max(len(path) - 101, 1))
    return cut if 0 < cut <= 155 and cut + 1 < len(path) else 0


def _ascii(text: bytes) -> bytes:
    """What a reader that does not know PAX gets to see: ASCII only, at most 100 bytes."""
    if not text.isascii():
        text = bytes(byte for byte in text if byte < 0x80)
    if len(text) > 100:
        # Some readers take a regular file for a directory when its cut name ends in a slash.
        text = text[:100].rstrip(b"/")
    return text.ljust(100, b"\0")


def _pax_header(path: bytes, records: dict[bytes, bytes]) -> bytes:
    body = b"".join(pax_record(key, records[key]) for key in sorted(records))
    directory, slash, name = path.rpartition(b"/")
    head = _ascii(
        b"%b%bPaxHeaders.0/%b" % (directory, slash, name) if name else directory + b"/PaxHeaders.0"
    )
    head += b"0000000\x000000000\x000000000\0%011o\x0000000000000\0" % len(body)
    tail = _tail(b"x", b"", bytes(16), b"")
    padding = _ZEROS[: -len(body) % BLOCK]
    return b"%b%06o\0 %b%b%b" % (head, _sum(head, tail), tail, body, padding)


def pax_record(key: bytes, value: bytes) -> bytes:
    """`LENGTH KEY=VALUE` and a newline; the length counts its own digits (POSIX, pax)."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def encode_xattr_name(name: str) -> bytes:
    """An attribute's name as part of a PAX key, in which `=` cannot stand (GNU tar's way)."""
    return os.fsencode(name).replace(b"%", b"%25").replace(b"=", b"%3D")


def decode_xattr_name(name: bytes) -> str:
    """The reverse of `encode_xattr_name`."""
    return os.fsdecode(name.replace(b"%3D", b"=").replace(b"%25", b"%"))
