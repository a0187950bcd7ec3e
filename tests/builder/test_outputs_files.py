"""The files of an image in a directory that somebody has used before, and in a tar."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from builder.output.files_output import ExportError, has_own_owners, write_files, write_files_tar
from runtime.image.layer.entry import Entry, Kind
from runtime.image.layer.view import TarForm, View
from runtime.image.layer.writer import canonical_order, write_layer

EPOCH = 1_000_000


def regular(path: str, content: bytes = b"new", **more: object) -> Entry:
    given = {"mode": 0o644, "mtime": 5, "size": len(content), "content": content, **more}
    return Entry(path=path.encode(), kind=Kind.REGULAR, **given)  # type: ignore[arg-type]


def folder(path: str, mode: int = 0o755) -> Entry:
    return Entry(path=path.encode(), kind=Kind.DIRECTORY, mode=mode, mtime=5)


def link(path: str, target: str) -> Entry:
    return Entry(path=path.encode(), kind=Kind.SYMLINK, mode=0o777, target=target.encode())


def layer(place: Path, entries: Iterable[Entry]) -> TarForm:
    fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        write_layer(canonical_order(entries), fd)
    finally:
        os.close(fd)
    return TarForm(str(place))


@pytest.fixture
def view(tmp_path: Path) -> View:
    lower = [
        folder("d"), regular("d/gone"), regular("d/f", b"old"), folder("tight", 0o500),
        regular("tight/x", mode=0o4755), link("l", "/etc/passwd"), regular("same", inode=(1, 1)),
        regular("same2", inode=(1, 1)), folder("t"), regular("t/same3", inode=(1, 1)),
    ]  # fmt: skip
    upper = [folder("d"), regular("d/f"), Entry(path=b"d/gone", kind=Kind.WHITEOUT, mode=0)]
    return View([layer(tmp_path / "lower.tar", lower), layer(tmp_path / "upper.tar", upper)])


def test_files_in_a_new_directory(view: View, tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    assert write_files(view, str(out), mtime=EPOCH, owners=False) == ()
    assert (out / "d/f").read_bytes() == b"new"
    assert not (out / "d/gone").exists()
    assert os.readlink(out / "l") == "/etc/passwd"
    assert stat.S_IMODE((out / "tight").stat().st_mode) == 0o500
    assert stat.S_IMODE((out / "tight/x").stat().st_mode) == 0o4755
    assert len({(out / name).stat().st_ino for name in ("same", "same2", "t/same3")}) == 1
    for path in (out / "d", out / "d/f", out / "l", out / "tight", out / "t/same3"):
        assert path.lstat().st_mtime == EPOCH


def test_what_is_there_is_replaced_and_nothing_is_followed(view: View, tmp_path: Path) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_text("mine")
    (out / "tight").mkdir(parents=True)
    (out / "tight" / "x").symlink_to(outside / "f")
    (out / "d").symlink_to(outside)
    (out / "same").symlink_to(outside / "f")
    (out / "l").mkdir()
    (out / "mine").write_text("kept")
    write_files(view, str(out), mtime=EPOCH, owners=False)
    assert (outside / "f").read_text() == "mine"
    assert sorted(path.name for path in outside.iterdir()) == ["f"]
    assert not (out / "d").is_symlink()
    assert (out / "d/f").read_bytes() == b"new"
    assert (out / "same").read_bytes() == b"new"
    assert (out / "l").is_symlink()
    assert (out / "mine").read_text() == "kept"
    assert not list(out.rglob(".lamina-*"))


def test_a_folder_with_something_in_it_is_not_removed(view: View, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "l").mkdir(parents=True)
    (out / "l" / "mine").write_text("kept")
    with pytest.raises(ExportError, match="l: a file of the image has the name of a folder"):
        write_files(view, str(out), mtime=EPOCH, owners=False)
    assert (out / "l" / "mine").read_text() == "kept"


@pytest.mark.root
@pytest.mark.skipif(not has_own_owners(), reason="not the system's root")
def test_owners_and_devices_as_root(tmp_path: Path) -> None:
    device = Entry(path=b"null", kind=Kind.CHARACTER, mode=0o666, rdev=os.makedev(1, 3))
    one = layer(tmp_path / "one.tar", [regular("f", uid=7, gid=8, mode=0o4755), device])
    write_files(View([one]), str(tmp_path / "out"), mtime=EPOCH, owners=True)
    status = (tmp_path / "out" / "f").stat()
    assert (status.st_uid, status.st_gid) == (7, 8)
    assert stat.S_IMODE(status.st_mode) == 0o4755
    assert (tmp_path / "out" / "null").stat().st_rdev == os.makedev(1, 3)


def test_the_tar_is_canonical(view: View, tmp_path: Path) -> None:
    first, second = tmp_path / "first.tar", tmp_path / "second.tar"
    write_files_tar(view, str(first), mtime=EPOCH)
    with second.open("wb") as file:
        write_files_tar(view, file.fileno(), mtime=EPOCH)
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as tar:
        members = {member.name: member for member in tar}
    assert list(members) == ["d", "d/f", "l", "same", "same2", "t", "t/same3", "tight", "tight/x"]
    assert {member.mtime for member in members.values()} == {EPOCH}
    assert members["t/same3"].linkname == "same"
