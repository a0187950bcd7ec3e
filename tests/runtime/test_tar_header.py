"""Headers as we write them, byte for byte, and as others read them."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile

import pytest

from runtime.image.errors import LayerError
from runtime.image.layer.entry import Entry, Kind
from runtime.image.layer.tar_header import (
    END,
    decode_xattr_name,
    encode,
    encode_xattr_name,
    pax_record,
)

pytestmark = pytest.mark.any_user


def read_back(header: bytes, body: bytes = b"") -> tarfile.TarInfo:
    with tarfile.open(fileobj=io.BytesIO(header + body + END)) as archive:
        member = archive.next()
        assert member is not None
        return member


def test_regular_file_is_one_exact_block() -> None:
    entry = Entry(path=b"etc/passwd", kind=Kind.REGULAR, mode=0o4644, uid=1, gid=2, mtime=3, size=4)
    header = encode(entry)
    assert len(header) == 512
    assert header.rstrip(b"\0") == (
        b"etc/passwd" + bytes(90) + b"0004644\x000000001\x000000002\x0000000000004\x0000000000003\0"
        b"011210\x00 0" + bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\x000000000"
    )
    assert sum(header[:148]) + 256 + sum(header[156:]) == 0o11210


@pytest.mark.parametrize(
    ("entry", "typeflag", "name", "link"),
    [
        (Entry(path=b"d", kind=Kind.DIRECTORY), b"5", "d", ""),
        (Entry(path=b"l", kind=Kind.SYMLINK, target=b"/a b"), b"2", "l", "/a b"),
        (Entry(path=b"h", kind=Kind.HARDLINK, target=b"a"), b"1", "h", "a"),
        (Entry(path=b"p", kind=Kind.FIFO), b"6", "p", ""),
        (Entry(path=b"a/gone", kind=Kind.WHITEOUT), b"0", "a/.wh.gone", ""),
        (Entry(path=b"gone", kind=Kind.WHITEOUT), b"0", ".wh.gone", ""),
        (Entry(path=b"a/b", kind=Kind.OPAQUE), b"0", "a/b/.wh..wh..opq", ""),
        (Entry(path=b"", kind=Kind.OPAQUE), b"0", ".wh..wh..opq", ""),
    ],
)
def test_kinds(entry: Entry, typeflag: bytes, name: str, link: str) -> None:
    member = read_back(encode(entry))
    assert (member.type, member.name, member.linkname) == (typeflag, name, link)


def test_devices() -> None:
    entry = Entry(path=b"null", kind=Kind.CHARACTER, rdev=os.makedev(4095, 1048575))
    member = read_back(encode(entry))
    assert member.ischr()
    assert (member.devmajor, member.devminor) == (4095, 1048575)
    assert read_back(encode(Entry(path=b"b", kind=Kind.BLOCK, rdev=os.makedev(8, 1)))).isblk()


def test_marks_have_no_attributes() -> None:
    entry = Entry(path=b"x", kind=Kind.WHITEOUT, mode=0o777, uid=5, gid=5, mtime=9)
    member = read_back(encode(entry))
    assert (member.mode, member.uid, member.gid, member.mtime, member.size) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("path", "blocks"),
    [
        (b"a" * 100, 1),
        (b"a" * 101, 3),  # nowhere to split
        (b"a" * 60 + b"/" + b"b" * 60, 1),
        (b"a" * 155 + b"/" + b"b" * 100, 1),
        (b"a" * 156 + b"/" + b"b" * 100, 3),
        (b"a" * 150 + b"/" + b"b" * 101, 3),
        ("grün".encode(), 3),
        (b"\xff\xfe", 3),
        (b"d/" * 400 + b"x", 4),
    ],
)
def test_long_and_odd_paths(path: bytes, blocks: int) -> None:
    header = encode(Entry(path=path, kind=Kind.REGULAR, size=0))
    assert len(header) == 512 * blocks
    assert os.fsencode(read_back(header).name) == path


def test_a_cut_name_does_not_end_in_a_slash() -> None:
    path = b"d/" * 200 + b"d"
    header = encode(Entry(path=path, kind=Kind.REGULAR))
    assert not header[-512:-412].rstrip(b"\0").endswith(b"/")
    member = read_back(encode(Entry(path=path, kind=Kind.DIRECTORY)))
    assert member.isdir()
    assert os.fsencode(member.name) == path


def test_large_numbers() -> None:
    entry = Entry(
        path=b"x", kind=Kind.REGULAR, size=1 << 40, uid=4294967294, gid=1 << 22, mtime=-86400
    )
    member = read_back(encode(entry))
    assert (member.size, member.uid, member.gid) == (1 << 40, 4294967294, 1 << 22)
    assert member.mtime == -86400
    plain = Entry(path=b"x", kind=Kind.REGULAR, size=(8 << 30) - 1, uid=2097151, gid=2097151)
    assert len(encode(plain)) == 512


def test_xattrs_are_records() -> None:
    value = b"\1\0\0\2=\n"
    xattrs = (("security.capability", value), ("user.a=b%", b""))
    header = encode(Entry(path=b"x", kind=Kind.REGULAR, xattrs=xattrs))
    assert pax_record(b"SCHILY.xattr.security.capability", value) in header
    assert pax_record(b"SCHILY.xattr.user.a%3Db%25", b"") in header
    assert decode_xattr_name(encode_xattr_name("user.a=b%3D%25")) == "user.a=b%3D%25"


@pytest.mark.parametrize("length", [*range(80, 110), *range(980, 1010), 99_990])
def test_record_counts_its_own_length(length: int) -> None:
    record = pax_record(b"path", b"x" * length)
    assert int(record.split(b" ")[0]) == len(record)


@pytest.mark.parametrize(
    "entry",
    [
        Entry(path=b"", kind=Kind.DIRECTORY),
        Entry(path=b"a/.wh.b", kind=Kind.REGULAR),
        Entry(path=b".wh.a/b", kind=Kind.SYMLINK, target=b"x"),
        Entry(path=b".wh..wh..opq", kind=Kind.DIRECTORY),
        Entry(path=b".wh.x", kind=Kind.WHITEOUT),
        Entry(path=b"c", kind=Kind.CHARACTER, rdev=0),
    ],
)
def test_what_would_mean_something_else_is_refused(entry: Entry) -> None:
    with pytest.raises(LayerError):
        encode(entry)


def test_checksums_of_the_largest_names() -> None:
    for path, target in [
        (b"\x7f" * 100, b"\x7f" * 100),
        (b"\x7f" * 155 + b"/" + b"\x7f" * 100, b""),
    ]:
        kind = Kind.SYMLINK if target else Kind.REGULAR
        header = encode(Entry(path=path, kind=kind, target=target, mode=0o7777, uid=0o7777777))
        assert len(header) == 512
        assert sum(header[:148]) + 256 + sum(header[156:]) == int(header[148:154], 8)


def test_golden() -> None:
    """The bytes are part of every diff ID: they change only with a new format version."""
    entries = [
        Entry(path=b"bin", kind=Kind.DIRECTORY, mode=0o755, mtime=315532800),
        Entry(path=b"bin/sh", kind=Kind.SYMLINK, target=b"busybox", mode=0o777, mtime=315532800),
        Entry(path="dé".encode(), kind=Kind.REGULAR, size=7, xattrs=(("user.k", b"v"),)),
        Entry(path=b"old", kind=Kind.WHITEOUT),
    ]
    digest = hashlib.sha256(b"".join(encode(entry) for entry in entries)).hexdigest()
    assert digest == "5610638bbe83c5990530833b99a4c32bd6ab169002eb85a2b8aed540139ca8ee"
