"""Tars of every dialect, and tars that lie."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.image.errors import LayerError
from runtime.image.layer.entry import Entry, FileSource, Kind
from runtime.image.layer.tar_reader import Limits, index_tar, read_tar, scan_raw_tar
from support import tars

pytestmark = pytest.mark.any_user


def members(data: bytes, *, whiteouts: bool = True, limits: Limits | None = None) -> list[Entry]:
    found = []
    for entry, body in read_tar([data], whiteouts=whiteouts, limits=limits or Limits()):
        content = body.read()
        assert len(content) == entry.size
        found.append(entry)
    return found


def one(data: bytes) -> Entry:
    (entry,) = members(data + tars.END)
    return entry


def in_pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("size", [1, 7, 511, 512, 513, 1000, 100_000])
def test_chunks_of_any_size(size: int) -> None:
    contents = {b"f%d" % n: os.urandom(n * 300) for n in range(12)}
    data = b"".join(tars.file(name, body) for name, body in contents.items()) + tars.END
    found = {entry.path: body.read() for entry, body in read_tar(in_pieces(data, size))}
    assert found == contents
    assert [entry.path for entry, _ in read_tar(in_pieces(data, size))] == list(contents)
    found = {entry.path: b"".join(body) for entry, body in read_tar(in_pieces(data, size))}
    assert found == contents
    partly = [body.read(100) for _, body in read_tar(in_pieces(data, size))]
    assert partly == [body[:100] for body in contents.values()]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_tarfile_writes(form: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name in ("short", "a" * 80 + "/" + "b" * 80, "grün" if form else "gruen"):
            member = tarfile.TarInfo(name)
            member.size, member.uid, member.mode, member.mtime = 3, 1000, 0o6755, 1234
            member.uname = "someone"
            archive.addfile(member, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "x" * (200 if form else 100)
        archive.addfile(link)
    entries = members(buffer.getvalue())
    assert [entry.path for entry in entries[:2]] == [b"short", b"a" * 80 + b"/" + b"b" * 80]
    first = entries[0]
    assert (first.size, first.uid, first.mode, first.mtime) == (3, 1000, 0o6755, 1234)
    assert set(entries[3].target) == set(b"x")


@pytest.mark.parametrize("form", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_what_gnu_tar_writes(tmp_path: Path, form: str) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub/file").write_bytes(b"hello" * 300)
    (tree / "link").symlink_to("sub/file")
    os.link(tree / "sub/file", tree / "twin")
    if form not in ("v7", "ustar"):
        (tree / ("n" * 200)).write_bytes(b"")
    os.utime(tree / "sub/file", (1700000000.75, 1700000000.75))
    tar = tmp_path / "tar"
    subprocess.run(
        ["tar", f"--format={form}", "--numeric-owner", "-cf", tar, "-C", tree, "."], check=True
    )
    kinds = {entry.path: entry.kind for entry in members(tar.read_bytes())}
    assert kinds[b"sub"] is Kind.DIRECTORY
    assert kinds[b"link"] is Kind.SYMLINK
    assert {kinds[b"twin"], kinds[b"sub/file"]} == {Kind.REGULAR, Kind.HARDLINK}
    assert form in ("v7", "ustar") or b"n" * 200 in kinds
    entries = {entry.path: entry for entry in index_tar(str(tar))}
    assert {path: entry.kind for path, entry in entries.items()} == kinds
    assert entries[b"sub/file"].mtime == 1700000000
    assert read_tar([tar.read_bytes()]).root is None
    scanned = scan_raw_tar(str(tar)).root
    assert scanned is not None
    assert scanned.mode == tree.stat().st_mode & 0o7777


def test_index_knows_where_contents_are(tmp_path: Path) -> None:
    (tmp_path / "tar").write_bytes(
        tars.file(b"a", b"first") + tars.directory(b"d/") + tars.file(b"d/b", b"2" * 600) + tars.END
    )
    for entry in index_tar(str(tmp_path / "tar")):
        if entry.kind is not Kind.REGULAR:
            continue
        assert isinstance(entry.content, FileSource)
        fd = entry.content.open()
        assert os.read(fd, entry.size) == {b"a": b"first", b"d/b": b"2" * 600}[entry.path]
        os.close(fd)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"./a", b"a"),
        (b"/a", b"a"),
        (b"//a", b"a"),
        (b"././a/./b//c", b"a/b/c"),
        (b"a/", b"a"),
        (b"...", b"..."),
        (b"..a/b..", b"..a/b.."),
        (b"\\a", b"\\a"),
        (b"new\nline", b"new\nline"),
        (b"\xff\xfe", b"\xff\xfe"),
    ],
)
def test_names_are_normalised(raw: bytes, path: bytes) -> None:
    assert one(tars.file(raw)).path == path
    assert one(tars.pax({b"path": raw}) + tars.file(b"x")).path == path
    assert one(tars.gnu(b"L", raw) + tars.file(b"x")).path == path
    assert one(tars.hardlink(b"x", raw)).target == path


@pytest.mark.parametrize(
    "raw", [b"..", b"../a", b"a/../b", b"a/..", b"/..", b"./../a", b"a/b/../../.."]
)
def test_names_with_dots_are_refused(raw: bytes) -> None:
    for data in (
        tars.file(raw),
        tars.directory(raw),
        tars.symlink(raw, b"x"),
        tars.hardlink(b"x", raw),
        tars.pax({b"path": raw}) + tars.file(b"x"),
        tars.gnu(b"L", raw) + tars.file(b"x"),
        tars.header(b"x", prefix=raw),
    ):
        with pytest.raises(LayerError, match=r"\.\."):
            members(data + tars.END)


def test_root_is_left_out_and_told() -> None:
    for name in (b"./", b".", b"/", b"", b".//."):
        reader = read_tar([tars.directory(name, mode=0o555, mtime=7) + tars.file(b"a") + tars.END])
        assert [entry.path for entry, _ in reader] == [b"a"]
        assert reader.root is not None
        assert (reader.root.mode, reader.root.mtime) == (0o555, 7)


@pytest.mark.parametrize(
    "data",
    [
        tars.file(b"./"),
        tars.symlink(b".", b"/etc"),
        tars.hardlink(b"/", b"a"),
        tars.header(b"", b"6"),
    ],
)
def test_root_is_a_directory(data: bytes) -> None:
    with pytest.raises(LayerError, match="root"):
        members(data + tars.END)


@pytest.mark.parametrize(
    ("name", "kind", "path"),
    [
        (b".wh.a", Kind.WHITEOUT, b"a"),
        (b"d/.wh.a", Kind.WHITEOUT, b"d/a"),
        (b"d/.wh." + b"n" * 250, Kind.WHITEOUT, b"d/" + b"n" * 250),
        (b".wh..a", Kind.WHITEOUT, b".a"),
        (b".wh....", Kind.WHITEOUT, b"..."),
        (b".wh..whatever", Kind.WHITEOUT, b".whatever"),
        (b".wh..wh..opq", Kind.OPAQUE, b""),
        (b"d/e/.wh..wh..opq", Kind.OPAQUE, b"d/e"),
        (b"a.wh.b", Kind.REGULAR, b"a.wh.b"),
        (b".wh", Kind.REGULAR, b".wh"),
    ],
)
def test_whiteouts(name: bytes, kind: Kind, path: bytes) -> None:
    data = tars.pax({b"path": name}) + tars.file(b"x", b"content")
    assert one(data + tars.file(b".wh..wh.plnk/x")) == one(data)
    entry = one(data)
    assert (entry.kind, entry.path) == (kind, path)
    (entry,) = members(data + tars.END, whiteouts=False)
    assert (entry.kind, entry.path, entry.size) == (Kind.REGULAR, name, 7)


@pytest.mark.parametrize(
    "name",
    [
        b".wh.",
        b".wh..",
        b".wh...",
        b"a/.wh.",
        b"a/.wh..",
        b"a/.wh...",
        b".wh./a",
        b".wh.a/b",
        b"a/.wh../b",
        b"a/.wh.b/c",
        b"a/.wh..wh..opq/c",
        b"a/.wh..wh.b",
        b".wh..wh",
        b"a/.wh..wh.",
        b"d/.wh." + b"n" * 256,
    ],
)
def test_whiteout_tricks(name: bytes) -> None:
    if name == b".wh..wh":
        assert one(tars.file(name)).path == b".wh"  # a file of that name can be removed
        return
    with pytest.raises(LayerError):
        members(tars.pax({b"path": name}) + tars.file(b"x") + tars.END)


def test_device_zero_is_a_whiteout() -> None:
    data = tars.header(b"a/b", b"3")
    assert one(data).kind is Kind.WHITEOUT
    (entry,) = members(data + tars.END, whiteouts=False)
    assert (entry.kind, entry.rdev) == (Kind.CHARACTER, 0)
    device = one(tars.header(b"null", b"3", major=1, minor=3))
    assert device.rdev == os.makedev(1, 3)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"0000755\0", 0o755),
        (b"000755 \0", 0o755),
        (b"    755\0", 0o755),
        (b"0000755 ", 0o755),
        (b"00000755", 0o755),
        (b"", 0),
        (b"        ", 0),
        (b"755\0junk", 0o755),
        (b"\x80\0\0\0\0\0\1\xed", 0o755),
    ],
)
def test_forms_of_numbers(field: bytes, value: int) -> None:
    assert one(tars.header(b"x", mode=field)).mode == value


@pytest.mark.parametrize("field", [b"0000_755", b"-1", b"+1", b"0x1ff", b"0o17", b"9", b"1 1"])
@pytest.mark.parametrize("what", ["size", "uid", "gid", "mtime", "mode"])
def test_what_is_no_number(field: bytes, what: str) -> None:
    with pytest.raises(LayerError, match=r"no octal number"):
        members(tars.header(b"x", **{what: field}) + tars.END)


def test_base_256() -> None:
    assert one(tars.header(b"x", uid=b"\x80" + (3 << 20).to_bytes(7, "big"))).uid == 3 << 20
    assert one(tars.header(b"x", mtime=b"\xff" * 11 + b"\xfe")).mtime == -2


@pytest.mark.parametrize(
    "data",
    [
        tars.header(b"x", size=b"\x80" + b"\xff" * 11),
        tars.header(b"x", size=b"\xff" * 12),
        tars.header(b"x", size=b"\x80" + (1 << 50).to_bytes(11, "big")),
        tars.header(b"x", uid=b"\x80" + (0xFFFFFFFF).to_bytes(7, "big")),
        tars.header(b"x", gid=b"\xff" * 8),
        tars.header(b"x", mtime=b"\x80" + (1 << 60).to_bytes(11, "big")),
        tars.header(b"x", b"3", major=b"\x80" + (1 << 40).to_bytes(7, "big")),
        tars.header(b"x", b"4", major=4096),
        tars.header(b"x", b"x", size=b"\x80" + b"\xff" * 11),
        tars.header(b"x", b"L", size=b"77777777777"),
        tars.header(b"x", b"g", size=(1 << 20) + 1),
        tars.pax({b"size": b"99999999999999999999"}) + tars.header(b"x"),
        tars.pax({b"size": b"9" * 5000}) + tars.header(b"x"),
        tars.pax({b"size": b"-1"}) + tars.header(b"x"),
        tars.pax({b"uid": b"4294967295"}) + tars.header(b"x"),
        tars.pax({b"gid": b"-1"}) + tars.header(b"x"),
        tars.pax({b"mtime": b"nan"}) + tars.header(b"x"),
        tars.pax({b"mtime": b"1e9"}) + tars.header(b"x"),
        tars.pax({b"mtime": b"inf"}) + tars.header(b"x"),
    ],
)
def test_absurd_numbers(data: bytes) -> None:
    with pytest.raises(LayerError):
        members(data + tars.END)


def test_extended_headers() -> None:
    records = {
        b"path": b"long/name",
        b"uid": b"5000000",
        b"mtime": b"1700000000.999999999",
        b"size": b"4",
        b"SCHILY.xattr.user.b": b"\0=\n",
        b"SCHILY.xattr.user.a": b"",
        b"SCHILY.xattr.user.overlay.redirect": b"/etc",
        b"SCHILY.xattr.trusted.overlay.opaque": b"y",
        b"SCHILY.xattr.security.selinux": b"label",
        b"comment": b"ignored",
    }
    entry, body = next(read_tar([tars.pax(records) + tars.header(b"x") + tars.padded(b"body")]))
    assert body.read() == b"body"
    assert (entry.path, entry.uid, entry.mtime) == (b"long/name", 5000000, 1700000000)
    assert entry.xattrs == (("user.a", b""), ("user.b", b"\0=\n"))
    assert one(tars.pax({b"mtime": b"-1.5"}) + tars.file(b"x")).mtime == -2
    assert one(tars.pax({b"mtime": b"-1.0"}) + tars.file(b"x")).mtime == -1
    # They are for the next member only.
    first, second = members(tars.pax({b"uid": b"7"}) + tars.file(b"a") + tars.file(b"b") + tars.END)
    assert (first.uid, second.uid) == (7, tars.UID)


def test_global_headers_are_not_heeded() -> None:
    data = bytearray(tars.pax({b"path": b"../../etc/passwd", b"uid": b"7"}))
    data[156:157] = b"g"
    checksum = sum(data[:148]) + 256 + sum(data[156:512])
    data[148:156] = b"%06o\0 " % checksum
    entry = one(bytes(data) + tars.file(b"a"))
    assert (entry.path, entry.uid) == (b"a", tars.UID)


@pytest.mark.parametrize(
    "body",
    [
        b"10 path=a",
        b"11 path=ab\nx",
        b"9999 path=a\n",
        b"0 path=a\n",
        b"path=a\n",
        b"x path=a\n",
        b"-9 path=a\n",
        b"5 a\n\n",
        b"6  =a\n" + b"5 =a\n",
        b"1 path=a\n",
        b"99999999999999999999999999 a=b\n",
    ],
)
def test_malformed_extended_headers(body: bytes) -> None:
    data = tars.header(b"x", b"x", size=len(body)) + tars.padded(body) + tars.file(b"a")
    with pytest.raises(LayerError, match="malformed"):
        members(data + tars.END)


def test_names_too_long() -> None:
    assert one(tars.pax({b"path": b"n" * 255}) + tars.file(b"x")).path == b"n" * 255
    deep = b"d/" * 2000 + b"x"
    assert one(tars.gnu(b"L", deep) + tars.file(b"x")).path == deep
    for path in (b"n" * 256, b"d/" + b"n" * 257 + b"/x", b"d/" * 2100, b"a" * 100_000):
        for data in (
            tars.pax({b"path": path}) + tars.file(b"x"),
            tars.gnu(b"L", path) + tars.file(b"x"),
            tars.pax({b"linkpath": path}) + tars.hardlink(b"x", b"y"),
        ):
            with pytest.raises(LayerError, match=r"longer|too long") as caught:
                members(data + tars.END)
            assert len(str(caught.value)) < 500
    with pytest.raises(LayerError):
        members(tars.pax({b"linkpath": b"a/" * 3000}) + tars.symlink(b"x", b"y") + tars.END)


def test_nul_in_names() -> None:
    for data in (
        tars.pax({b"path": b"a\0b"}) + tars.file(b"x"),
        tars.pax({b"linkpath": b"a\0b"}) + tars.symlink(b"x", b"y"),
        tars.pax({b"linkpath": b"a\0b"}) + tars.hardlink(b"x", b"y"),
    ):
        with pytest.raises(LayerError):
            members(data + tars.END)


def test_limits() -> None:
    three = tars.file(b"a", b"1" * 100) + tars.file(b"b", b"1" * 100) + tars.directory(b"c/")
    assert len(members(three + tars.END, limits=Limits(entries=3, size=200))) == 3
    with pytest.raises(LayerError, match="more than 2 entries"):
        members(three + tars.END, limits=Limits(entries=2))
    with pytest.raises(LayerError, match="more than 199 bytes"):
        members(three + tars.END, limits=Limits(size=199))
    headers = tars.pax({b"a": b"b"}) * 20
    with pytest.raises(LayerError, match="more than 10 entries"):
        members(headers + tars.file(b"a") + tars.END, limits=Limits(entries=10))


@pytest.mark.parametrize("typeflag", [b"S", b"M", b"D", b"N", b"A", b"z", b"\xff"])
def test_unknown_types_are_refused(typeflag: bytes) -> None:
    with pytest.raises(LayerError, match="not supported"):
        members(tars.header(b"x", typeflag) + tars.END)


def test_sparse_pax_is_refused() -> None:
    with pytest.raises(LayerError, match="sparse"):
        members(tars.pax({b"GNU.sparse.major": b"1"}) + tars.file(b"x") + tars.END)


def test_old_forms() -> None:
    assert one(tars.header(b"dir/", b"\0")).kind is Kind.DIRECTORY
    assert one(tars.header(b"file", b"\0", magic=bytes(8))).kind is Kind.REGULAR
    assert one(tars.header(b"file", b"7")).kind is Kind.REGULAR
    assert one(tars.header(b"label", b"V") + tars.file(b"a")).path == b"a"
    # GNU uses ustar's prefix for something else.
    assert one(tars.header(b"a", magic=b"ustar  \0", prefix=b"123456")).path == b"a"
    assert one(tars.header(b"a", prefix=b"p/q")).path == b"p/q/a"


@pytest.mark.parametrize("typeflag", [b"1", b"2", b"5", b"6"])
def test_only_files_have_content(typeflag: bytes) -> None:
    """As in Go's archive/tar: a size on anything else is not heeded."""
    data = tars.header(b"a", typeflag, link=b"t", size=512) + tars.file(b"b")
    assert [entry.path for entry in members(data + tars.END)] == [b"a", b"b"]


def test_signed_checksums() -> None:
    block = bytearray(tars.header(b"gr\xfcn"))
    total = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + block[156:]) + 256
    block[148:156] = b"%06o\0 " % total
    assert one(bytes(block)).path == b"gr\xfcn"


def test_wrong_checksums() -> None:
    good = tars.file(b"a", b"content")
    for position in (0, 100, 124, 148, 156, 257, 511):
        bad = bytearray(good)
        bad[position] ^= 1
        with pytest.raises(LayerError):
            members(bytes(bad) + tars.END)
    with pytest.raises(LayerError):
        members(os.urandom(512) + tars.END)


def test_ends() -> None:
    data = tars.file(b"a", b"content")
    assert len(members(data)) == 1  # no end marker at all
    assert len(members(data + bytes(512))) == 1
    assert len(members(data + tars.END + bytes(9000))) == 1
    assert len(members(data + tars.END + b"trailer after the end")) == 1
    assert members(tars.END) == []
    with pytest.raises(LayerError, match="empty"):
        members(b"")
    with pytest.raises(LayerError, match="goes on"):
        members(data + bytes(512) + data + tars.END)
    with pytest.raises(LayerError, match="extended"):
        members(tars.pax({b"path": b"a"}) + tars.END)


@pytest.mark.parametrize("cut", [1, 100, 511, 512 + 1, 1024 + 1, 1024 + 400])
def test_cut_off(tmp_path: Path, cut: int) -> None:
    data = tars.pax({b"path": b"n"}) + tars.file(b"a", b"1" * 2000)
    (tmp_path / "tar").write_bytes(data[:-cut])
    if cut < 48:  # only padding is missing
        assert len(members(data[:-cut])) == 1
        assert len(index_tar(str(tmp_path / "tar"))) == 1
        return
    with pytest.raises(LayerError, match="cut off"):
        members(data[:-cut])
    with pytest.raises(LayerError, match="cut off"):
        assert [b"".join(body) for _, body in read_tar([data[:-cut]])]
    with pytest.raises(LayerError, match="cut off"):
        list(read_tar([data[:-cut]]))
    with pytest.raises(LayerError, match="cut off"):
        index_tar(str(tmp_path / "tar"))


@pytest.mark.parametrize("data", [b"hello", b"x" * 512, b"x" * 10_000, gzip.compress(b"x" * 999)])
def test_what_is_no_tar(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(LayerError):
        members(data)
    (tmp_path / "tar").write_bytes(data)
    with pytest.raises(LayerError):
        index_tar(str(tmp_path / "tar"))
