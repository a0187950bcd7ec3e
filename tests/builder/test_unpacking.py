"""ADD of archives: what is in them, once; and what they may cost."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from builder.errors import ContextError
from builder.sources.members import pack_members, unpack_members
from builder.sources.unpack import Unpacker
from runtime.image.errors import LayerError
from runtime.image.layer.decompression import Growth
from runtime.image.layer.entry import Entry, FileSource, Kind
from runtime.image.layer.tar_reader import index_tar
from runtime.image.store.store import Store, open_store
from support import tars
from support.cli import Lamina

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
TAR = b"".join(
    (
        tars.directory(b"d"),
        tars.file(b"d/one", b"first\n", mode=0o4755),
        tars.hardlink(b"d/two", b"d/one"),
        tars.symlink(b"d/\xff", b"../elsewhere"),
        tars.pax({b"SCHILY.xattr.user.note": b"\x00\xff"}),
        tars.file(b"noted", b"with a note"),
        tars.END,
    )
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "store")) as opened:
        yield opened


def file_of(path: Path, data: bytes, offset: int = 0) -> Entry:
    path.write_bytes(bytes(offset) + data + b"\x1f\x8b that follows" * bool(offset))
    source = FileSource(os.fsencode(path), offset)
    return Entry(path=b"a.tar", kind=Kind.REGULAR, size=len(data), content=source)


def digest(file: Entry) -> str:
    return hashlib.sha256(content(file)).hexdigest()


def content(entry: Entry) -> bytes:
    assert isinstance(entry.content, FileSource)
    fd = entry.content.open()
    with os.fdopen(fd, "rb") as file:
        return file.read(entry.size)


def work_left(store: Store) -> list[str]:
    return [name for _, _, names in os.walk(os.path.join(store.root, "work")) for name in names]


@pytest.mark.parametrize("offset", [0, 512])
@pytest.mark.parametrize("packer", [*PACKERS, "plain"])
def test_every_compression_anywhere_in_a_file(
    store: Store, tmp_path: Path, packer: str, offset: int
) -> None:
    file = file_of(tmp_path / "a", PACKERS.get(packer, bytes)(TAR), offset)
    for name in (None, digest):
        with Unpacker(store, name) as unpacker:
            members = unpacker.unpack(file)
            assert members is not None
            unpacker.make(members)
            assert [member.path for member in members] == [
                b"d", b"d/one", b"d/two", b"d/\xff", b"noted",
            ]  # fmt: skip
            assert content(members[1]) == b"first\n"
            assert content(members[4]) == b"with a note"
            assert unpacker.place(members[4], digest) is not None
    assert not work_left(store)


def test_what_is_remembered_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(TAR)
    members = index_tar(str(path))
    assert unpack_members(pack_members(members), os.fsencode(path)) == members


def test_a_known_archive_is_not_decompressed(store: Store, tmp_path: Path) -> None:
    file = file_of(tmp_path / "a", gzip.compress(TAR))
    with Unpacker(store, digest) as unpacker:
        first = unpacker.unpack(file)
        assert first is not None
        assert work_left(store)
        assert unpacker.unpack(file) == first
        assert len(work_left(store)) == 1
    copied = file_of(tmp_path / "copy", gzip.compress(TAR))
    with Unpacker(store, digest) as unpacker:
        members = unpacker.unpack(copied)
        assert members is not None
        assert [replaced.path for replaced in members] == [replaced.path for replaced in first]
        assert not work_left(store)
        unpacker.make(members[:1])
        assert not work_left(store), "a folder needs no content"
        unpacker.make(members)
        unpacker.make(members)
        assert len(work_left(store)) == 1
        assert content(members[1]) == b"first\n"


def test_an_archive_that_changes_while_it_is_read(store: Store, tmp_path: Path) -> None:
    file = file_of(tmp_path / "a", gzip.compress(TAR))
    name = digest(file)
    with Unpacker(store, lambda _: name) as unpacker:
        unpacker.unpack(file)
    (tmp_path / "a").write_bytes(gzip.compress(tars.file(b"other", b"x") + tars.END))
    with Unpacker(store, lambda _: name) as unpacker:
        members = unpacker.unpack(file)
        assert members is not None
        with pytest.raises(ContextError, match=r"a\.tar changed while it was read"):
            unpacker.make(members)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"text", id="text"),
        pytest.param(bytes(4096), id="a disk image"),
        pytest.param(b"\x1f\x8b", id="nearly gzip"),
        pytest.param(b"\x28\xb5\x2f\xfd" + bytes(600), id="nearly zstd"),
        pytest.param(gzip.compress(b""), id="nothing, compressed"),
        pytest.param(gzip.compress(b"text"), id="text, compressed"),
        pytest.param(gzip.compress(bytes(10240)), id="an empty tar"),
    ],
)
def test_what_is_no_archive(store: Store, tmp_path: Path, data: bytes) -> None:
    with Unpacker(store, digest) as unpacker:
        assert unpacker.unpack(file_of(tmp_path / "a", data)) is None
        assert not work_left(store)


@pytest.mark.parametrize("packer", PACKERS)
def test_a_bomb_is_refused_and_leaves_nothing(
    store: Store, tmp_path: Path, packer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Growth.__init__, "__defaults__", (1 << 20, 200))
    bomb = PACKERS[packer](tars.file(b"zeros", bytes(64 << 20)) + tars.END)
    with Unpacker(store, digest) as unpacker:
        with pytest.raises(LayerError, match="more than 200 times what it was"):
            unpacker.unpack(file_of(tmp_path / "a", bomb))
        assert not work_left(store)


def packed(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.namespaces
def test_an_added_archive_is_known_by_its_content(private_lamina: Lamina, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nADD a.tgz /a/\nCOPY b /b\n")
    (tmp_path / "a.tgz").write_bytes(packed(one=b"1\n", two=b"2\n"))
    (tmp_path / "b").write_text("b\n")
    private_lamina.build(tmp_path, "image")
    (tmp_path / "b").write_text("changed\n")
    outcome = private_lamina.build(tmp_path, "image")
    assert outcome.text.count(" CACHED") == 1
    shown = private_lamina("run", "--rm", "image", "cat", "/a/one", "/a/two", "/b").stdout
    assert shown == "1\n2\nchanged\n"
    # Known, but to be written again: with another owner it is another layer.
    (tmp_path / "Dockerfile").write_text("FROM busybox\nADD --chown=1:2 a.tgz /a/\n")
    private_lamina.build(tmp_path, "image")
    shown = private_lamina("run", "--rm", "image", "stat", "-c", "%u:%g", "/a/one").stdout
    assert shown == "1:2\n"


@pytest.mark.namespaces
def test_a_broken_archive_is_named_with_its_line(lamina: Lamina, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nADD a.tgz /a/\n")
    (tmp_path / "a.tgz").write_bytes(packed(one=os.urandom(1 << 16))[:-1000])
    outcome = lamina.build(tmp_path, "image", status=1)
    assert "Dockerfile:2" in outcome.stderr
    assert "cannot unpack a.tgz: " in outcome.stderr
    assert "--unpack=false" in outcome.stderr
    (tmp_path / "Dockerfile").write_text("FROM busybox\nADD --unpack=false a.tgz /a/\n")
    lamina.build(tmp_path, "image")
