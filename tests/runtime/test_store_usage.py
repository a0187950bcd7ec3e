"""What a store takes, measured; and the directories of cache mounts."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

from runtime.image.store.caches import cache_directory, taken_cache
from runtime.image.store.measure import Amount, measure
from runtime.image.store.store import open_store
from runtime.image.store.usage import survey_caches


def test_what_a_directory_takes_is_what_du_says(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "deep/er").mkdir(parents=True)
    (folder / "large").write_bytes(bytes(100_000))
    os.link(folder / "large", folder / "deep/linked")
    (folder / "deep/er/small").write_text("x")
    (folder / "link").symlink_to("/usr")
    with open(folder / "sparse", "wb") as file:
        file.truncate(1 << 30)
    told = {
        option: int(subprocess.check_output(["du", "-s", *option.split(), folder]).split()[0])
        for option in ("-B1", "--inodes")
    }
    assert measure(str(folder)) == Amount(bytes=told["-B1"], inodes=told["--inodes"])
    assert measure(str(tmp_path / "none")) == Amount()
    assert measure(str(folder / "large")).inodes == 1


def test_private_caches_are_used_by_one_at_a_time(tmp_path: Path) -> None:
    folder = str(tmp_path / "caches")
    with cache_directory(folder, "name", "private") as one:
        with cache_directory(folder, "name", "private") as other:
            assert (one, other) == (f"{folder}/name", f"{folder}/name.1")
        with cache_directory(folder, "name", "private") as again:
            assert again == other
    with (
        cache_directory(folder, "name", "shared") as one,
        cache_directory(folder, "name", "shared") as other,
    ):
        assert one == other == f"{folder}/name"


def test_a_cache_in_use_is_not_taken(tmp_path: Path) -> None:
    folder = str(tmp_path)
    with cache_directory(folder, "name", "shared") as path:
        os.mkdir(path)
        with taken_cache(path) as taken:
            assert not taken
    with taken_cache(path) as taken:
        assert taken
    assert sorted(os.listdir(folder)) == ["name", "name.lock"]


def test_who_waits_for_a_cache_that_is_removed_gets_a_new_one(tmp_path: Path) -> None:
    folder = str(tmp_path)
    with cache_directory(folder, "name", "locked") as path:
        os.mkdir(path)
    held: list[bool] = []

    def use() -> None:
        with cache_directory(folder, "name", "locked") as mine:
            assert not os.path.lexists(mine)
            with taken_cache(mine) as taken:
                held.append(not taken)

    thread = threading.Thread(target=use)
    with taken_cache(path) as taken:
        assert taken
        thread.start()
        os.rmdir(path)
    thread.join()
    assert held == [True]


def test_caches_are_measured_when_they_were_used(tmp_path: Path) -> None:
    with open_store(str(tmp_path)) as store:
        assert survey_caches(store.parts) == ()
        with (
            store.cache_directory("name", "the id", "private") as one,
            store.cache_directory("name", "the id", "private") as other,
        ):
            for path in (one, other):
                os.makedirs(path, exist_ok=True)
            assert [cache.amount.inodes for cache in survey_caches(store.parts)] == [1, 1]
            Path(one, "file").write_bytes(bytes(5000))
        os.utime(f"{tmp_path}/caches/name.1.lock", (1000, 1000))
        found = survey_caches(store.parts)
        assert [(cache.name, cache.id) for cache in found] == [
            ("name", "the id"),
            ("name.1", "the id"),
        ]
        assert [cache.amount.inodes for cache in found] == [2, 1]
        assert found[1].last_used == 1000 < found[0].last_used
        # Nobody has used it in between, as far as we are told.
        Path(other, "secretly").touch()
        assert survey_caches(store.parts) == found
