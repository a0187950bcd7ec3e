"""Stores whose processes are killed, whose disk is full, and which many use at once.

The file is also the program that the tests run: `SCENARIO` functions are carried out in children
that are killed at every single step they take.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runtime.image.digest import DiffID, encoded
from runtime.image.errors import ImageNotFound, StoreError
from runtime.image.layer.extract import extract_layer
from runtime.image.layer.pack import pack_tree
from runtime.image.layer.recipe import GZIP, UNCOMPRESSED, ZSTD
from runtime.image.layer.writer import LayerSum
from runtime.image.model import History, ImageConfig
from runtime.image.reference import Reference
from runtime.image.store.candidates import Limit
from runtime.image.store.collect import collect
from runtime.image.store.fsck import check_store
from runtime.image.store.prune import PruneRequest, prune
from runtime.image.store.store import Store, open_store
from support.kills import connect_unsynced, killed_at

pytestmark = pytest.mark.any_user

PRELOADED = (collect, extract_layer)
"""Imported here so that importing is none of the steps."""
STRIDE = 1 if os.environ.get("LAMINA_EVERY_STEP") else 3
RECIPES = (GZIP, ZSTD, UNCOMPRESSED)


# What is done to a store


def make_tree(tree: str, content: str) -> LayerSum:
    os.makedirs(f"{tree}/directory")
    with open(f"{tree}/directory/file", "w") as file:
        file.write(content)
    return pack_tree(tree, None, mtime=0, settle=True)


def build(root: str) -> None:
    """What a build does: a tree and a raw layer, records, an image and its names."""
    with open_store(root) as store, store.workspace() as space:
        tree = make_tree(f"{space}/tree", "one")
        store.add_tree(tree, f"{space}/tree")
        store.put_record("one", "run", {"a": "b"}, tree.diff_id)
        make_tree(f"{space}/other", "two")
        with open(f"{space}/raw", "wb") as file:
            raw = pack_tree(f"{space}/other", file.fileno())
        store.add_raw(raw, f"{space}/raw")
        store.put_record("two", "copy", {}, raw.diff_id)
        config = ImageConfig(architecture="amd64")
        for layer in (tree, raw):
            config = config.with_layer(layer.diff_id, History())
        image_id = store.put_image(config)
        store.tag(Reference.parse("app"), image_id)
        store.tag(Reference.parse("app:v1"), image_id)


def convert(root: str) -> None:
    """Every form of the layers of what was built."""
    with open_store(root) as store:
        for diff_id in store.image("app").config.diff_ids:
            store.tree(diff_id)
            for recipe in RECIPES:
                store.blob(diff_id, recipe)


def remove(root: str) -> None:
    """Take away what was built, layers and all."""
    with open_store(root) as store:
        other = store.image("app").config.diff_ids[0]
        for key in ("one", "two"):
            store.put_record(key, "run", {}, other)
        store.remove_image("app:v1")
        store.remove_image("app")


def litter(root: str) -> None:
    """What was built in every form, and what nothing needs: layers, a blob, an image, a cache."""
    build(root)
    convert(root)
    with open_store(root) as store, store.workspace() as space:
        for name in ("cached", "nothing", "unnamed"):
            layer = make_tree(f"{space}/{name}", name)
            store.add_tree(layer, f"{space}/{name}")
            if name == "cached":
                store.put_record("cached", "run", {}, layer.diff_id)
            if name == "unnamed":
                config = ImageConfig(architecture="arm64")
                store.put_image(config.with_layer(layer.diff_id, History()))
        store.put_blob(b"of nothing")
        with store.cache_directory("cache", "id", "shared") as path:
            os.mkdir(path)


def clean(root: str) -> None:
    """Remove all that can go."""
    with open_store(root) as store:
        prune(store.parts, PruneRequest(everything=True))


def shrink(root: str) -> None:
    """Remove what is worth least, forms of layers too, but nothing with a name."""
    with open_store(root) as store:
        prune(store.parts, PruneRequest(limit=Limit(bytes=0)))


def damage(root: str) -> None:
    """Break a form of each layer of what was built, and leave things lying about."""
    litter(root)
    with open_store(root) as store:
        tree, raw = store.image("app").config.diff_ids
        Path(store.tree(tree), "directory/file").write_text("other")
        blobs = [*store.layer_blobs(tree), *store.layer_blobs(raw)]
        store.lease("f" * 64, [raw])
    for blob in blobs[::2]:
        os.chmod(f"{root}/blobs/sha256/{encoded(blob.digest)}", 0o600)
        os.truncate(f"{root}/blobs/sha256/{encoded(blob.digest)}", 10)
    Path(root, "blobs/sha256", "e" * 64).touch()


def mend(root: str) -> None:
    """Repair it."""
    with open_store(root) as store:
        if not check_store(store.parts, repair=True, jobs=1).sound:
            raise RuntimeError("the store was not mended")


def abandon(root: str) -> None:
    """What a process left that was killed while it removed things: files, but no rows."""
    litter(root)
    with open_store(root) as store:
        database = store.parts.database
        for table in ("layers", "blobs", "records", "names", "images"):
            database.execute(f"DELETE FROM {table}")
    os.makedirs(f"{root}/work/1-dead/deep")


def reopen(root: str) -> None:
    """Use it again."""
    Store(root).close()


def nothing(root: str) -> None:
    """Not even a store."""


@dataclass(frozen=True)
class Scenario:
    """What is done first, what is killed while it is done, and what is done after that."""

    first: Callable[[str], None]
    then: Callable[[str], None]
    after: Callable[[str], None] = nothing


SCENARIOS = {
    "build": Scenario(nothing, build),
    "convert": Scenario(build, convert),
    "remove": Scenario(build, remove),
    "clean": Scenario(litter, clean),
    "shrink": Scenario(litter, shrink),
    "sweep": Scenario(abandon, reopen),
    "mend": Scenario(damage, mend, mend),
}


# What has to hold afterwards


def faults(root: str) -> list[str]:
    """What is wrong with a store that nobody uses."""
    with open_store(root) as store:
        checked = check_store(store.parts, repair=False, jobs=1)
        found = [str(fault) for fault in checked.faults]
        for image in store.images():
            found += [f"{i} is lost" for i in image.config.diff_ids if not store.has_layer(i)]
        for key in ("one", "two"):
            record = store.record(key)
            if record is not None and not store.has_layer(record.diff_id):
                found.append(f"record {key} has no layer")
        for name in os.listdir(f"{root}/trees"):
            diff_id = DiffID(f"sha256:{name}")
            if store.has_layer(diff_id) and pack_tree(store.tree(diff_id), None).diff_id != diff_id:
                found.append(f"tree {name} is damaged")
        for name in os.listdir(f"{root}/blobs/sha256"):
            with open(f"{root}/blobs/sha256/{name}", "rb") as file:
                if hashlib.sha256(file.read()).hexdigest() != name:
                    found.append(f"blob {name} is damaged")
    return found + [f"work/{name} is left" for name in os.listdir(f"{root}/work")]


def emptied(root: str) -> list[str]:
    """What is left when everything is removed that can be."""
    with open_store(root) as store:
        for image in store.images():
            store.remove_image(image.id, force=True)
        database = store._database
        database.execute("DELETE FROM records")
        store.collect()
    with open_store(root) as store:
        left = os.listdir(f"{root}/trees") + os.listdir(f"{root}/blobs/sha256")
        rows = store._database.rows("SELECT digest FROM blobs UNION SELECT diff_id FROM layers")
        return left + os.listdir(f"{root}/work") + [str(row[0]) for row in rows]


# The programs


def kill_everywhere(name: str, directory: str) -> dict[str, Any]:
    """Kill a scenario at each of its steps, or each third, each time on a store of its own."""
    setattr(sqlite3, "connect", connect_unsynced)  # noqa: B010
    found: dict[str, list[str]] = {}
    scenario = SCENARIOS[name]
    scenario.first(f"{directory}/first")
    steps = 0
    killed = True
    while killed:
        steps += STRIDE
        root = f"{directory}/{steps}"
        if os.path.exists(f"{directory}/first"):
            shutil.copytree(f"{directory}/first", root, symlinks=True)
        killed = killed_at(steps, scenario.then, root)
        scenario.after(root)
        wrong = faults(root)
        if not wrong:
            build(root)
            scenario.then(root)
            wrong = faults(root) or emptied(root)
        if wrong:
            found[str(steps)] = wrong
    return {"steps": steps, "found": found}


def worker(root: str, seed: int, turns: int) -> None:
    """Use a store as one of many processes do."""
    choice = random.Random(seed)
    for _ in range(turns):
        with open_store(root) as store, store.workspace() as space:
            content = f"content {choice.randrange(4)}" * 5000
            layer = make_tree(f"{space}/tree", content)
            store.add_tree(layer, f"{space}/tree")
            store.put_record(layer.diff_id, "run", {}, layer.diff_id)
            config = ImageConfig(architecture="amd64").with_layer(layer.diff_id, History())
            name = Reference.parse(f"app{choice.randrange(3)}")
            use_image(store, config, name, layer.diff_id)
            if not store.has_layer(layer.diff_id):
                raise RuntimeError("a layer was taken away while we had the store open")
            if pack_tree(store.tree(layer.diff_id), None).diff_id != layer.diff_id:
                raise RuntimeError("a tree is damaged")
        with open_store(root) as store:
            with suppress(ImageNotFound):
                store.remove_image(f"app{choice.randrange(3)}", force=True)
            store._database.execute("DELETE FROM records WHERE key = ?", (layer.diff_id,))
            store.collect()


def use_image(store: Store, config: ImageConfig, name: Reference, diff_id: DiffID) -> None:
    with suppress(ImageNotFound):  # Another worker may remove it in between.
        store.tag(name, store.put_image(config))
        store.image(name.familiar())
    recipe = RECIPES[len(store.images()) % 3]
    store.blob(diff_id, recipe)


def small_disk(directory: str) -> None:
    """Mount four megabytes there, for this process alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_mounts, recursive, private = 0x20000, 0x4000, 0x40000
    if libc.unshare(new_mounts) or libc.mount(None, b"/", None, recursive | private, None):
        raise OSError(ctypes.get_errno(), "a mount namespace of our own")
    if libc.mount(b"none", os.fsencode(directory), b"tmpfs", 0, b"size=4m"):
        raise OSError(ctypes.get_errno(), "mount")


def make_room(directory: str) -> dict[str, Any]:
    """Make room on a disk without a byte to spare: with and without what killed processes left."""
    small_disk(directory)
    found: dict[str, list[str]] = {}
    for name, then in (("clean", clean), ("shrink", shrink)):
        for left in (False, True):
            root = f"{directory}/{name} {left}"
            litter(root)
            if left:
                os.mkdir(f"{root}/work/1-dead")
                Path(root, "blobs/sha256", "e" * 64).touch()
            fill(f"{directory}/filler", 0)
            then(root)
            os.unlink(f"{directory}/filler")
            wrong = faults(root)
            then(root)
            if not os.path.exists(f"{root}/reserve"):
                wrong.append("there is no reserve again")
            if wrong:
                found[os.path.basename(root)] = wrong
            subprocess.run(["rm", "-r", "--one-file-system", root], check=True)
    return {"found": found}


def fill_up(directory: str) -> dict[str, Any]:
    """Build and convert on a full disk, with a little more space each time."""
    small_disk(directory)
    found: dict[str, list[str]] = {}
    failures = 0
    for pages in range(0, 130, 2):
        root = f"{directory}/{pages}"
        Store(root).close()
        fill(f"{directory}/filler", pages * 4096)
        full = False
        try:
            build(root)
            convert(root)
        except OSError as error:
            full = error.errno == errno.ENOSPC
            if not full:
                raise
        except StoreError as error:
            full = "full" in error.message or "disk I/O" in error.message
            if not full:
                raise
        failures += full
        os.unlink(f"{directory}/filler")
        wrong = faults(root)
        if not wrong:
            build(root)
            convert(root)
            wrong = faults(root) or emptied(root)
        if wrong:
            found[str(pages)] = wrong
        subprocess.run(["rm", "-r", "--one-file-system", root], check=True)
    return {"failures": failures, "found": found}


def fill(path: str, but: int) -> None:
    """Take all space there is, but so many bytes."""
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65536))
        except OSError:
            pass
        file.truncate(os.fstat(file.fileno()).st_size - but)


def main(arguments: list[str]) -> None:
    match arguments:
        case ["kill", name, directory]:
            print(json.dumps(kill_everywhere(name, directory)))
        case ["work", root, seed, turns]:
            worker(root, int(seed), int(turns))
        case ["fill", directory]:
            print(json.dumps(fill_up(directory)))
        case ["make room", directory]:
            print(json.dumps(make_room(directory)))
        case _:
            raise SystemExit(2)


# The tests


def run(*arguments: str) -> Any:
    with started(*arguments, stdout=subprocess.PIPE) as process:
        output, _ = process.communicate()
    assert process.returncode == 0
    return json.loads(output)


def started(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """This file as a program."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.Popen([sys.executable, __file__, *arguments], env=environment, **options)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_process_may_be_killed_at_any_step(tmp_path: Path, name: str) -> None:
    result = run("kill", name, str(tmp_path))
    assert result["found"] == {}
    assert result["steps"] > 30


def test_processes_may_be_killed_at_any_moment(tmp_path: Path) -> None:
    root = str(tmp_path / "store")
    choice = random.Random(7)
    for turn in range(12):
        process = started("work", root, str(turn), "1000", stderr=subprocess.DEVNULL)
        time.sleep(0.3 + choice.random() / 3)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert faults(root) == []
    assert emptied(root) == []


def test_many_processes_use_one_store(tmp_path: Path) -> None:
    root = str(tmp_path / "store")
    processes = [started("work", root, str(seed), "12") for seed in range(8)]
    assert [process.wait() for process in processes] == [0] * 8
    assert faults(root) == []
    assert emptied(root) == []


@pytest.mark.root
def test_the_disk_may_be_full(tmp_path: Path) -> None:
    result = run("fill", str(tmp_path))
    assert result["found"] == {}
    assert result["failures"] > 5
    assert os.listdir(tmp_path) == []


@pytest.mark.root
def test_room_can_be_made_on_a_full_disk(tmp_path: Path) -> None:
    assert run("make room", str(tmp_path)) == {"found": {}}


if __name__ == "__main__":
    main(sys.argv[1:])
