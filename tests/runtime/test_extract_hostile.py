"""Layers that try to get out: nothing is ever touched outside the tree."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.image.errors import LayerError
from runtime.image.layer.extract import extract_layer
from runtime.image.layer.pack import pack_tree
from runtime.image.layer.tar_reader import Limits
from support import tars
from support.hostile_tars import attempts

Snapshot = dict[str, tuple[int, int, int, bytes]]

SECRET = b"secret"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory beside the tree, which every archive here wants to change or read."""
    folder = tmp_path / "outside"
    folder.mkdir(mode=0o700)
    (folder / "secret").write_bytes(SECRET)
    (folder / "directory").mkdir(mode=0o700)
    (folder / "directory/file").write_bytes(SECRET)
    return folder


def snapshot(folder: Path) -> Snapshot:
    found: Snapshot = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (status.st_mode, status.st_nlink, status.st_mtime_ns, content)
    return found


NAMES = sorted(attempts(Path("/x")))


def test_the_corpus_is_a_corpus() -> None:
    assert len(NAMES) >= 80


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kernel", ["openat2", "walk"])
def test_confined(
    tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch, name: str, kernel: str
) -> None:
    if kernel == "walk":

        def missing(root: int, path: bytes, how: object) -> int:
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr("runtime.image.layer.in_root.openat2", missing)
    before = snapshot(outside)
    beside = sorted(os.listdir(tmp_path))
    (tmp_path / "tree").mkdir()
    descriptors = len(os.listdir("/proc/self/fd"))
    with suppress(LayerError):
        extract_layer(
            [attempts(outside)[name] + tars.END],
            str(tmp_path / "tree"),
            skip_devices_if_forbidden=True,
        )
    assert snapshot(outside) == before
    assert sorted(os.listdir(tmp_path)) == sorted([*beside, "tree"])
    assert len(os.listdir("/proc/self/fd")) == descriptors
    for path, _, files in os.walk(tmp_path / "tree"):
        for file in files:
            full = Path(path) / file
            if full.is_file() and not full.is_symlink():
                assert full.read_bytes() != SECRET
        for name in os.listdir(path):
            marks = os.listxattr(os.path.join(path, name), follow_symlinks=False)
            assert all(mark == "user.overlay.opaque" for mark in marks)


@pytest.mark.parametrize(
    "name",
    [
        "dots",
        "dots inside",
        "file as a parent",
        "fifo as a parent",
        "hard link to a directory",
        "hard link to a whiteout",
        "hard link to itself",
        "hard link to the root",
        "hard link through a link",
        "link at the root",
        "loop",
        "whiteout of dots",
        "whiteout with a slash",
        "whiteout as a directory",
        "opaque as a directory",
        "extended path",
        "prefix",
    ],
)
def test_refused_by_name(tmp_path: Path, outside: Path, name: str) -> None:
    (tmp_path / "tree").mkdir()
    with pytest.raises(LayerError, match="layer entry"):
        extract_layer(
            [attempts(outside)[name] + tars.END],
            str(tmp_path / "tree"),
            skip_devices_if_forbidden=True,
        )


def test_costs_are_bounded(tmp_path: Path) -> None:
    many = b"".join(tars.file(b"%d" % n) for n in range(50))
    large = tars.header(b"x", size=1 << 30)
    for number, (data, limits) in enumerate(
        [
            (many, Limits(entries=49)),
            (large, Limits(size=1 << 20)),
            (tars.file(b"a" * 9), Limits(name=4)),
            (tars.file(b"a/" * 40 + b"b") + tars.file(b"c"), Limits(entries=41)),
        ]
    ):
        tree = tmp_path / str(number)
        tree.mkdir()
        with pytest.raises(LayerError):
            extract_layer(
                [data + tars.END], str(tree), limits=limits, skip_devices_if_forbidden=False
            )
        assert sum(file.stat().st_size for file in tree.rglob("*") if file.is_file()) == 0


def test_an_announced_size_reserves_nothing(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    with pytest.raises(LayerError, match="cut off"):
        extract_layer(
            [tars.header(b"x", size=(8 << 30) - 1) + b"little"],
            str(tmp_path / "tree"),
            skip_devices_if_forbidden=False,
        )
    assert (tmp_path / "tree/x").stat().st_size == 6


IN_USER_NAMESPACE = """
import ctypes, os, sys
from runtime.image.layer.extract import extract_layer
from runtime.image.layer.pack import pack_tree
os.chdir(sys.argv.pop(1))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x10000000) == 0, ctypes.get_errno()  # CLONE_NEWUSER
sys.stdout.write("ready\\n")
sys.stdout.flush()
sys.stdin.readline()
os.setgid(0)
os.setuid(0)
data = open(sys.argv[1], "rb").read()
result = extract_layer([data], sys.argv[2], skip_devices_if_forbidden=True)
assert result.skipped_devices == (b"null", b"twin"), result
assert result.skipped_xattrs == (), result
assert pack_tree(sys.argv[2], None).diff_id == sys.argv[4], "another layer came back"
try:
    extract_layer([data], sys.argv[3], skip_devices_if_forbidden=False)
except PermissionError:
    pass
else:
    raise AssertionError("a device was made")
"""


@pytest.mark.root
def test_in_a_user_namespace(tmp_path: Path) -> None:
    """Whiteouts, owners and capabilities work; devices are skipped and told."""
    rest = tars.directory(b"d/", mode=0o755) + tars.header(b"d/f", uid=5, gid=6, mode=0o4755)
    capability = bytes.fromhex("01000002" + "00040000" + "00" * 12)
    rest += tars.pax({b"SCHILY.xattr.security.capability": capability}) + tars.file(
        b"ping", mode=0o755
    )
    devices = tars.header(b"null", b"3", major=1, minor=3) + tars.hardlink(b"twin", b"null")
    whiteout = tars.file(b".wh.gone")
    # Inside, the capability gets a header of its own kind and comes back as it was.
    plain = tmp_path / "plain"
    plain.mkdir()
    extract_layer([whiteout + rest + tars.END], str(plain), skip_devices_if_forbidden=False)
    expected = pack_tree(str(plain), None).diff_id
    (tmp_path / "tar").write_bytes(devices + whiteout + rest + tars.END)
    for name in ("tree", "other"):
        (tmp_path / name).mkdir()
        os.chown(tmp_path / name, 100_000, 100_000)
    tmp_path.chmod(0o711)  # the folders above need not be open to it: it starts inside
    arguments = [str(tmp_path), "tar", "tree", "other"]
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(IN_USER_NAMESPACE), *arguments, expected],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    with process:
        if process.stdout.readline():
            for which in ("uid_map", "gid_map"):
                Path(f"/proc/{process.pid}/{which}").write_text("0 100000 65536\n")
        _, errors = process.communicate("go\n")
    assert process.returncode == 0, errors
    status = (tmp_path / "tree/d/f").stat()
    assert (status.st_uid, status.st_gid) == (100_005, 100_006)
