"""The records of builds: the last hundred, and the listings that they refer to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from runtime.image.store.builds import MOST_BUILDS
from runtime.image.store.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "store")) as opened:
        yield opened


def put(store: Store, name: str, **listings: bytes) -> None:
    """A build whose copies have the listings `one=b"…"`, by the keys `key-one`."""
    keys = {f"key-{listing}": listing for listing in listings}
    store.builds.put(name, b"document of " + name.encode(), keys=keys, listings=listings)


def test_the_last_builds_come_first(store: Store) -> None:
    for name in ("first", "second", "third"):
        put(store, name)
    latest = store.builds.latest(2)
    assert [build.id for build in latest] == ["third", "second"]
    assert latest[0].document == b"document of third"
    assert [build.id for build in store.builds.before(latest[0])] == ["second", "first"]
    assert [build.id for build in store.builds.beginning_with("f")] == ["first"]
    assert store.builds.beginning_with("%") == []


def test_listings_are_kept_once_and_go_with_the_last_build(store: Store) -> None:
    put(store, "first", shared=b"shared", own=b"own")
    for number in range(MOST_BUILDS):
        store.builds.put(f"b{number}", b"", keys={"key-shared": "shared"}, listings={})
    assert len(store.builds.latest(2 * MOST_BUILDS)) == MOST_BUILDS
    assert store.builds.beginning_with("first") == []
    assert store.builds.listing_of("key-shared") == "shared"
    assert store.builds.listing("key-shared") == b"shared"
    assert store.builds.listing_of("key-own") is None
    with closing(sqlite3.connect(Path(store.root) / "store.db")) as database:
        assert database.execute("SELECT name FROM listings").fetchall() == [("shared",)]


def test_a_key_without_its_listing_is_not_known(store: Store) -> None:
    store.builds.put("build", b"", keys={"key": "nowhere"}, listings={})
    assert store.builds.listing_of("key") is None
