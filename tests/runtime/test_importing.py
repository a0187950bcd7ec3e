"""Root file systems from tars: what a tar says is what the layer holds, and no more."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.image.archives.importing import import_rootfs
from runtime.image.digest import DiffID, Digest, sha256
from runtime.image.errors import LayerError
from runtime.image.layer.entry import Entry, Kind
from runtime.image.layer.flatten import flatten
from runtime.image.layer.pack import pack_tree
from runtime.image.model import RuntimeConfig
from runtime.image.platform import Platform, default_platform
from runtime.image.store.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "store")) as store:
        yield store


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.uid, info.gid = os.getuid(), os.getgid()
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def tar(*members: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as out:
        for each in members:
            info, data = each if isinstance(each, tuple) else (each, b"")
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


ROOTFS = tar(
    member("./", tarfile.DIRTYPE),
    member("./z", mtime=500),
    (member("./bin/tool", mode=0o4755, mtime=1234), b"tool"),
    member("./bin", tarfile.DIRTYPE, mtime=900),
    member("./a", tarfile.LNKTYPE, linkname="./bin/tool"),
    member("./sh", tarfile.SYMTYPE, linkname="bin/tool", mtime=2000),
)


def write(tmp_path: Path, data: bytes) -> str:
    path = tmp_path / "rootfs.tar"
    path.write_bytes(data)
    return str(path)


def test_an_imported_tar_becomes_a_canonical_layer(store: Store, tmp_path: Path) -> None:
    config = import_rootfs(
        store,
        write(tmp_path, ROOTFS),
        config=RuntimeConfig(cmd=("sh",)),
        platform=Platform("linux", "arm", "v7"),
        comment="from a test",
    )
    (diff_id,) = config.diff_ids
    assert config.created == "1970-01-01T00:33:20Z"
    assert (config.architecture, config.variant, config.config.cmd) == ("arm", "v7", ("sh",))
    assert [(entry.comment, entry.empty_layer) for entry in config.history] == [
        ("from a test", False)
    ]
    tree = Path(store.tree(diff_id))
    assert sorted(os.listdir(tree)) == ["a", "bin", "sh", "z"]
    assert (tree / "a").stat().st_ino == (tree / "bin/tool").stat().st_ino
    assert (tree / "bin/tool").stat().st_mode & 0o7777 == 0o4755
    assert (tree / "bin").stat().st_mtime == 900
    assert os.readlink(tree / "sh") == "bin/tool"
    assert pack_tree(str(tree), None).diff_id == diff_id
    assert store.image(store.put_image(config)).size > 0


def zstd(data: bytes) -> bytes:
    half = len(data) // 2
    return b"".join(
        zstandard.ZstdCompressor().compress(part) for part in (data[:half], data[half:])
    )


@pytest.mark.parametrize("compress", [gzip.compress, zstd, bz2.compress, lzma.compress])
def test_it_does_not_matter_how_it_is_compressed_or_comes(
    store: Store, tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    plain = import_rootfs(store, write(tmp_path, ROOTFS))
    path = write(tmp_path, compress(ROOTFS))
    assert import_rootfs(store, path) == plain
    with open(path, "rb") as file:
        assert import_rootfs(store, file.fileno()) == plain
    link = tmp_path / "link"
    link.symlink_to(path)
    assert import_rootfs(store, str(link)) == plain
    assert plain.platform == default_platform()
    assert os.listdir(f"{store.root}/work") == []


def test_the_order_in_the_tar_does_not_matter(store: Store, tmp_path: Path) -> None:
    first, second = (member("a"), b"1"), (member("b/c"), b"2")
    forward = import_rootfs(store, write(tmp_path, tar(first, second)))
    backward = import_rootfs(store, write(tmp_path, tar(second, first)))
    assert forward == backward


def test_a_layer_can_be_imported_through_its_own_links(store: Store, tmp_path: Path) -> None:
    data = tar(
        member("usr/lib", tarfile.DIRTYPE),
        member("lib", tarfile.SYMTYPE, linkname="/usr/lib"),
        (member("lib/so"), b"x"),
        member("up", tarfile.SYMTYPE, linkname="../../../usr"),
        (member("up/file"), b"y"),
    )
    (diff_id,) = import_rootfs(store, write(tmp_path, data)).diff_ids
    view = store.view([diff_id])
    assert view.listdir(b"usr") == [b"file", b"lib"]
    assert view.listdir(b"usr/lib") == [b"so"]
    assert view.read(b"up/lib/so", 10) == b"x"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"not a tar " * 100, "tar"),
        (ROOTFS[:1300], "cut off"),
        (gzip.compress(ROOTFS)[:-20], "cut off|corrupt"),
        (tar(member("../../etc/passwd")), "passwd"),
        (tar(member("file"), member("file/below")), "no directory"),
        (tar(member("link", tarfile.LNKTYPE, linkname="missing")), "not there"),
        (tar(member("d", tarfile.DIRTYPE), member("l", tarfile.LNKTYPE, linkname="d")), "direct"),
        (
            tar(
                member("a", tarfile.SYMTYPE, linkname="b"),
                member("b", tarfile.SYMTYPE, linkname="a"),
                member("a/x"),
            ),
            "too many levels",
        ),
    ],
)
def test_a_tar_that_is_none_or_hostile_is_refused(
    store: Store, tmp_path: Path, data: bytes, why: str
) -> None:
    with pytest.raises(LayerError, match=why):
        import_rootfs(store, write(tmp_path, data))
    assert os.listdir(f"{store.root}/work") == []
    assert os.listdir(f"{store.root}/blobs/sha256") == []


@pytest.mark.root
def test_no_link_leads_out_of_the_store(store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    data = tar(
        member("escape", tarfile.SYMTYPE, linkname=str(outside)),
        (member("escape/file"), b"x"),
    )
    (diff_id,) = import_rootfs(store, write(tmp_path, data)).diff_ids
    assert os.path.exists(f"{store.tree(diff_id)}{outside}/file")
    assert os.listdir(outside) == []


def test_later_members_replace_earlier_ones() -> None:
    entries = flatten(
        [
            Entry(path=b"a", kind=Kind.REGULAR, content=b"1", size=1),
            Entry(path=b"link", kind=Kind.HARDLINK, target=b"a"),
            Entry(path=b"a", kind=Kind.REGULAR, content=b"2", size=1),
            Entry(path=b"d/x", kind=Kind.REGULAR),
            Entry(path=b"d", kind=Kind.DIRECTORY, mode=0o700),
            Entry(path=b"e/x", kind=Kind.REGULAR),
            Entry(path=b"e", kind=Kind.SYMLINK, target=b"d"),
            Entry(path=b"e", kind=Kind.DIRECTORY),
            Entry(path=b"gone", kind=Kind.WHITEOUT),
        ]
    )
    by_path = {entry.path: entry for entry in entries}
    assert sorted(by_path) == [b"a", b"d", b"d/x", b"e", b"link"]
    assert by_path[b"a"].content == b"2"
    assert by_path[b"link"].content == b"1"
    assert by_path[b"a"].inode != by_path[b"link"].inode
    assert by_path[b"d"].mode == 0o700
    assert by_path[b"e"].kind is Kind.DIRECTORY


TARGETS = st.sampled_from([b"a", b"b", b"c", b"a/b", b"..", b"../..", b"/", b"/b", b"./a", b""])
PATHS = st.sampled_from([b"a", b"b", b"c", b"a/b", b"a/c", b"b/a", b"a/b/c"])
MEMBERS = st.one_of(
    st.builds(Entry, path=PATHS, kind=st.just(Kind.DIRECTORY)),
    st.builds(Entry, path=PATHS, kind=st.just(Kind.REGULAR)),
    st.builds(Entry, path=PATHS, kind=st.just(Kind.SYMLINK), target=TARGETS),
    st.builds(Entry, path=PATHS, kind=st.just(Kind.HARDLINK), target=PATHS),
)


@given(st.lists(MEMBERS, max_size=12))
@settings(max_examples=300, deadline=None)
def test_whatever_is_in_a_tar_the_entries_make_a_tree(members: list[Entry]) -> None:
    try:
        entries = flatten(members)
    except LayerError:
        return
    kinds = {entry.path: entry.kind for entry in entries}
    assert len(kinds) == len(entries)
    for path in kinds:
        assert b".." not in path.split(b"/")
        above, slash, _ = path.rpartition(b"/")
        assert not slash or kinds[above] is Kind.DIRECTORY
    assert Kind.HARDLINK not in kinds.values()


def test_the_store_holds_the_layer_as_a_raw_blob(store: Store, tmp_path: Path) -> None:
    (diff_id,) = import_rootfs(store, write(tmp_path, ROOTFS)).diff_ids
    with open(store.blob_path(Digest(diff_id)), "rb") as file:
        assert DiffID(sha256(file.read())) == diff_id
