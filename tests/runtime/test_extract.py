"""Layers to trees: every kind of entry, through links, over what is there already."""

from __future__ import annotations

import gzip
import hashlib
import os
import resource
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from runtime.image.digest import DiffID
from runtime.image.errors import LayerError
from runtime.image.layer.decompression import open_decompressed
from runtime.image.layer.entry import Entry, Kind
from runtime.image.layer.extract import Extracted, extract_layer
from runtime.image.layer.in_root import (
    DIRECTORY_FLAGS,
    RESOLVE_IN_ROOT,
    open_how,
    open_plain,
    openat2,
    walk_directory,
)
from runtime.image.layer.pack import pack_tree, settle_tree
from runtime.image.layer.writer import write_layer
from support import tars

UID, GID = os.geteuid(), os.getegid()


def extract(data: bytes, tree: Path) -> Extracted:
    tree.mkdir(exist_ok=True)
    return extract_layer([data], str(tree), skip_devices_if_forbidden=False)


def test_diff_id_and_size_are_of_all_bytes(tmp_path: Path) -> None:
    data = tars.file(b"a", b"1") + tars.END + b"trailer" * 99
    result = extract(data, tmp_path / "tree")
    assert result.diff_id == DiffID("sha256:" + hashlib.sha256(data).hexdigest())
    assert (result.size, result.entries) == (len(data), 1)
    assert (tmp_path / "tree/a").read_bytes() == b"1"


def test_from_a_compressed_file(tmp_path: Path) -> None:
    data = b"".join(tars.file(b"%d" % n, os.urandom(100_000)) for n in range(50)) + tars.END
    (tmp_path / "blob").write_bytes(gzip.compress(data, 1))
    (tmp_path / "tree").mkdir()
    before = threading.active_count()
    chunks = open_decompressed(str(tmp_path / "blob"))
    result = extract_layer(chunks, str(tmp_path / "tree"), skip_devices_if_forbidden=False)
    assert result.diff_id == "sha256:" + hashlib.sha256(data).hexdigest()
    assert threading.active_count() == before
    chunks = open_decompressed(str(tmp_path / "blob"))
    with pytest.raises(OSError, match="not empty"):
        extract_layer(chunks, str(tmp_path / "tree"), skip_devices_if_forbidden=False)
    assert next(chunks, None) is None  # closed
    assert threading.active_count() == before


def test_modes_and_times(tmp_path: Path) -> None:
    data = tars.directory(b"d/", mode=0o2750, mtime=5)
    data += tars.header(b"d/f", mode=0o4711, mtime=1234567890) + tars.header(b"d/g", mode=0)
    data += tars.symlink(b"d/l", b"nowhere") + tars.header(b"d/p", b"6", mode=0o622, mtime=3)
    data += tars.directory(b"t/", mode=0o1777, mtime=-0)
    old = os.umask(0o077)
    try:
        extract(data + tars.END, tmp_path / "tree")
    finally:
        os.umask(old)
    tree = tmp_path / "tree"
    modes = {p: (tree / p).lstat().st_mode for p in ("d", "d/f", "d/g", "d/l", "d/p", "t")}
    assert modes["d"] == stat.S_IFDIR | 0o2750
    assert modes["d/f"] == stat.S_IFREG | 0o4711
    assert modes["d/g"] == stat.S_IFREG
    assert modes["d/p"] == stat.S_IFIFO | 0o622
    assert modes["t"] == stat.S_IFDIR | 0o1777
    assert os.readlink(tree / "d/l") == "nowhere"
    assert (tree / "d").stat().st_mtime == 5
    assert (tree / "d/f").stat().st_mtime == 1234567890
    assert (tree / "d/l").lstat().st_mtime == 0
    assert (tree / "d/p").stat().st_mtime == 3
    assert stat.S_IMODE(tree.stat().st_mode) == 0o755
    assert tree.stat().st_mtime == 0


@pytest.mark.root
def test_owners(tmp_path: Path) -> None:
    """Also below a set-group-ID directory, where what is made inherits a group."""
    (tmp_path / "tree").mkdir()
    os.chown(tmp_path / "tree", 0, 50)
    os.chmod(tmp_path / "tree", 0o2755)
    data = tars.header(b"d/", b"5", uid=1, gid=50, mode=0o2775) + tars.header(b"d/f", gid=0)
    data += tars.header(b"d/g", uid=7, gid=8, mode=0o6755) + tars.header(b"d/e/", b"5", mode=0o755)
    data += tars.header(b"d/l", b"2", uid=3, gid=4, link=b"f") + tars.header(b"d/p", b"6", uid=9)
    extract(data + tars.END, tmp_path / "tree")
    found = {}
    for path in ("", "d", "d/f", "d/g", "d/e", "d/l", "d/p"):
        status = (tmp_path / "tree" / path).lstat()
        found[path] = (status.st_uid, status.st_gid)
    assert found == {
        "": (0, 0),
        "d": (1, 50),
        "d/f": (0, 0),
        "d/g": (7, 8),
        "d/e": (0, 0),
        "d/l": (3, 4),
        "d/p": (9, 0),
    }
    assert stat.S_IMODE((tmp_path / "tree/d/g").stat().st_mode) == 0o6755
    assert stat.S_IMODE((tmp_path / "tree/d/e").stat().st_mode) == 0o755


@pytest.mark.root
def test_devices(tmp_path: Path) -> None:
    data = tars.header(b"null", b"3", major=1, minor=3, mode=0o666)
    data += tars.header(b"disk", b"4", major=8, minor=300, mode=0o660, gid=6)
    extract(data + tars.END, tmp_path / "tree")
    null, disk = (tmp_path / "tree/null").lstat(), (tmp_path / "tree/disk").lstat()
    assert (null.st_rdev, null.st_mode) == (os.makedev(1, 3), stat.S_IFCHR | 0o666)
    assert (disk.st_rdev, disk.st_mode) == (os.makedev(8, 300), stat.S_IFBLK | 0o660)


def test_root_entry(tmp_path: Path) -> None:
    result = extract(tars.directory(b"./", mode=0o555, mtime=9) + tars.END, tmp_path / "tree")
    assert result.root is not None
    assert stat.S_IMODE((tmp_path / "tree").stat().st_mode) == 0o555
    assert (tmp_path / "tree").stat().st_mtime == 9


def test_whiteouts_and_opaque_directories(tmp_path: Path) -> None:
    data = tars.directory(b"d/") + tars.file(b"d/.wh.gone") + tars.file(b"d/.wh..wh..opq")
    data += tars.file(b".wh.top", b"with content") + tars.file(b"missing/.wh.deep")
    extract(data + tars.file(b".wh..wh..opq") + tars.END, tmp_path / "tree")
    for path in ("d/gone", "top", "missing/deep"):
        status = (tmp_path / "tree" / path).lstat()
        assert stat.S_ISCHR(status.st_mode)
        assert status.st_rdev == 0
    assert os.getxattr(tmp_path / "tree/d", "user.overlay.opaque") == b"y"
    assert os.listxattr(tmp_path / "tree/missing") == []
    assert os.listxattr(tmp_path / "tree") == []


@pytest.mark.parametrize("parts", [(0, 1), (1, 0)])
def test_whiteout_beside_what_it_names(tmp_path: Path, parts: tuple[int, int]) -> None:
    """A whiteout speaks of the layers below, in whichever order the two come."""
    for name, entry in (
        ("file", tars.file(b"x", b"new")),
        ("directory", tars.directory(b"x/")),
        ("parent", tars.file(b"x/y", b"new")),
    ):
        pieces = (tars.file(b".wh.x"), entry)
        extract(pieces[parts[0]] + pieces[parts[1]] + tars.END, tmp_path / name)
    assert (tmp_path / "file/x").read_bytes() == b"new"
    assert os.getxattr(tmp_path / "directory/x", "user.overlay.opaque") == b"y"
    assert os.getxattr(tmp_path / "parent/x", "user.overlay.opaque") == b"y"
    assert (tmp_path / "parent/x/y").read_bytes() == b"new"


def test_missing_parents(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        extract(
            tars.file(b"a/b/c/d", b"1") + tars.directory(b"a/", mode=0o700) + tars.END,
            tmp_path / "t",
        )
    finally:
        os.umask(old)
    modes = [stat.S_IMODE((tmp_path / "t" / p).stat().st_mode) for p in ("a", "a/b", "a/b/c")]
    assert modes == [0o700, 0o755, 0o755]
    assert (tmp_path / "t/a/b").stat().st_mtime == 0


def test_hard_links(tmp_path: Path) -> None:
    data = tars.file(b"d/a", b"1") + tars.hardlink(b"b", b"d/a") + tars.hardlink(b"c", b"./b")
    data += tars.symlink(b"l", b"d/a") + tars.hardlink(b"m", b"l") + tars.hardlink(b"b", b"b")
    data += tars.hardlink(b"c", b"d/a")
    extract(data + tars.END, tmp_path / "t")
    assert (tmp_path / "t/d/a").stat().st_nlink == 3
    assert os.readlink(tmp_path / "t/m") == "d/a"


def test_through_its_own_links(tmp_path: Path) -> None:
    data = (
        tars.directory(b"usr/lib/") + tars.symlink(b"lib", b"usr/lib") + tars.file(b"lib/a", b"1")
    )
    data += tars.symlink(b"abs", b"/usr/lib") + tars.file(b"abs/b", b"2")
    data += tars.symlink(b"usr/up", b"../../../usr/lib/../lib") + tars.file(b"usr/up/c", b"3")
    data += tars.symlink(b"var/run", b"/run") + tars.file(b"var/run/sub/d", b"4")
    data += tars.directory(b"lib/e/", mode=0o700) + tars.hardlink(b"abs/f", b"lib/a")
    data += tars.file(b"lib/.wh.g") + tars.file(b"abs/e/.wh..wh..opq")
    extract(data + tars.END, tmp_path / "t")
    lib = tmp_path / "t/usr/lib"
    assert sorted(os.listdir(lib)) == ["a", "b", "c", "e", "f", "g"]
    assert (tmp_path / "t/run/sub/d").read_bytes() == b"4"
    assert stat.S_IMODE((lib / "e").stat().st_mode) == 0o700
    assert os.getxattr(lib / "e", "user.overlay.opaque") == b"y"
    assert (lib / "f").stat().st_nlink == 2


def test_later_entries_replace_earlier_ones(tmp_path: Path) -> None:
    data = tars.file(b"a", b"first") + tars.file(b"a", b"second")
    data += tars.file(b"d/x/y", b"1") + tars.file(b"d", b"now a file")
    data += tars.file(b"f", b"1") + tars.directory(b"f/") + tars.file(b"f/g", b"2")
    data += tars.symlink(b"l", b"a") + tars.file(b"l", b"third")
    data += (
        tars.directory(b"e/", mode=0o700) + tars.file(b"e/x") + tars.directory(b"e/", mode=0o711)
    )
    data += tars.directory(b"s/") + tars.symlink(b"s", b"e") + tars.file(b"s/z", b"3")
    data += tars.symlink(b"n", b"e") + tars.directory(b"n/") + tars.file(b"n/o", b"4")
    extract(data + tars.END, tmp_path / "t")
    tree = tmp_path / "t"
    assert (tree / "a").read_bytes() == b"second"
    assert (tree / "d").read_bytes() == b"now a file"
    assert (tree / "f/g").read_bytes() == b"2"
    assert (tree / "l").read_bytes() == b"third"
    assert sorted(os.listdir(tree / "e")) == ["x", "z"]
    assert stat.S_IMODE((tree / "e").stat().st_mode) == 0o711
    assert (tree / "s").is_symlink()
    assert os.listdir(tree / "n") == ["o"]


def test_a_replaced_parent_is_not_remembered(tmp_path: Path) -> None:
    """What was opened before a link changed its target is not written to after that."""
    data = tars.directory(b"a/") + tars.directory(b"b/") + tars.symlink(b"l", b"a")
    data += tars.file(b"l/1") + tars.symlink(b"l", b"b") + tars.file(b"l/2")
    data += (
        tars.directory(b"p/q/") + tars.file(b"p/q/3") + tars.file(b"p") + tars.symlink(b"p", b"b")
    )
    extract(data + tars.directory(b"b/q/") + tars.file(b"p/q/4") + tars.END, tmp_path / "t")
    assert os.listdir(tmp_path / "t/a") == ["1"]
    assert sorted(os.listdir(tmp_path / "t/b")) == ["2", "q"]
    assert os.listdir(tmp_path / "t/b/q") == ["4"]


def test_metadata_of_a_removed_directory_is_forgotten(tmp_path: Path) -> None:
    data = tars.directory(b"p/d/", mode=0o700) + tars.file(b"p") + tars.directory(b"p/")
    extract(data + tars.file(b"p/d/x") + tars.END, tmp_path / "t")
    assert stat.S_IMODE((tmp_path / "t/p/d").stat().st_mode) == 0o755


@pytest.mark.root
def test_xattrs(tmp_path: Path) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000"[:40])
    data = tars.pax({b"SCHILY.xattr.security.capability": capability, b"SCHILY.xattr.user.k": b"v"})
    data += (
        tars.header(b"f", uid=5) + tars.pax({b"SCHILY.xattr.user.d": b""}) + tars.directory(b"d/")
    )
    data += tars.pax({b"SCHILY.xattr.user.no": b"1"}) + tars.header(b"p", b"6")
    result = extract(data + tars.END, tmp_path / "t")
    assert os.getxattr(tmp_path / "t/f", "security.capability") == capability
    assert os.getxattr(tmp_path / "t/f", "user.k") == b"v"
    assert os.getxattr(tmp_path / "t/d", "user.d") == b""
    assert result.skipped_xattrs == (b"p",)  # the kernel has user attributes on files only


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    data = tars.file(b"\xff\xfe\n", b"1") + tars.symlink(b"l", b"\xf0")
    extract(data + tars.END, tmp_path / "t")
    assert sorted(os.listdir(bytes(tmp_path / "t"))) == [b"l", b"\xff\xfe\n"]


def test_many_directories(tmp_path: Path) -> None:
    """More than are kept open, twice over, and some below each other."""
    names = [b"d%d/e" % n for n in range(300)]
    data = b"".join(tars.file(name + b"/1") for name in names)
    data += b"".join(tars.file(name + b"/2") for name in names)
    before = len(os.listdir("/proc/self/fd"))
    extract(
        data + b"".join(tars.hardlink(n + b"/3", n + b"/1") for n in names) + tars.END,
        tmp_path / "t",
    )
    assert len(os.listdir("/proc/self/fd")) == before
    for name in names:
        assert sorted(os.listdir(bytes(tmp_path) + b"/t/" + name)) == [b"1", b"2", b"3"]


def test_path_longer_than_path_max(tmp_path: Path) -> None:
    """The tree's own path comes on top of what a layer may have; so it does when packing."""
    deep = b"/".join([b"n" * 200] * 20)
    data = tars.gnu(b"L", deep) + tars.file(b"x", b"1" * 10)
    (tmp_path / "tar").touch()
    base = tmp_path / ("p" * 200)
    base.mkdir()
    extract(data + tars.END, base / "t")
    first = pack_tree(str(base / "t"), None)
    extract_again = tmp_path / "u"
    with (tmp_path / "tar").open("wb") as out:
        assert pack_tree(str(base / "t"), out.fileno(), mtime=0, settle=True) == first
    assert extract((tmp_path / "tar").read_bytes(), extract_again).diff_id == first.diff_id


@contextmanager
def without_openat2(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def missing(root: int, path: bytes, how: object) -> int:
        raise OSError(38, "Function not implemented")

    with monkeypatch.context() as patch:
        patch.setattr("runtime.image.layer.in_root.openat2", missing)
        yield


def test_without_openat2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with without_openat2(monkeypatch):
        for test in (test_through_its_own_links, test_later_entries_replace_earlier_ones):
            folder = tmp_path / test.__name__
            folder.mkdir()
            test(folder)


def test_walking_is_what_the_kernel_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same directory, same error, for every way a path can go."""
    (tmp_path / "root/a/b").mkdir(parents=True)
    (tmp_path / "root/up").symlink_to("../../a")
    (tmp_path / "root/abs").symlink_to("/a/b/../b")
    (tmp_path / "root/loop").symlink_to("loop")
    (tmp_path / "root/out").symlink_to("/etc")
    (tmp_path / "root/file").touch()
    (tmp_path / "root/magic").symlink_to("/proc/self/root")
    (tmp_path / "root/c0").symlink_to("a")
    for number in range(1, 50):
        (tmp_path / f"root/c{number}").symlink_to(f"c{number - 1}")
    paths = [b"", b".", b"a", b"a/b", b"a/b/../..", b"../../a", b"up", b"up/b", b"abs", b"loop"]
    paths += [b"out", b"file", b"file/..", b"magic", b"missing", b"a/missing/..", b"a/loop/b"]
    paths += [b"c38", b"c39", b"c40", b"abs/../b/../../up/b/.."]
    how = open_how(DIRECTORY_FLAGS & ~os.O_NOFOLLOW, RESOLVE_IN_ROOT)
    root = os.open(tmp_path / "root", os.O_RDONLY)

    def outcome(opening: Callable[[], int]) -> int | None:
        """The inode, or the error as a negative number."""
        try:
            fd = opening()
        except OSError as error:
            return -(error.errno or 0)
        try:
            return os.fstat(fd).st_ino
        finally:
            os.close(fd)

    def walked(path: bytes) -> int:
        fd, real = walk_directory(root, path)
        plain = [open_plain(root, real)]
        with without_openat2(monkeypatch):
            plain.append(open_plain(root, real))
        for same in plain:
            assert os.path.sameopenfile(same, fd)
            os.close(same)
        return fd

    try:
        for path in paths:
            expected = outcome(partial(openat2, root, path or b".", how))
            assert outcome(partial(walked, path)) == expected, path
        for path in (b"up", b"abs/..", b"c39", b"loop", b"out"):
            with pytest.raises(OSError, match=r"symbolic links|directory"):
                open_plain(root, path)
    finally:
        os.close(root)


def test_deeper_than_descriptors(tmp_path: Path) -> None:
    """A way down and up again through a thousand directories takes a few descriptors."""
    deep = b"/".join([b"d"] * 900)
    data = tars.gnu(b"L", deep + b"/f") + tars.file(b"x", b"1")
    data += tars.gnu(b"K", deep + b"/.." * 450) + tars.symlink(b"l", b"x") + tars.file(b"l/g", b"2")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        extract(data + tars.END, tmp_path / "t")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    middle = tmp_path / "t" / "/".join(["d"] * 450)
    assert sorted(os.listdir(middle)) == ["d", "g"]
    settle_tree(str(tmp_path / "t"), 0, lambda path: True)  # too deep for shutil


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    """extract(write(entries)) packed again is the same layer."""
    entries = [
        Entry(path=b"a", kind=Kind.WHITEOUT, mode=0),
        Entry(path=b"d", kind=Kind.DIRECTORY, mode=0o750, uid=UID, gid=GID, mtime=77),
        Entry(path=b"d", kind=Kind.OPAQUE, mode=0),
        Entry(path=b"d/f", kind=Kind.REGULAR, size=2, content=b"hi", uid=UID, gid=GID, mtime=78),
        Entry(path=b"d/g", kind=Kind.HARDLINK, target=b"d/f", uid=UID, gid=GID, mtime=78),
        Entry(path=b"l", kind=Kind.SYMLINK, mode=0o777, target=b"/x", uid=UID, gid=GID, mtime=79),
        Entry(path=b"p", kind=Kind.FIFO, mode=0o600, uid=UID, gid=GID, mtime=80),
    ]
    with (tmp_path / "tar").open("wb") as out:
        layer = write_layer(entries, out.fileno())
    result = extract((tmp_path / "tar").read_bytes(), tmp_path / "t")
    assert result.diff_id == layer.diff_id
    assert pack_tree(str(tmp_path / "t"), None) == layer


def test_errors_leave_no_thread_and_no_descriptor(tmp_path: Path) -> None:
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    data = tars.file(b"a", os.urandom(5 << 20)) + tars.file(b"../b") + tars.END
    (tmp_path / "blob").write_bytes(gzip.compress(data, 1))
    (tmp_path / "t").mkdir()
    with pytest.raises(LayerError):
        extract_layer(
            open_decompressed(str(tmp_path / "blob")),
            str(tmp_path / "t"),
            skip_devices_if_forbidden=False,
        )
    with pytest.raises(FileNotFoundError):
        extract_layer([], str(tmp_path / "missing"), skip_devices_if_forbidden=False)
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before
