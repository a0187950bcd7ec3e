"""Trees to layers: all that a tree can hold, in both of overlayfs's dialects; settling."""

from __future__ import annotations

import os
import random
import socket
import stat
import tarfile
from pathlib import Path

import pytest

from runtime.image.layer.entry import Entry, FileSource, Kind
from runtime.image.layer.pack import pack_tree, scan_tree, settle_tree


def scanned(tree: Path, **options: int) -> dict[bytes, Entry]:
    return {entry.path: entry for entry in scan_tree(str(tree), **options)}  # type: ignore[arg-type]


def test_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    (tree / "d/file").write_bytes(b"12345")
    (tree / "empty").touch()
    os.link(tree / "d/file", tree / "twin")
    (tree / "link").symlink_to("d/file")
    os.mkfifo(tree / "pipe", 0o600)
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tree)  # the name of a socket is short
        listener.bind("socket")
    os.chmod(tree / "d", 0o2750)
    os.utime(tree / "d/file", ns=(0, 1_700_000_000_999_999_999))
    os.setxattr(tree / "d/file", "user.kept", b"value")
    entries = scanned(tree)
    assert list(entries) == [b"d", b"d/file", b"empty", b"link", b"pipe", b"twin"]
    file = entries[b"d/file"]
    assert (file.kind, file.size, file.mtime) == (Kind.REGULAR, 5, 1_700_000_000)
    assert file.xattrs == (("user.kept", b"value"),)
    assert isinstance(file.content, FileSource)
    assert entries[b"d"].mode == 0o2750
    assert entries[b"empty"].content == b""
    assert (entries[b"twin"].kind, entries[b"twin"].target) == (Kind.HARDLINK, b"d/file")
    assert entries[b"link"].target == b"d/file"
    assert entries[b"pipe"].kind is Kind.FIFO
    assert {entry.mtime for entry in scanned(tree, mtime=7).values()} == {7}
    list_first = list(scan_tree(str(tree)))
    assert [entry.path for entry in list_first] == list(entries)


def test_marks_of_overlayfs(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("user", "other", "with files"):
        (tree / name).mkdir(parents=True)
        (tree / name / "a").touch()
    os.mknod(tree / "user/z", stat.S_IFCHR, 0)
    os.setxattr(tree / "user", "user.overlay.opaque", b"y")
    os.setxattr(tree / "user", "user.overlay.impure", b"y")
    os.setxattr(tree / "user/a", "user.overlay.origin", b"\0\1")
    os.setxattr(tree / "with files", "user.overlay.opaque", b"x")
    (tree / "with files/gone").touch()
    os.setxattr(tree / "with files/gone", "user.overlay.whiteout", b"")
    kinds = [(entry.kind, entry.path) for entry in scan_tree(str(tree))]
    assert kinds == [
        (Kind.DIRECTORY, b"other"),
        (Kind.REGULAR, b"other/a"),
        (Kind.DIRECTORY, b"user"),
        (Kind.OPAQUE, b"user"),
        (Kind.WHITEOUT, b"user/z"),
        (Kind.REGULAR, b"user/a"),
        (Kind.DIRECTORY, b"with files"),
        (Kind.WHITEOUT, b"with files/gone"),
        (Kind.REGULAR, b"with files/a"),
    ]
    assert all(entry.xattrs == () for entry in scan_tree(str(tree)))
    with (tmp_path / "tar").open("wb") as out:
        pack_tree(str(tree), out.fileno())
    assert b"overlay" not in (tmp_path / "tar").read_bytes()


@pytest.mark.root
def test_marks_of_privileged_mounts(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    os.setxattr(tmp_path / "d", "trusted.overlay.opaque", b"y")
    (tmp_path / "gone").touch()
    os.setxattr(tmp_path / "gone", "trusted.overlay.whiteout", b"")
    capability = bytes.fromhex("01000002" + "00040000" + "00" * 12)
    (tmp_path / "ping").touch()
    os.setxattr(tmp_path / "ping", "security.capability", capability)
    os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    gone, directory, mark, null, ping = scan_tree(str(tmp_path))
    assert gone.kind is Kind.WHITEOUT
    assert (directory.kind, mark.kind, directory.xattrs) == (Kind.DIRECTORY, Kind.OPAQUE, ())
    assert (null.kind, null.rdev) == (Kind.CHARACTER, os.makedev(1, 3))
    assert ping.xattrs == (("security.capability", capability),)


def fill(tree: Path, seed: int) -> None:
    """The same tree, made in an order that depends on the seed."""
    tree.mkdir()
    names = [f"d{n % 7}/e{n % 3}/f{n}" for n in range(200)]
    random.Random(seed).shuffle(names)
    for name in names:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name * 10)
    for name in names[::2]:
        (tree / name).unlink()
        (tree / name).write_text(name * 10)


def test_the_order_of_creation_does_not_matter(tmp_path: Path) -> None:
    sums = set()
    for seed in range(3):
        fill(tmp_path / str(seed), seed)
        sums.add(pack_tree(str(tmp_path / str(seed)), None, mtime=1))
        sums.add(pack_tree(str(tmp_path / str(seed)), None, mtime=1))
    assert len(sums) == 1


def test_tarfile_agrees(tmp_path: Path) -> None:
    fill(tmp_path / "tree", 0)
    with (tmp_path / "tar").open("wb") as out:
        pack_tree(str(tmp_path / "tree"), out.fileno())
    with tarfile.open(tmp_path / "tar") as archive:
        names = archive.getnames()
        assert len(names) == len(set(names))
        for member in archive:
            path = tmp_path / "tree" / member.name
            status = path.stat()
            assert member.isdir() == path.is_dir()
            assert (member.mode, member.mtime) == (
                stat.S_IMODE(status.st_mode),
                int(status.st_mtime),
            )
            body = archive.extractfile(member)
            assert body is None or body.read() == path.read_bytes()


def test_drop(tmp_path: Path) -> None:
    fill(tmp_path / "tree", 0)

    def drop(path: bytes) -> bool:
        return path in (b"d1", b"d2/e2/f2") or path.endswith(b"0")

    dropped = list(scan_tree(str(tmp_path / "tree"), drop=drop))
    assert dropped
    assert not any(drop(entry.path) or entry.path.startswith(b"d1/") for entry in dropped)
    assert (tmp_path / "tree/d1").exists()  # looked at, not touched
    first = pack_tree(str(tmp_path / "tree"), None, mtime=9, drop=drop)
    assert pack_tree(str(tmp_path / "tree"), None, mtime=9, drop=drop, settle=True) == first
    assert not (tmp_path / "tree/d1").exists()
    assert pack_tree(str(tmp_path / "tree"), None) == first


def test_settle(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    fill(tree, 0)
    (tree / "link").symlink_to("/etc/hostname")
    os.mkfifo(tree / "pipe")
    before = Path("/etc/hostname").stat().st_mtime_ns
    settle_tree(str(tree), 12345, lambda path: path == b"d3")
    assert not (tree / "d3").exists()
    times = {path.lstat().st_mtime_ns for path in [tree, *tree.rglob("*")]}
    assert times == {12345 * 10**9}
    assert Path("/etc/hostname").stat().st_mtime_ns == before


def test_a_dropped_directory_may_hold_links(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").touch()
    (tmp_path / "tree/d/e").mkdir(parents=True)
    (tmp_path / "tree/d/e/out").symlink_to(tmp_path / "outside")
    (tmp_path / "tree/l").symlink_to(tmp_path / "outside")
    settle_tree(str(tmp_path / "tree"), 0, lambda path: path in (b"d", b"l"))
    assert os.listdir(tmp_path / "tree") == []
    assert (tmp_path / "outside/file").exists()


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    os.makedirs(bytes(tmp_path) + b"/tree/\xff")
    (tmp_path / "tree/ok").touch()
    assert list(scanned(tmp_path / "tree")) == [b"ok", b"\xff"]


def test_abandoned_walks_leave_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    deep = str(tmp_path / "t")
    descriptors = len(os.listdir("/proc/self/fd"))
    fd = os.open(deep, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("n" * 200, dir_fd=fd)
        below = os.open("n" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    walk = scan_tree(deep)
    for _ in range(28):
        next(walk)
    walk.close()  # type: ignore[attr-defined]
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert sum(1 for _ in scan_tree(deep)) == 30
    settle_tree(deep, 5)
    assert {entry.mtime for entry in scan_tree(deep)} == {5}
    settle_tree(deep, 5, lambda path: True)
    assert os.listdir(deep) == []
