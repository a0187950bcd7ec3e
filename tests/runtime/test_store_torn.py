"""Power failures and bad disks: whatever is cut off or overwritten, the store is mended."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from runtime.image.layer.pack import pack_tree
from runtime.image.layer.recipe import GZIP, UNCOMPRESSED, ZSTD
from runtime.image.model import History, ImageConfig
from runtime.image.reference import Reference
from runtime.image.store.faults import Checked
from runtime.image.store.fsck import check_store
from runtime.image.store.salvage import check_database
from runtime.image.store.store import Store, open_store
from support.cli import Lamina

pytestmark = pytest.mark.any_user

_FRAME = 4096 + 24
"""Of SQLite's WAL: a page and its header, after a header of 32 bytes."""


def build(store: Store) -> None:
    """An image of two layers in every form, and steps that gave them."""
    config = ImageConfig(architecture="amd64")
    for name in ("one", "two"):
        with store.workspace() as space:
            os.makedirs(f"{space}/tree/directory")
            Path(space, "tree/directory/file").write_text(name * 3000)
            layer = pack_tree(f"{space}/tree", None, mtime=0, settle=True)
            store.add_tree(layer, f"{space}/tree")
        store.put_record(name, "run", {"argv": name}, layer.diff_id)
        for recipe in (GZIP, ZSTD, UNCOMPRESSED):
            store.blob(layer.diff_id, recipe)
        config = config.with_layer(layer.diff_id, History())
    store.tag(Reference.parse("app"), store.put_image(config))


def check(root: str, *, repair: bool) -> Checked:
    with open_store(root) as store:
        return check_store(store.parts, repair=repair, jobs=2)


def mend_and_build_again(root: str) -> None:
    """After a repair and another build everything is as it was."""
    check_database(root, repair=True)
    assert check_database(root, repair=False) == []
    check(root, repair=True)
    assert all(fault.kind == "image" for fault in check(root, repair=False).faults)
    with open_store(root) as store:
        build(store)
        image = store.image("app")
        for diff_id in image.config.diff_ids:
            assert pack_tree(store.tree(diff_id), None).diff_id == diff_id
            for recipe in (GZIP, ZSTD, UNCOMPRESSED):
                store.blob(diff_id, recipe)
    assert check(root, repair=False).faults == ()


@pytest.mark.parametrize("seed", range(12))
def test_anything_may_be_cut_off_or_overwritten(tmp_path: Path, seed: int) -> None:
    choice = random.Random(seed)
    root = str(tmp_path / "store")
    with open_store(root) as store:
        build(store)
    files = [
        path
        for folder in ("blobs", "trees")
        for path in sorted(Path(root, folder).rglob("*"))
        if path.is_file()
    ]
    for path in choice.sample(files, 3) + [Path(root, "store.db")] * (seed % 2):
        path.chmod(0o600)
        size = path.stat().st_size
        match choice.randrange(3):
            case 0:
                os.truncate(path, choice.randrange(size))
            case 1:
                with path.open("r+b") as file:
                    file.seek(choice.randrange(size) // 4096 * 4096)
                    file.write(bytes(min(4096, size)))
            case _:
                os.truncate(path, 0)
    mend_and_build_again(root)


def test_the_log_may_end_anywhere(tmp_path: Path) -> None:
    """What a power failure leaves of the database's log: any number of frames, or part of one."""
    root = str(tmp_path / "store")
    Store(root).close()
    with open_store(root) as store:
        build(store)
        torn = tmp_path / "torn"
        torn.mkdir()
        shutil.copytree(root, torn / "all", ignore=shutil.ignore_patterns("store.db-shm"))
    log = (torn / "all/store.db-wal").read_bytes()
    frames = (len(log) - 32) // _FRAME
    assert frames > 20
    for frame in range(0, frames, 3):
        for more in (0, 1000):
            copy = torn / f"{frame} {more}"
            shutil.copytree(torn / "all", copy)
            os.truncate(copy / "store.db-wal", 32 + frame * _FRAME + more)
            assert check_database(str(copy), repair=False) == []
            shutil.rmtree(copy / "work")
            (copy / "work").mkdir()
            mend_and_build_again(str(copy))
            shutil.rmtree(copy)


@pytest.mark.root
def test_a_store_that_became_read_only_is_said_to_be(tmp_path: Path) -> None:
    """And is whole when it can be written again."""
    disk = tmp_path / "disk"
    disk.mkdir()
    lamina = Lamina(root=disk / "store", temporary=tmp_path)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", disk], check=True)
    try:
        with open_store(str(lamina.root)) as store:
            build(store)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        for command in (("images",), ("df",), ("fsck",), ("prune", "-f"), ("rmi", "app")):
            said = lamina(*command, status=1).stderr
            assert "ERROR: " in said
            assert "ead-only" in said or "readonly" in said, said
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        lamina("fsck")
        mend_and_build_again(str(lamina.root))
    finally:
        subprocess.run(["umount", disk], check=True)
