"""Damage of every kind is found, and mended where it can be."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.image.digest import DiffID, Digest, encoded, sha256
from runtime.image.layer.pack import pack_tree
from runtime.image.layer.recipe import GZIP
from runtime.image.layer.writer import LayerSum
from runtime.image.manifest import MEDIA_TYPE_LAYER, Descriptor
from runtime.image.model import History, ImageConfig
from runtime.image.reference import Reference
from runtime.image.store.faults import Checked
from runtime.image.store.fsck import check_store
from runtime.image.store.salvage import check_database
from runtime.image.store.store import Store, open_store
from support import tars

CONTAINER = "c" * 64


class Shop:
    """A store with an image of three layers: a tree, a raw blob, and a foreign gzip blob."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        with open_store(self.root) as store, store.workspace() as space:
            self.tree = packed_tree(f"{space}/tree", "tree")
            store.add_tree(self.tree, f"{space}/tree")
            self.raw = packed_raw(space, "raw")
            store.add_raw(self.raw, f"{space}/raw")
            self.foreign = add_foreign(store, space)
            config = ImageConfig(architecture="amd64")
            for layer in self.layers:
                config = config.with_layer(layer, History())
                store.put_record(f"key {layer}", "run", {"argv": "true"}, layer)
            self.image = store.put_image(config)
            store.tag(Reference.parse("app"), self.image)

    @property
    def layers(self) -> tuple[DiffID, ...]:
        return self.tree.diff_id, self.raw.diff_id, self.foreign

    def tree_path(self, layer: DiffID) -> str:
        return f"{self.root}/trees/{encoded(layer)}"

    def blob_path(self, digest: Digest | DiffID) -> str:
        return f"{self.root}/blobs/sha256/{encoded(digest)}"

    def sql(self, statement: str, *values: str | bytes | int) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"{self.root}/store.db", isolation_level=None)) as database:
            return database.execute(statement, values).fetchall()

    def every_form(self) -> dict[DiffID, Descriptor]:
        """Make a tree and a gzip blob of each layer; the blobs."""
        with open_store(self.root) as store:
            for layer in self.layers:
                store.tree(layer)
            return {layer: store.blob(layer, GZIP) for layer in self.layers}

    def check(self, *, repair: bool = False) -> Checked:
        with open_store(self.root) as store:
            return check_store(store.parts, repair=repair, jobs=2)

    def mended(self) -> Checked:
        """What a repair says; nothing is wrong after it, and every layer is what it was."""
        assert not self.check().sound
        result = self.check(repair=True)
        assert result.sound, result
        assert self.check() == replace(self.check(), faults=())
        return result


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "store")


def packed_tree(path: str, content: str) -> LayerSum:
    os.makedirs(f"{path}/directory")
    Path(path, "directory/file").write_text(content * 1000)
    return pack_tree(path, None, mtime=1000, settle=True)


def packed_raw(space: str, content: str) -> LayerSum:
    packed_tree(f"{space}/for raw", content)
    with open(f"{space}/raw", "wb") as file:
        return pack_tree(f"{space}/for raw", file.fileno())


def add_foreign(store: Store, space: str) -> DiffID:
    """A layer whose tar this program would have written otherwise, compressed elsewhere."""
    import gzip

    tar = tars.file(b"zz", b"last" * 500) + tars.file(b"aa", b"first") + tars.END
    data = gzip.compress(tar, 9, mtime=7)
    Path(space, "foreign").write_bytes(data)
    layer = LayerSum(DiffID(sha256(tar)), len(tar), 2)
    blob = Descriptor(media_type=f"{MEDIA_TYPE_LAYER}+gzip", digest=sha256(data), size=len(data))
    store.add_blob(layer, blob, f"{space}/foreign")
    return layer.diff_id


def overwrite(path: str, data: bytes, at: int = 0) -> None:
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


def kinds(checked: Checked) -> list[tuple[str, str]]:
    return [(fault.kind, fault.done) for fault in checked.faults]


def test_a_sound_store_is_sound(shop: Shop) -> None:
    checked = shop.check()
    assert (checked.faults, checked.notes, checked.sound) == ((), (), True)
    assert (checked.layers, checked.trees, checked.blobs) == (3, 1, 2)
    assert (checked.images, checked.records) == (1, 3)
    shop.every_form()
    checked = shop.check()
    assert (checked.faults, checked.trees, checked.blobs) == ((), 3, 4)
    assert shop.check(repair=True).faults == ()


# ---- blobs and trees


DAMAGES: dict[str, Callable[[str], None]] = {
    "changed": lambda path: overwrite(path, b"\0\xff\0\xff", 12),
    "cut": lambda path: os.truncate(path, 100),
    "longer": lambda path: overwrite(path, b"more", os.stat(path).st_size),
    "missing": os.unlink,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("which", ["tree", "raw"])
def test_a_broken_blob_of_ours_is_made_again(shop: Shop, which: str, damage: str) -> None:
    layer = getattr(shop, which).diff_id
    path = shop.blob_path(shop.every_form()[layer].digest)
    before = Path(path).read_bytes()
    DAMAGES[damage](path)
    assert kinds(shop.mended()) == [("blob", "made again")]
    assert Path(path).read_bytes() == before


def test_a_broken_raw_blob_is_made_again_from_the_tree(shop: Shop) -> None:
    shop.every_form()
    layer = shop.raw.diff_id
    overwrite(shop.blob_path(layer), b"other")
    for digest, *_ in shop.sql("SELECT digest FROM blobs WHERE digest != diff_id"):
        os.truncate(shop.blob_path(Digest(digest)), 5)
    # The foreign layer's only sound form is gone with its blob.
    result = shop.check(repair=True)
    assert ("blob", "made again") in kinds(result)
    with open_store(shop.root) as store:
        assert pack_tree(store.tree(layer), None).diff_id == layer
    assert sha256(Path(shop.blob_path(layer)).read_bytes()) == Digest(layer)


def change_file(tree: str) -> None:
    name = "aa" if os.path.exists(f"{tree}/aa") else "directory/file"
    path = f"{tree}/{name}"
    overwrite(path, b"X")


def remove_file(tree: str) -> None:
    name = "aa" if os.path.exists(f"{tree}/aa") else "directory/file"
    os.unlink(f"{tree}/{name}")


def change_mode(tree: str) -> None:
    name = "aa" if os.path.exists(f"{tree}/aa") else "directory/file"
    os.chmod(f"{tree}/{name}", 0o4755)


@pytest.mark.parametrize("damage", [change_file, remove_file, change_mode])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_broken_tree_is_made_again(shop: Shop, which: int, damage: Callable[[str], None]) -> None:
    shop.every_form()
    layer = shop.layers[which]
    with open_store(shop.root) as store:
        before = pack_tree(store.tree(layer), None)
    damage(shop.tree_path(layer))
    assert kinds(shop.mended()) == [("tree", "made again")]
    with open_store(shop.root) as store:
        assert pack_tree(store.tree(layer), None) == before


def test_a_layer_without_a_sound_form_is_forgotten_but_its_image_is_kept(shop: Shop) -> None:
    change_file(shop.tree_path(shop.tree.diff_id))
    result = shop.check(repair=True)
    assert kinds(result) == [
        ("tree", "removed"),
        ("layer", "forgotten: they will run again"),
        ("image", "kept: build, pull or load it again, or remove it"),
    ]
    assert not result.sound
    assert shop.image in result.faults[-1].subject
    assert "app" in result.faults[-1].subject
    with open_store(shop.root) as store:
        assert store.record(f"key {shop.tree.diff_id}") is None
        assert store.record(f"key {shop.raw.diff_id}") is not None
        # What gives the layer again mends the image.
        with store.workspace() as space:
            assert packed_tree(f"{space}/tree", "tree") == shop.tree
            store.add_tree(shop.tree, f"{space}/tree")
    assert shop.check().faults == ()


def test_an_image_that_lost_a_layer_can_be_removed(shop: Shop) -> None:
    os.unlink(shop.blob_path(shop.raw.diff_id))
    shop.check(repair=True)
    with open_store(shop.root) as store:
        store.remove_image("app")
    assert shop.check().faults == ()


def test_what_another_process_uses_is_not_mended(shop: Shop) -> None:
    shop.every_form()
    with open_store(shop.root) as other:
        other.tree(shop.tree.diff_id)
        change_file(shop.tree_path(shop.tree.diff_id))
        result = shop.check(repair=True)
        assert kinds(result) == [("tree", "it is in use by another process")]
        assert not result.sound
        assert os.path.exists(shop.tree_path(shop.tree.diff_id))
    assert kinds(shop.mended()) == [("tree", "made again")]


def test_a_lossy_tree_is_said_not_to_be_verified(shop: Shop) -> None:
    shop.every_form()
    shop.sql("UPDATE layers SET tree_lossy = 1 WHERE diff_id = ?", shop.raw.diff_id)
    remove_file(shop.tree_path(shop.raw.diff_id))
    checked = shop.check()
    assert checked.sound
    assert checked.notes == (
        f"tree {shop.raw.diff_id} lacks what could not be made here: not verified",
    )


def test_a_check_learns_which_trees_give_their_layer(shop: Shop) -> None:
    shop.every_form()
    shop.check()
    exact: dict[DiffID, int] = dict(shop.sql("SELECT diff_id, tree_exact FROM layers"))
    assert exact == {shop.tree.diff_id: 1, shop.raw.diff_id: 1, shop.foreign: 0}


def test_a_tree_without_a_row_is_taken_in_again_or_removed(shop: Shop) -> None:
    shop.sql("DELETE FROM layers")
    assert shop.check().sound  # It gives its own name, and the image has it.
    assert [row[0] for row in shop.sql("SELECT diff_id FROM layers")] == [shop.tree.diff_id]
    change_file(shop.tree_path(shop.tree.diff_id))
    shop.sql("DELETE FROM layers")
    assert not shop.check(repair=True).sound


# ---- files


@pytest.mark.parametrize("place", ["blobs/sha256", "trees"])
@pytest.mark.parametrize("name", ["f" * 64, "stranger", "F" * 64])
def test_files_that_nobody_knows_are_found_and_removed(shop: Shop, place: str, name: str) -> None:
    path = Path(shop.root, place, name)
    path.mkdir() if place == "trees" else path.write_text("x")
    found = shop.mended()
    assert [(fault.kind, fault.done) for fault in found.faults][-1][1] == "removed"
    assert not path.exists()


def test_a_blob_that_is_just_being_put_is_left_alone(shop: Shop) -> None:
    with open_store(shop.root) as other:
        digest = other.put_blob(b"something")
        shop.sql("DELETE FROM blobs WHERE digest = ?", digest)
        assert shop.check(repair=True).faults == ()
    assert kinds(shop.mended()) == [("file", "removed")]


def test_a_broken_blob_of_no_layer_is_removed(shop: Shop) -> None:
    with open_store(shop.root) as store:
        digest = store.put_blob(b"something")
    overwrite(shop.blob_path(digest), b"S")
    assert kinds(shop.mended()) == [("blob", "removed")]


def test_work_of_others_is_left_alone(shop: Shop) -> None:
    with open_store(shop.root) as other, other.workspace() as space:
        Path(space, "file").write_text("x")
        assert shop.check(repair=True).faults == ()
        assert os.path.exists(f"{space}/file")


@pytest.mark.root
def test_work_that_cannot_be_swept_is_said(shop: Shop) -> None:
    """A mount that somebody left: nothing is removed beyond it."""
    work = f"{shop.root}/work/1-left"
    os.mkdir(work)
    os.utime(work, (1000, 1000))
    subprocess.run(["mount", "-t", "tmpfs", "none", work], check=True)
    try:
        os.utime(work, (1000, 1000))
        result = shop.check(repair=True)
        assert [(fault.kind, fault.subject) for fault in result.faults] == [
            ("workspace", "work/1-left")
        ]
        assert "mounted" in result.faults[0].done
        assert not result.sound
    finally:
        subprocess.run(["umount", work], check=True)
    assert shop.check().faults == ()


# ---- references


def test_a_changed_config_is_found(shop: Shop) -> None:
    with open_store(shop.root) as store:
        document = store.image("app").document
    shop.sql("UPDATE images SET config = ?", document.replace(b"amd64", b"arm64"))
    result = shop.mended()
    assert kinds(result) == [("image", "removed")]
    assert "library/app:latest" in result.faults[0].subject
    with open_store(shop.root) as store:
        assert store.images() == []


def test_a_config_that_is_none_is_found(shop: Shop) -> None:
    shop.sql("UPDATE images SET config = ?", b"{")
    assert kinds(shop.mended()) == [("image", "removed")]


def test_an_images_layers_are_listed_again(shop: Shop) -> None:
    shop.sql("DELETE FROM image_layers WHERE position = 1")
    assert kinds(shop.mended()) == [("image", "listed again")]


def test_names_of_no_image_are_removed(shop: Shop) -> None:
    shop.sql("INSERT INTO names VALUES ('docker.io/library/other:latest', 'sha256:none')")
    shop.sql("INSERT INTO names VALUES ('NO NAME', ?)", shop.image)
    assert sorted(kinds(shop.mended())) == [("image", "removed"), ("name", "removed")]


def test_a_record_that_cannot_be_read_is_removed(shop: Shop) -> None:
    shop.sql("UPDATE records SET components = '[' WHERE key = ?", f"key {shop.foreign}")
    assert kinds(shop.mended()) == [("record", "removed")]


def test_records_of_layers_that_never_were_are_forgotten(shop: Shop) -> None:
    shop.sql("UPDATE records SET diff_id = ? WHERE key = ?", sha256(b"none"), f"key {shop.foreign}")
    assert kinds(shop.mended()) == [("layer", "forgotten: they will run again")]


def test_leases_of_no_container_are_removed(shop: Shop) -> None:
    with open_store(shop.root) as store:
        store.lease(CONTAINER, shop.layers)
        store.lease("something else", shop.layers)
    assert kinds(shop.mended()) == [("lease", "removed")]
    with open_store(shop.root) as store:
        store.lease(CONTAINER, shop.layers)
    os.makedirs(f"{shop.root}/containers/{CONTAINER}")
    assert shop.check().faults == ()


def test_a_container_that_lost_a_layer_is_said(shop: Shop) -> None:
    with open_store(shop.root) as store:
        store.lease(CONTAINER, [shop.raw.diff_id])
    os.makedirs(f"{shop.root}/containers/{CONTAINER}")
    os.unlink(shop.blob_path(shop.raw.diff_id))
    assert ("lease", "kept: remove the container") in kinds(shop.check(repair=True))


# ---- the database


def zero_page(path: str, number: int) -> None:
    overwrite(path, bytes(4096), 4096 * number)


def test_a_sound_database_is_sound(shop: Shop, tmp_path: Path) -> None:
    assert check_database(shop.root, repair=True) == []
    assert check_database(str(tmp_path / "none"), repair=False) == []


def test_a_damaged_database_is_replaced_by_what_can_be_read(shop: Shop) -> None:
    shop.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    root_page = int(shop.sql("SELECT rootpage FROM sqlite_schema WHERE name = 'memos'")[0][0])
    zero_page(f"{shop.root}/store.db", root_page - 1)
    (fault,) = check_database(shop.root, repair=False)
    assert (fault.kind, fault.mended) == ("database", False)
    with open_store(shop.root):
        (fault,) = check_database(shop.root, repair=True)
        assert (fault.mended, fault.done) == (False, "the store is in use by another process")
    (fault,) = check_database(shop.root, repair=True)
    assert fault.mended, fault
    assert check_database(shop.root, repair=False) == []
    assert shop.check().faults == ()
    with open_store(shop.root) as store:
        assert store.image("app").id == shop.image
        assert store.record(f"key {shop.foreign}") is not None
    assert os.path.exists(f"{shop.root}/store.db.damaged")


def test_a_database_that_is_none_is_replaced(shop: Shop) -> None:
    shop.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    Path(shop.root, "store.db").write_bytes(b"garbage" * 1000)
    (fault,) = check_database(shop.root, repair=True)
    assert (fault.mended, fault.done.split()[0]) == (True, "0")
    assert shop.check(repair=True).sound
    with open_store(shop.root) as store:
        assert store.images() == []


def test_any_page_of_the_database_may_be_lost(shop: Shop) -> None:
    shop.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database = Path(shop.root, "store.db")
    sound = database.read_bytes()
    for page in range(len(sound) // 4096):
        database.write_bytes(sound)
        zero_page(str(database), page)
        check_database(shop.root, repair=True)
        assert check_database(shop.root, repair=False) == []
        shop.check(repair=True)
        for fault in shop.check().faults:
            assert fault.kind == "image", fault


def test_others_may_use_the_store_meanwhile(shop: Shop) -> None:
    shop.every_form()
    stop = threading.Event()
    errors: list[BaseException] = []

    def use() -> None:
        try:
            while not stop.is_set():
                with open_store(shop.root) as store, store.workspace() as space:
                    layer = packed_tree(f"{space}/tree", "another")
                    store.add_tree(layer, f"{space}/tree")
                    store.blob(layer.diff_id, GZIP)
                with open_store(shop.root) as store:
                    store.collect()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    try:
        found = [shop.check(repair=True).faults for _ in range(20)]
    finally:
        stop.set()
        thread.join()
    assert errors == []
    assert found == [()] * 20
