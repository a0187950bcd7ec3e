"""Removing trees that others filled: all of it, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.image.store.remove import remove_tree


def test_a_tree_is_removed_with_all_kinds_of_files(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a/b/c").mkdir(parents=True)
    (tree / "a/file").write_text("x")
    (tree / "a/b/link").symlink_to("/etc")
    os.mkfifo(tree / "a/fifo")
    os.link(tree / "a/file", tree / "a/b/hard")
    (tree / os.fsdecode(b"\xff")).write_text("x")
    remove_tree(str(tree))
    assert not tree.exists()


def test_links_are_removed_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link").symlink_to(outside)
    remove_tree(str(tree))
    assert (outside / "precious").exists()
    link = tmp_path / "link"
    link.symlink_to(outside)
    remove_tree(str(link))
    assert not link.is_symlink()
    assert (outside / "precious").exists()


def test_nothing_there_is_fine_and_a_file_is_a_tree(tmp_path: Path) -> None:
    remove_tree(str(tmp_path / "missing"))
    (tmp_path / "file").write_text("x")
    remove_tree(str(tmp_path / "file"))
    assert not (tmp_path / "file").exists()


def test_a_very_deep_tree_costs_no_descriptors(tmp_path: Path) -> None:
    root = os.open(tmp_path, os.O_RDONLY)
    fd = os.dup(root)
    for _ in range(3000):
        os.mkdir("deep", dir_fd=fd)
        below = os.open("deep", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    os.close(root)
    remove_tree(str(tmp_path / "deep"))
    assert os.listdir(tmp_path) == []


WITHOUT_CAPABILITIES = """
import ctypes, struct, sys
from runtime.image.store.remove import remove_tree
libc = ctypes.CDLL(None, use_errno=True)
header, data = struct.pack("=Ii", 0x20080522, 0), bytes(24)
if libc.capset(header, data):
    raise OSError(ctypes.get_errno(), "capset")
remove_tree(sys.argv[1])
"""


def test_permissions_of_our_own_directories_do_not_matter(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a/b/c").mkdir(parents=True)
    (tree / "a/b/file").write_text("x")
    for path, mode in (("a/b", 0), ("a", 0o600), (".", 0o500)):
        os.chmod(tree / path, mode)
    subprocess.run([sys.executable, "-c", WITHOUT_CAPABILITIES, str(tree)], check=True)
    assert not tree.exists()


MOUNTING = """
import ctypes, os, sys
from runtime.image.store.remove import remove_tree
libc = ctypes.CDLL(None, use_errno=True)
def check(result):
    if result:
        raise OSError(ctypes.get_errno(), "setup")
CLONE_NEWNS, MS_REC, MS_PRIVATE, MS_BIND = 0x20000, 0x4000, 0x40000, 0x1000
check(libc.unshare(CLONE_NEWNS))
check(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))
tree, outside, kind = sys.argv[1:]
target = os.fsencode(tree) + b"/a/m t"
if kind == "tmpfs":
    check(libc.mount(b"none", target, b"tmpfs", 0, None))
    open(target + b"/precious", "w").close()
else:
    check(libc.mount(os.fsencode(outside), target, None, MS_BIND, None))
try:
    remove_tree(tree)
except OSError as error:
    print(error)
print(os.path.exists(target + b"/precious"))
"""


@pytest.mark.root
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_what_is_mounted_in_a_tree_is_left_alone(tmp_path: Path, kind: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    tree = tmp_path / "tree"
    (tree / "a/m t").mkdir(parents=True)
    result = subprocess.run(
        [sys.executable, "-c", MOUNTING, str(tree), str(outside), kind],
        capture_output=True,
        text=True,
        check=True,
    )
    message, precious = result.stdout.splitlines()
    assert "a file system is mounted here" in message
    assert "m t" in message
    assert precious == "True"
    assert (outside / "precious").exists()
