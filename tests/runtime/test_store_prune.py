"""What goes when room is made, in which order, and what never goes."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from runtime.image.digest import DiffID, Digest, encoded, sha256
from runtime.image.layer.pack import pack_tree
from runtime.image.layer.recipe import GZIP, UNCOMPRESSED, ZSTD
from runtime.image.layer.writer import LayerSum
from runtime.image.manifest import MEDIA_TYPE_LAYER, Descriptor
from runtime.image.model import History, ImageConfig
from runtime.image.reference import Reference
from runtime.image.store.candidates import (
    CachedLayer,
    CacheMount,
    Limit,
    Reason,
    SpareForm,
    Victim,
    by_worth,
    choose,
)
from runtime.image.store.fsck import check_store
from runtime.image.store.measure import Amount
from runtime.image.store.prune import Pruned, PruneRequest, prune
from runtime.image.store.store import Store, open_store
from support import tars

NOW = 1_000_000.0
MEGABYTE = 1_000_000


# ---- the order


def layer(name: str, size: int, seconds: float, age: int, inodes: int = 1) -> CachedLayer:
    return CachedLayer(
        diff_id=DiffID(sha256(name.encode())),
        kinds=(name,),
        amount=Amount(bytes=size, inodes=inodes),
        last_used=int(NOW) - age,
        seconds=seconds,
    )


def ordered(
    *victims: Victim, limit: Limit | None = None, excess: Amount | None = None
) -> list[Victim]:
    limit = limit or Limit(bytes=1, inodes=1)
    return by_worth(victims, now=NOW, limit=limit, excess=excess or Amount(bytes=1, inodes=1))


def test_what_was_used_longest_ago_goes_first() -> None:
    old, middle, new = (layer("x", 1000, 1, age) for age in (5000, 4000, 3000))
    assert ordered(new, old, middle) == [old, middle, new]


def test_what_is_dear_stays_longer() -> None:
    cheap, dear = layer("cheap", 1000, 1, 1000), layer("dear", 1000, 100, 10_000)
    assert ordered(dear, cheap) == [cheap, dear]
    ancient = layer("ancient", 1000, 100, 1_000_000)
    assert ordered(cheap, ancient) == [ancient, cheap]


def test_what_is_large_goes_before_what_is_small() -> None:
    large, small = layer("large", MEGABYTE, 10, 100), layer("small", 1000, 10, 100)
    assert ordered(small, large) == [large, small]


def test_what_a_later_victim_makes_needless_stays() -> None:
    old, large = layer("old", 1000, 1, 10_000), layer("large", MEGABYTE, 1, 100)
    total, limit = Amount(bytes=2 * MEGABYTE, inodes=2), Limit(bytes=MEGABYTE)
    assert choose([old, large], total, limit) == [large]
    assert choose([large, old], total, limit) == [large]
    assert choose([old, large], total, Limit(bytes=MEGABYTE - 1)) == [old, large]
    assert choose([old, large], total, Limit(bytes=0)) == [old, large]
    assert choose([old, large], total, Limit(bytes=5 * MEGABYTE)) == []


def test_a_form_goes_with_its_layer() -> None:
    whole = layer("whole", 3000, 1, 1000)
    form = SpareForm(
        diff_id=whole.diff_id, digest=None, amount=Amount(bytes=2000, inodes=1),
        last_used=0, seconds=0.1,
    )  # fmt: skip
    total = Amount(bytes=4000, inodes=9)
    assert choose([form, whole], total, Limit(bytes=2000)) == [form]
    assert choose([form, whole], total, Limit(bytes=1500)) == [whole]


def test_only_what_is_scarce_counts() -> None:
    many = layer("many", 1000, 1, 100, inodes=10_000)
    large = layer("large", MEGABYTE, 1, 100)
    limit = Limit(bytes=MEGABYTE, inodes=1000)
    assert ordered(many, large, limit=limit, excess=Amount(bytes=1))[0] == large
    assert ordered(many, large, limit=limit, excess=Amount(inodes=1))[0] == many


def test_uses_close_to_one_another_are_one() -> None:
    one, other = layer("one", 1000, 1, 3), layer("other", 1000, 2, 50)
    assert ordered(other, one) == [one, other]


def test_a_time_to_come_is_now() -> None:
    ahead, now = layer("ahead", 1000, 1, -10_000_000), layer("now", 1000, 2, 0)
    assert ordered(now, ahead) == [ahead, now]
    later = layer("later", 1000, 1, 600)
    assert ordered(ahead, later) == [later, ahead]


def test_forms_that_can_be_made_again_come_before_steps() -> None:
    size = 100 * MEGABYTE
    step = layer("step", size, 30, 86400)
    name = DiffID(sha256(b"layer"))
    used = int(NOW) - 3600
    blob = SpareForm(
        diff_id=name, digest=Digest(name), amount=Amount(bytes=size, inodes=1), last_used=used,
        seconds=0.2,
    )  # fmt: skip
    mount = CacheMount(
        name="x", id="x", amount=Amount(bytes=size, inodes=1), last_used=used, seconds=20
    )
    assert ordered(step, mount, blob) == [blob, step, mount]


# ---- what goes


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store that nothing of its own process uses."""
    with open_store(str(tmp_path / "store")) as store:
        yield store


def add_tree(store: Store, name: str, size: int = 10_000) -> DiffID:
    with open_store(store.root) as other, other.workspace() as space:
        os.makedirs(f"{space}/tree")
        Path(space, "tree", name).write_bytes(os.urandom(size))
        layer = pack_tree(f"{space}/tree", None, mtime=1000, settle=True)
        other.add_tree(layer, f"{space}/tree")
    return layer.diff_id


def add_foreign(store: Store) -> DiffID:
    """A layer whose tar this program would have written otherwise."""
    import gzip

    tar = tars.file(b"zz", b"last" * 500) + tars.file(b"aa", b"first") + tars.END
    data = gzip.compress(tar, 9, mtime=7)
    with open_store(store.root) as other, other.workspace() as space:
        Path(space, "foreign").write_bytes(data)
        layer = LayerSum(DiffID(sha256(tar)), len(tar), 2)
        blob = Descriptor(
            media_type=f"{MEDIA_TYPE_LAYER}+gzip", digest=sha256(data), size=len(data)
        )
        other.add_blob(layer, blob, f"{space}/foreign")
    return layer.diff_id


def put_image(store: Store, *layers: DiffID, name: str = "") -> Digest:
    config = ImageConfig(architecture="amd64")
    for diff_id in layers:
        config = config.with_layer(diff_id, History())
    with open_store(store.root) as other:
        image_id = other.put_image(config)
        if name:
            other.tag(Reference.parse(name), image_id)
    return image_id


def put_record(
    store: Store, key: str, diff_id: DiffID, *, age: int = 0, seconds: float = 1
) -> None:
    with open_store(store.root) as other:
        other.put_record(key, "run", {}, diff_id, seconds)
    sql(store, f"UPDATE records SET last_used = last_used - {age} WHERE key = ?", key)


def sql(store: Store, statement: str, *values: str | int) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"{store.root}/store.db", isolation_level=None)) as database:
        return database.execute(statement, values).fetchall()


def layers_of(store: Store) -> set[str]:
    trees = os.listdir(f"{store.root}/trees")
    return {f"sha256:{name}" for name in trees + os.listdir(f"{store.root}/blobs/sha256")}


def pruned(store: Store, **request: Any) -> Pruned:
    """Prune; the store is sound afterwards."""
    result = prune(store.parts, PruneRequest(**request))
    with open_store(store.root) as other:
        assert check_store(other.parts, repair=False, jobs=1).faults == ()
    return result


def reasons(result: Pruned) -> set[tuple[str, Reason, int]]:
    return {(kept.kind, kept.reason, kept.count) for kept in result.kept}


def test_what_nothing_needs_goes_and_what_has_a_name_stays(store: Store) -> None:
    named, cached, nothing = (add_tree(store, name) for name in ("named", "cached", "nothing"))
    unnamed = add_tree(store, "unnamed")
    image = put_image(store, named, name="app")
    without = put_image(store, named, unnamed)
    put_record(store, "named", named)
    put_record(store, "cached", cached)
    with open_store(store.root) as other:
        stray = other.put_blob(b"stray")
    result = pruned(store)
    assert layers_of(store) == {named}
    assert [i.id for i in store.images()] == [image]
    assert {removal.subject.split(" (")[0] for removal in result.removed} == {
        f"layer {encoded(nothing)[:12]}",
        f"blob {encoded(stray)[:12]}",
        f"image {encoded(without)[:12]}",
        f"layer {encoded(cached)[:12]}",
    }
    assert reasons(result) == {("image", Reason.NAMED, 1)}
    assert result.amount.bytes > 30_000
    assert sql(store, "SELECT key FROM records") == [("named",)]


def test_everything_leaves_what_containers_have(store: Store) -> None:
    used, leased, other = (add_tree(store, name) for name in ("used", "leased", "other"))
    image = put_image(store, used, name="used")
    put_image(store, other, name="other")
    store.put_memo("stat", "key", b"value")
    store.lease("container", [leased])
    result = pruned(store, everything=True, images_in_use=lambda: [image])
    assert layers_of(store) == {used, leased}
    assert [i.id for i in store.images()] == [image]
    assert reasons(result) == {("image", Reason.CONTAINER, 1)}
    assert sql(store, "SELECT * FROM memos") == []


def test_what_another_process_uses_stays(store: Store) -> None:
    cached, unnamed, free = (add_tree(store, name) for name in ("cached", "unnamed", "free"))
    put_record(store, "cached", cached)
    put_record(store, "free", free)
    image = put_image(store, unnamed)
    with open_store(store.root) as other:
        assert other.record("cached") is not None
        assert other.image(image).names == ()
        result = pruned(store, everything=True)
        assert other.has_layer(cached)
        assert other.tree(unnamed)
    assert reasons(result) == {("image", Reason.IN_USE, 1), ("cached layer", Reason.IN_USE, 1)}
    assert layers_of(store) == {cached, unnamed}
    pruned(store, everything=True)
    assert layers_of(store) == set()


def test_what_was_used_since_stays(store: Store) -> None:
    old, new, image_layer = (add_tree(store, name) for name in ("old", "new", "image"))
    put_record(store, "old", old, age=7200)
    put_record(store, "new", new, age=1000)
    image = put_image(store, image_layer)
    result = pruned(store, unused_seconds=3600)
    assert layers_of(store) == {new, image_layer}
    assert reasons(result) == {("image", Reason.RECENT, 1), ("cached layer", Reason.RECENT, 1)}
    sql(store, "UPDATE images SET last_used = last_used - 7200")
    assert pruned(store, unused_seconds=3600).removed[0].subject == f"image {encoded(image)[:12]}"


def test_a_clock_that_was_ahead_keeps_nothing_for_ever(store: Store) -> None:
    ahead = add_tree(store, "ahead")
    put_record(store, "ahead", ahead, age=-10_000_000)
    with open_store(store.root) as other:
        assert other.record("ahead") is not None
    ((last_used,),) = sql(store, "SELECT last_used FROM records")
    assert last_used <= time.time()


def test_the_least_valuable_goes_until_there_is_room_enough(store: Store) -> None:
    ages = {name: age for age, name in enumerate("abcdef", 1)}
    layers = {name: add_tree(store, name, 100_000) for name in ages}
    for name, age in ages.items():
        put_record(store, name, layers[name], age=age * 1000)
    total = sum(kept.amount.bytes for kept in pruned(store, limit=Limit(bytes=1 << 40)).kept)
    assert layers_of(store) == set(layers.values())
    database = os.stat(f"{store.root}/store.db").st_size
    result = pruned(store, limit=Limit(bytes=total // 2 + 2 * database))
    assert result.left.bytes <= total // 2 + 2 * database
    kept = {name for name in layers if layers[name] in layers_of(store)}
    assert kept
    assert kept == set(list("abcdef")[: len(kept)])
    assert reasons(result) == {("cached layer", Reason.ENOUGH, len(kept))}


def test_inodes_are_limited_too(store: Store) -> None:
    with open_store(store.root) as other, other.workspace() as space:
        os.makedirs(f"{space}/tree")
        for number in range(200):
            Path(space, f"tree/{number}").touch()
        many = pack_tree(f"{space}/tree", None, mtime=0, settle=True)
        other.add_tree(many, f"{space}/tree")
    few = add_tree(store, "few")
    put_record(store, "many", many.diff_id)
    put_record(store, "few", few, age=10_000)
    result = pruned(store, limit=Limit(inodes=100))
    assert layers_of(store) == {few}
    assert result.left.inodes < 100


def make_every_form(store: Store, *layers: DiffID) -> None:
    with open_store(store.root) as other:
        for diff_id in layers:
            other.tree(diff_id)
            for recipe in (GZIP, ZSTD, UNCOMPRESSED):
                other.blob(diff_id, recipe)


def forms(store: Store, diff_id: DiffID) -> tuple[bool, frozenset[str]]:
    blobs = sql(store, "SELECT digest, media_type FROM blobs WHERE diff_id = ?", diff_id)
    for digest, _ in blobs:
        assert os.path.exists(store.blob_path(digest))
    tree = os.path.exists(f"{store.root}/trees/{encoded(diff_id)}")
    return tree, frozenset(kind.rpartition("tar")[2] for _, kind in blobs)


def test_forms_that_can_be_made_again_go_but_for_one(store: Store) -> None:
    own, foreign = add_tree(store, "own"), add_foreign(store)
    image = put_image(store, own, foreign, name="app")
    make_every_form(store, own, foreign)
    result = pruned(store, limit=Limit(bytes=0))
    assert reasons(result) == {("image", Reason.NAMED, 1)}
    (tree, blobs), foreign_forms = forms(store, own), forms(store, foreign)
    # One form of our own layer is left; of the foreign one, what has its own bytes.
    assert int(tree) + len(blobs) == 1
    assert not foreign_forms[0]
    assert foreign_forms[1]
    for diff_id in store.image(image).config.diff_ids:
        assert store.blob(diff_id, UNCOMPRESSED).digest == Digest(diff_id)
        assert store.tree(diff_id)


def test_a_container_keeps_its_trees(store: Store) -> None:
    own = add_tree(store, "own")
    make_every_form(store, own)
    store.lease("container", [own])
    store.release("nobody")
    pruned(store, limit=Limit(bytes=0), everything=True)
    assert forms(store, own) == (True, frozenset())


def test_a_tree_whose_blobs_are_damaged_stays(store: Store) -> None:
    foreign = add_foreign(store)
    put_image(store, foreign, name="app")
    with open_store(store.root) as other:
        other.tree(foreign)
    ((digest,),) = sql(store, "SELECT digest FROM blobs")
    os.chmod(store.blob_path(digest), 0o600)
    with open(store.blob_path(digest), "r+b") as file:
        file.write(b"damaged")
    prune(store.parts, PruneRequest(limit=Limit(bytes=0)))
    assert forms(store, foreign)[0]


def test_a_limit_that_cannot_be_kept_is_no_error(store: Store) -> None:
    named = add_tree(store, "named")
    put_image(store, named, name="app")
    result = pruned(store, limit=Limit(bytes=0, inodes=0))
    assert layers_of(store) == {named}
    assert result.left.bytes > 10_000


def test_cache_mounts_go_if_nobody_uses_them(store: Store) -> None:
    with store.cache_directory("one", "id", "shared") as one:
        os.mkdir(one)
        Path(one, "file").write_bytes(bytes(50_000))
    with store.cache_directory("two", "id", "shared") as two:
        os.mkdir(two)
        assert reasons(pruned(store)) == {("cache mount", Reason.NOT_ASKED, 2)}
        result = pruned(store, everything=True)
        assert reasons(result) == {("cache mount", Reason.IN_USE, 1)}
    assert sorted(os.listdir(f"{store.root}/caches")) == ["two", "two.lock"]


def test_an_image_that_gets_a_name_in_time_stays(store: Store) -> None:
    image = put_image(store, add_tree(store, "x"))

    def named_meanwhile() -> tuple[Digest, ...]:
        sql(store, "INSERT OR IGNORE INTO names VALUES ('docker.io/library/app:latest', ?)", image)
        return ()

    result = pruned(store, images_in_use=named_meanwhile)
    assert reasons(result) == {("image", Reason.NAMED, 1)}
    assert store.image("app").id == image


def test_beginnings_of_downloads_go(store: Store) -> None:
    digest = sha256(b"whole")
    with open_store(store.root) as other:
        with other.partial_blob(digest, lambda seconds: None) as partial:
            partial.append(b"who")
            assert pruned(store).removed == ()
        assert os.listdir(f"{store.root}/partial")
        assert pruned(store).amount.bytes == 3
    assert os.listdir(f"{store.root}/partial") == []
