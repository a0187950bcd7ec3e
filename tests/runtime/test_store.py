"""The store's promises, on a real one."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from runtime.image.digest import DiffID, Digest, sha256
from runtime.image.errors import (
    BlobCorrupt,
    BlobMissing,
    ImageNotFound,
    ImageReferenced,
    InvalidReference,
    StoreError,
)
from runtime.image.layer.decompression import open_decompressed
from runtime.image.layer.pack import pack_tree
from runtime.image.layer.recipe import GZIP, UNCOMPRESSED, ZSTD, Compression, Recipe
from runtime.image.layer.writer import LayerSum
from runtime.image.manifest import Descriptor
from runtime.image.model import History, ImageConfig
from runtime.image.reference import Reference
from runtime.image.store.database import Database
from runtime.image.store.locks import LockFile
from runtime.image.store.paths import LOCK_CREATION, Paths, use_lock
from runtime.image.store.store import Store, open_store

NOWHERE = DiffID(sha256(b"no such layer"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "store")) as store:
        yield store


def make_tree(path: str, content: str) -> LayerSum:
    os.makedirs(f"{path}/directory")
    with open(f"{path}/directory/file", "w") as file:
        file.write(content)
    os.symlink("directory/file", f"{path}/link")
    return pack_tree(path, None, mtime=1000, settle=True)


def add_tree(store: Store, content: str = "content") -> DiffID:
    with store.workspace() as space:
        layer = make_tree(f"{space}/tree", content)
        store.add_tree(layer, f"{space}/tree")
    return layer.diff_id


def add_raw(store: Store, content: str = "content") -> DiffID:
    with store.workspace() as space:
        make_tree(f"{space}/tree", content)
        with open(f"{space}/raw", "wb") as file:
            layer = pack_tree(f"{space}/tree", file.fileno())
        store.add_raw(layer, f"{space}/raw")
    return layer.diff_id


def put_image(store: Store, *layers: DiffID, name: str = "", created_by: str = "") -> Digest:
    config = ImageConfig(architecture="amd64")
    for layer in layers:
        config = config.with_layer(layer, History(created_by=created_by))
    image_id = store.put_image(config)
    if name:
        store.tag(Reference.parse(name), image_id)
    return image_id


def litter(store: Store) -> list[str]:
    return os.listdir(f"{store.root}/work")


def database(store: Store) -> Database:
    paths = Paths(store.root)
    return Database(paths.database, paths.lock, LOCK_CREATION)


# Layers


def test_a_layer_that_is_not_there_is_not_there(store: Store) -> None:
    assert not store.has_layer(NOWHERE)
    for ask in (store.tree, store.form):
        with pytest.raises(BlobMissing):
            ask(NOWHERE)
    with pytest.raises(BlobMissing):
        store.blob(NOWHERE, GZIP)


def test_a_tree_is_moved_in_as_it_is(store: Store) -> None:
    with store.workspace() as space:
        layer = make_tree(f"{space}/tree", "x")
        inode = os.stat(f"{space}/tree/directory/file").st_ino
        store.add_tree(layer, f"{space}/tree")
        assert os.listdir(space) == []
    assert store.has_layer(layer.diff_id)
    assert os.stat(f"{store.tree(layer.diff_id)}/directory/file").st_ino == inode


def test_the_second_of_two_equal_trees_is_dropped(store: Store) -> None:
    first = add_tree(store)
    inode = os.stat(store.tree(first)).st_ino
    with store.workspace() as space:
        layer = make_tree(f"{space}/tree", "content")
        store.add_tree(layer, f"{space}/tree")
        assert os.listdir(space) == []
    assert layer.diff_id == first
    assert os.stat(store.tree(first)).st_ino == inode


def test_the_tree_of_an_empty_layer_is_not_replaced(store: Store) -> None:
    inodes = set()
    for _ in range(2):
        with store.workspace() as space:
            os.mkdir(f"{space}/tree")
            layer = pack_tree(f"{space}/tree", None)
            store.add_tree(layer, f"{space}/tree")
        inodes.add(os.stat(store.tree(layer.diff_id)).st_ino)
    assert len(inodes) == 1


def test_a_tree_is_made_from_a_raw_blob(store: Store) -> None:
    diff_id = add_raw(store)
    tree = store.tree(diff_id)
    with open(f"{tree}/directory/file") as file:
        assert file.read() == "content"
    assert os.stat(tree).st_mode & 0o7777 == 0o755
    assert pack_tree(tree, None).diff_id == diff_id


@pytest.mark.parametrize("recipe", [GZIP, ZSTD, UNCOMPRESSED])
def test_a_blob_is_made_from_a_tree(store: Store, recipe: Recipe) -> None:
    diff_id = add_tree(store)
    blob = store.blob(diff_id, recipe)
    with open(store.blob_path(blob.digest), "rb") as file:
        data = file.read()
    assert (sha256(data), len(data)) == (blob.digest, blob.size)
    plain = b"".join(open_decompressed(store.blob_path(blob.digest)))
    assert DiffID(sha256(plain)) == diff_id
    assert os.stat(store.blob_path(blob.digest)).st_mode & 0o777 == 0o444


def test_every_form_can_be_made_from_a_compressed_blob(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "store")) as store:
        diff_id = add_tree(store)
        store.blob(diff_id, ZSTD)
        os.rename(store.tree(diff_id), tmp_path / "away")
    with open_store(str(tmp_path / "store")) as store:
        assert store.has_layer(diff_id)
        assert store.blob(diff_id, UNCOMPRESSED).digest == Digest(diff_id)
        assert store.blob(diff_id, GZIP).media_type.endswith("+gzip")
        assert pack_tree(store.tree(diff_id), None).diff_id == diff_id


def test_a_blob_is_made_once(store: Store) -> None:
    diff_id = add_raw(store)
    first = store.blob(diff_id, GZIP)
    inode = os.stat(store.blob_path(first.digest)).st_ino
    assert store.blob(diff_id, GZIP) == first
    assert os.stat(store.blob_path(first.digest)).st_ino == inode


def test_which_blob_will_do(store: Store, tmp_path: Path) -> None:
    """Any of the kind; a particular one if that is asked for; what came, unless forced."""
    diff_id = add_tree(store)
    usual = store.blob(diff_id, GZIP)
    best = store.blob(diff_id, Recipe(Compression.GZIP, "best"))
    assert best.digest != usual.digest
    assert store.blob(diff_id, Recipe(Compression.GZIP, "best")) == best
    assert store.blob(diff_id, GZIP) == usual
    assert store.blob(diff_id, ZSTD).media_type.endswith("+zstd")
    with open_store(str(tmp_path / "other")) as other:
        plain = b"".join(open_decompressed(store.blob_path(usual.digest)))
        came = tmp_path / "came"
        came.write_bytes(gzip.compress(plain, mtime=1))
        blob = Descriptor(
            media_type=usual.media_type,
            digest=sha256(came.read_bytes()),
            size=came.stat().st_size,
        )
        other.add_blob(LayerSum(diff_id, len(plain), 1), blob, str(came))
        for recipe in (GZIP, Recipe(Compression.GZIP, 9), Recipe(Compression.GZIP, None, True)):
            assert other.blob(diff_id, recipe) == blob
        forced = other.blob(diff_id, Recipe(Compression.GZIP, "best", force=True))
        assert forced == best
        assert other.blob(diff_id, Recipe(Compression.GZIP, force=True)) == usual
        assert len(other.layer_blobs(diff_id)) == 3


def test_a_raw_blob_whose_first_name_looks_like_a_compressed_file(store: Store) -> None:
    with store.workspace() as space:
        os.mkdir(f"{space}/tree")
        with open(f"{space}/tree/BZh91AY&SY", "w"):
            pass
        with open(f"{space}/raw", "wb") as file:
            layer = pack_tree(f"{space}/tree", file.fileno(), mtime=0)
        store.add_raw(layer, f"{space}/raw")
    assert os.listdir(store.tree(layer.diff_id)) == ["BZh91AY&SY"]
    assert store.blob(layer.diff_id, GZIP).size > 0


def test_a_raw_blob_that_is_not_what_its_name_says_is_found_out(store: Store) -> None:
    diff_id = add_raw(store)
    other = add_raw(store, "somethin")
    os.chmod(store.blob_path(Digest(diff_id)), 0o600)
    with open(store.blob_path(Digest(other)), "rb") as file:
        data = file.read()
    with open(store.blob_path(Digest(diff_id)), "r+b") as file:
        file.write(data)
    for ask in (store.tree, lambda diff_id: store.blob(diff_id, GZIP)):
        with pytest.raises(BlobCorrupt):
            ask(diff_id)
    assert diff_id not in {f"sha256:{name}" for name in os.listdir(f"{store.root}/trees")}


def test_a_tree_that_was_changed_makes_no_blob(store: Store) -> None:
    diff_id = add_tree(store)
    with open(f"{store.tree(diff_id)}/directory/file", "w") as file:
        file.write("CONTENT")
    with pytest.raises(BlobCorrupt):
        store.blob(diff_id, GZIP)


def test_a_damaged_compressed_blob_is_passed_over(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "store")) as store:
        diff_id = add_tree(store)
        blobs = [store.blob(diff_id, kind) for kind in (GZIP, ZSTD)]
        os.rename(store.tree(diff_id), tmp_path / "away")
    damaged = min(blob.digest for blob in blobs)
    with open_store(str(tmp_path / "store")) as store:
        path = store.blob_path(damaged)
        size = os.stat(path).st_size
        os.chmod(path, 0o600)
        with open(path, "r+b") as file:
            file.seek(size // 2)
            file.write(os.urandom(size // 2 - 8))
        assert pack_tree(store.tree(diff_id), None).diff_id == diff_id


def test_a_cut_off_blob_is_not_there(store: Store) -> None:
    diff_id = add_raw(store)
    os.chmod(store.blob_path(Digest(diff_id)), 0o600)
    os.truncate(store.blob_path(Digest(diff_id)), 512)
    assert not store.has_layer(diff_id)
    assert add_raw(store) == diff_id
    assert store.has_layer(diff_id)


def test_a_view_looks_into_trees_and_raw_blobs(store: Store) -> None:
    view = store.view([add_tree(store, "a"), add_raw(store, "b")])
    assert view.read(b"link", 100) == b"b"


# After a power failure


def pretend_to_have_booted(store: Store) -> None:
    rows = database(store)
    rows.execute("UPDATE layers SET tree_boot = 'another' WHERE tree_boot IS NOT NULL")
    rows.close()


def test_a_sound_tree_of_an_earlier_boot_is_kept(tmp_path: Path) -> None:
    with open_store(str(tmp_path)) as store:
        diff_id = add_tree(store)
        inode = os.stat(store.tree(diff_id)).st_ino
        pretend_to_have_booted(store)
    with open_store(str(tmp_path)) as store:
        assert store.has_layer(diff_id)
        assert os.stat(store.tree(diff_id)).st_ino == inode


@pytest.mark.parametrize("damage", ["short", "missing", "no row"])
def test_a_damaged_tree_of_an_earlier_boot_is_not_used(tmp_path: Path, damage: str) -> None:
    with open_store(str(tmp_path)) as store:
        diff_id = add_tree(store, "x" * 2000)
        file = f"{store.tree(diff_id)}/directory/file"
        pretend_to_have_booted(store)
    if damage == "short":
        os.truncate(file, 0)
    elif damage == "missing":
        os.unlink(file)
    else:
        rows = database(store)
        rows.execute("DELETE FROM layers")
        rows.close()
    with open_store(str(tmp_path)) as store:
        assert not store.has_layer(diff_id)
        assert add_tree(store, "x" * 2000) == diff_id
        assert os.stat(f"{store.tree(diff_id)}/directory/file").st_size == 2000


# Blobs


def test_a_blob_is_read_as_it_was_put(store: Store) -> None:
    digest = store.put_blob(b"some bytes")
    assert store.read_blob(digest, 10) == b"some bytes"
    with pytest.raises(StoreError):
        store.read_blob(digest, 9)
    with pytest.raises(BlobMissing):
        store.read_blob(sha256(b"other"), 10)
    os.chmod(store.blob_path(digest), 0o600)
    with open(store.blob_path(digest), "wb") as file:
        file.write(b"some Bytes")
    with pytest.raises(BlobCorrupt):
        store.read_blob(digest, 10)
    with pytest.raises(BlobCorrupt):
        store.copy_blob(digest, 10, lambda data: None)


# Images


def test_an_image_is_found_by_name_and_id(store: Store) -> None:
    layer = add_tree(store)
    image_id = put_image(store, layer, name="test.com/app:v1")
    store.tag(Reference.parse("app"), image_id)
    encoded = image_id.removeprefix("sha256:")
    for text in ("app", "library/app:latest", "test.com/app:v1", image_id, encoded, encoded[:3]):
        assert store.image(text).id == image_id
    assert store.image(f"sha256:{encoded[:12]}").id == image_id
    assert store.image(f"test.com/app@{image_id}").id == image_id
    image = store.image("app")
    assert [name.familiar() for name in image.names] == ["app", "test.com/app:v1"]
    assert image.config.diff_ids == (layer,)
    assert sha256(image.document) == image_id
    assert store.images() == [image]


def test_an_image_that_is_not_there_is_not_found(store: Store) -> None:
    image_id = put_image(store, add_tree(store), name="python:3")
    with pytest.raises(ImageNotFound) as caught:
        store.image("pythn:3")
    assert caught.value.hint == "did you mean python:3?"
    for text in ("python", "a" * 64, f"other@{image_id}", "ffff"):
        with pytest.raises(ImageNotFound):
            store.image(text)
    with pytest.raises(InvalidReference):
        store.image("Not A Name")


def test_an_ambiguous_id_is_not_found(store: Store) -> None:
    layer = add_tree(store)
    ids = [put_image(store, layer, created_by=str(number)) for number in range(17)]
    first = {image_id.removeprefix("sha256:")[0] for image_id in ids}
    ambiguous = next(
        digit for digit in first if sum(i.startswith(f"sha256:{digit}") for i in ids) > 1
    )
    with pytest.raises(ImageNotFound) as caught:
        store.image(ambiguous)
    assert caught.value.hint == "more than one image ID begins so: give more of it"


def test_a_name_goes_before_an_id(store: Store) -> None:
    first = put_image(store, add_tree(store))
    short = first.removeprefix("sha256:")[:6]
    second = put_image(store, name=short)
    assert store.image(short).id == second


def test_a_config_from_elsewhere_keeps_its_bytes(store: Store) -> None:
    document = b'{ "os": "linux", "rootfs": {"diff_ids": []}, "architecture": "amd64" }\n'
    image_id = store.put_image(document)
    assert image_id == sha256(document)
    assert store.image(image_id).document == document


def test_an_image_needs_its_layers(store: Store) -> None:
    with pytest.raises(StoreError, match="not in the store"):
        put_image(store, NOWHERE)
    assert store.images() == []


def test_a_name_moves_from_one_image_to_another(store: Store) -> None:
    first = put_image(store, name="app", created_by="a")
    second = put_image(store, add_tree(store), name="app")
    assert store.image("app").id == second
    assert store.image(first).names == ()
    assert [image.id for image in store.images()] == [second, first]
    with pytest.raises(ImageNotFound):
        store.tag(Reference.parse("app"), sha256(b"no image"))


def test_the_size_of_an_image_is_that_of_its_layers(store: Store) -> None:
    with store.workspace() as space:
        layer = make_tree(f"{space}/tree", "x")
        store.add_tree(layer, f"{space}/tree")
    image_id = put_image(store, layer.diff_id)
    assert store.image(image_id).size == layer.size


# Removal


def test_an_image_goes_with_its_last_name(store: Store) -> None:
    shared, own = add_tree(store, "shared"), add_raw(store, "own")
    store.tree(own)
    store.blob(own, GZIP)
    put_image(store, shared, name="other")
    image_id = put_image(store, shared, own, name="app")
    store.tag(Reference.parse("app:v1"), image_id)
    removed = store.remove_image("app:v1")
    assert (removed.untagged, removed.images) == ((Reference.parse("app:v1"),), ())
    assert store.image("app").id == image_id
    removed = store.remove_image("app")
    assert removed.untagged == (Reference.parse("app"),)
    assert (removed.images, removed.layers) == ((image_id,), (own,))
    assert removed.bytes > 0
    assert not removed.postponed
    assert not store.has_layer(own)
    assert store.has_layer(shared)
    assert os.listdir(f"{store.root}/blobs/sha256") == []
    assert len(os.listdir(f"{store.root}/trees")) == 1


def test_an_image_with_several_names_is_not_removed_by_its_id(store: Store) -> None:
    image_id = put_image(store, name="one")
    store.tag(Reference.parse("two"), image_id)
    with pytest.raises(ImageReferenced):
        store.remove_image(image_id)
    assert len(store.image(image_id).names) == 2
    removed = store.remove_image(image_id, force=True)
    assert len(removed.untagged) == 2
    assert store.images() == []
    with pytest.raises(ImageNotFound):
        store.remove_image(image_id)


def test_what_a_record_or_a_lease_needs_stays(store: Store) -> None:
    recorded, leased = add_tree(store, "recorded"), add_tree(store, "leased")
    store.put_record("key", "run", {}, recorded)
    store.lease("container", [leased])
    put_image(store, recorded, leased, name="app")
    assert store.remove_image("app").layers == ()
    store.release("container")
    assert store.collect().layers == (leased,)
    assert store.has_layer(recorded)


def test_nothing_is_taken_from_others_who_use_it(store: Store) -> None:
    layer = add_tree(store)
    image_id = put_image(store, layer, name="app")
    with open_store(store.root) as other:
        other.image("app")
        removed = store.remove_image("app")
        assert (removed.images, removed.layers) == ((image_id,), ())
        assert removed.postponed
        assert store.collect().postponed
        assert store.has_layer(layer)
    assert store.collect().layers == (layer,)
    assert not store.has_layer(layer)


def test_a_removal_does_not_lose_its_own_lock(store: Store) -> None:
    layer = add_tree(store)
    put_image(store, layer, name="app")
    with open_store(store.root) as other:
        assert other.has_layer(layer)
        assert store.remove_image("app").postponed
    with open_store(store.root) as other:
        assert other.collect().postponed


def test_what_others_do_not_use_goes_while_they_have_the_store_open(tmp_path: Path) -> None:
    root = str(tmp_path)
    with open_store(root) as store:
        used, unused = add_tree(store, "used"), add_tree(store, "unused")
        stray, held = store.put_blob(b"of nothing"), sha256(b"being made")
    with open_store(root) as one, open_store(root) as other:
        assert one.has_layer(used)
        assert one.put_blob(b"being made") == held
        collected = other.collect()
        assert (collected.layers, collected.postponed) == ((unused,), True)
        assert not os.path.exists(other.blob_path(stray))
        assert one.has_layer(used)
        assert one.read_blob(held, 100) == b"being made"
    with open_store(root) as other:
        assert other.collect().layers == (used,)


def test_what_is_just_being_removed_is_waited_for(tmp_path: Path) -> None:
    with open_store(str(tmp_path)) as store:
        layer = add_tree(store)
    remover = LockFile(Paths(store.root).lock)
    with closing(remover), open_store(str(tmp_path)) as other:
        assert remover.try_take(use_lock(layer))
        found: list[bool] = []
        thread = threading.Thread(target=lambda: found.append(other.has_layer(layer)))
        thread.start()
        os.rename(Paths(store.root).tree(layer), f"{store.root}/work/gone")
        assert found == []
        remover.let_go(use_lock(layer))
        thread.join()
    assert found == [False]


def test_a_collection_leaves_no_stray_blobs(store: Store) -> None:
    digest = store.put_blob(b"of nothing")
    layer = add_raw(store)
    put_image(store, layer, name="app")
    store.collect()
    assert not os.path.exists(store.blob_path(digest))
    assert os.path.exists(store.blob_path(Digest(layer)))


# Records


def test_a_record_is_found_while_its_layer_is_there(store: Store) -> None:
    layer = add_tree(store)
    assert store.record("key") is None
    store.put_record("key", "run", {"argv": "true", "parent": "x"}, layer)
    record = store.record("key")
    assert record is not None
    assert record.components == {"argv": "true", "parent": "x"}
    assert (record.kind, record.diff_id) == ("run", layer)
    store.put_record("key", "run", {}, NOWHERE)
    assert store.record("key") is None


def test_memos_are_remembered_by_kind_and_key(store: Store) -> None:
    assert store.get_memo("stat", "a") is None
    store.put_memo("stat", "a", b"\0\1")
    store.put_memo("stat", "a", b"\2")
    assert store.get_memo("stat", "a") == b"\2"
    assert store.get_memo("other", "a") is None


# The store itself


def test_everything_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "deep/store")) as store:
        layer = add_tree(store)
        put_image(store, layer, name="app")
        store.put_record("key", "run", {}, layer)
    with open_store(str(tmp_path / "deep/store")) as store:
        assert store.image("app").config.diff_ids == (layer,)
        assert store.record("key") is not None
        assert litter(store) == []


def test_a_workspace_is_gone_afterwards(store: Store) -> None:
    with store.workspace() as space:
        Path(space, "file").write_text("x")
        assert len(litter(store)) == 1
    assert litter(store) == []
    with pytest.raises(RuntimeError), store.workspace() as space:
        raise RuntimeError
    assert litter(store) == []


def test_other_users_cannot_reach_into_a_store(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "store")) as store:
        for path in (store.root, f"{store.root}/trees"):
            assert os.stat(path).st_mode & 0o777 == 0o700


def test_a_directory_that_is_no_store_is_not_made_one(tmp_path: Path) -> None:
    (tmp_path / "documents").mkdir()
    with pytest.raises(StoreError, match="not a store"):
        Store(str(tmp_path))
    assert os.listdir(tmp_path) == ["documents"]


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    Store(str(tmp_path)).close()
    (tmp_path / "version").write_text('{"store":2}\n')
    with pytest.raises(StoreError, match="another version"):
        Store(str(tmp_path))


def test_a_database_of_another_version_is_refused(tmp_path: Path) -> None:
    with open_store(str(tmp_path)) as store:
        put_image(store)
    rows = database(store)
    rows.rows("PRAGMA user_version=99")
    rows.close()
    with open_store(str(tmp_path)) as store, pytest.raises(StoreError, match="version 99"):
        store.images()


def test_a_database_that_is_none_is_said_to_be_unusable(tmp_path: Path) -> None:
    Store(str(tmp_path)).close()
    (tmp_path / "store.db").write_bytes(b"garbage" * 1000)
    with open_store(str(tmp_path)) as store, pytest.raises(StoreError, match="cannot be used"):
        store.images()


def test_threads_share_a_store(store: Store) -> None:
    layers: list[DiffID] = []
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(6):
                layer = add_tree(store, f"{number % 2} {turn}")
                store.put_record(f"{number} {turn}", "run", {}, layer)
                assert store.record(f"{number} {turn}") is not None
                store.blob(layer, GZIP)
                layers.append(layer)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(set(layers)) == 12
    assert all(store.has_layer(layer) for layer in layers)
