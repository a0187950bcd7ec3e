"""Images travel whole or not at all, whatever networks and servers do: random runs.

LAMINA_FAULTS says how many (80 if it is not set).
"""

from __future__ import annotations

import gzip
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.image.digest import DiffID, sha256
from runtime.image.errors import ImageError
from runtime.image.platform import default_platform
from runtime.image.reference import Reference
from runtime.image.registry.configuration import Registries
from runtime.image.registry.credentials import Login
from runtime.image.registry.pull import pull
from runtime.image.registry.push import push
from runtime.image.registry.retries import RetryPolicy
from runtime.image.registry.session import Session
from runtime.image.store.store import Store, open_store
from support import tars
from support.archives import Layout, config
from support.faults import Faults, faulty
from support.registry import BASIC, PASSWORD, USER, Registry, running_registry
from support.registry_images import Hand

pytestmark = pytest.mark.any_user

SHARDS = 4
RUNS = int(os.environ.get("LAMINA_FAULTS", "80")) // (2 * SHARDS)
"""Of each shard of pulls, and of pushes."""
IMPATIENT = RetryPolicy(attempts=4, first_seconds=0.002, most_seconds=0.01)
OWN = default_platform()


class Known:
    """Credentials for every registry."""

    def find(self, entry: str) -> Login | None:
        return Login(username=USER, password=PASSWORD)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(tmp_path_factory.mktemp("faults"), passwords=True) as running:
        yield running


def layers(seed: int) -> list[bytes]:
    """Layers with files that hardly compress, of very different sizes."""
    drawn = random.Random(seed)
    return [
        b"".join(
            tars.file(b"file%d" % number, drawn.randbytes(drawn.choice((10, 3000, 90000))))
            for number in range(drawn.randrange(1, 4))
        )
        + tars.END
        for _ in range(3)
    ]


def session() -> Session:
    return Session(Registries(), Known(), policy=IMPATIENT)


def pulled(store: Store, host: str, name: str) -> str:
    reference = Reference.parse(f"{host}/{name}")
    with session() as opened:
        return pull(store, opened, reference, OWN).image_id


def check_store(store: Store, image_id: str, tarred: list[bytes]) -> None:
    """The image is there, every file of it as it should be."""
    image = store.image(image_id)
    assert list(image.config.diff_ids) == [DiffID(sha256(each)) for each in tarred]
    for diff_id, tar in zip(image.config.diff_ids, tarred, strict=True):
        tree = Path(store.tree(diff_id))
        first = tree / "file0"
        assert first.read_bytes() == tar[512 : 512 + first.stat().st_size]


def is_clear(error: ImageError) -> bool:
    """Whether an error says something, on one line, without secrets."""
    text = error.message
    return bool(text) and "\n" not in text and PASSWORD not in text and BASIC not in text


@pytest.mark.parametrize("shard", range(SHARDS))
def test_pulls(locked: Registry, tmp_path: Path, shard: int) -> None:
    tarred = layers(shard)
    layout, name = Layout(), f"faults/pull{shard}:1"
    top = layout.manifest(*tarred, architecture=OWN.architecture)
    described = top | {"platform": {"os": OWN.os, "architecture": OWN.architecture}}
    Hand(locked).publish(f"faults/pull{shard}", "1", layout, layout.index(described))
    outcomes = set()
    for run in range(RUNS):
        drawn = random.Random(shard * 1000 + run)
        faults = Faults(drawn.choice((0.1, 0.3, 0.6)), drawn.choice((1, 3, 100)), drawn)
        with faulty(locked.host, faults), open_store(str(tmp_path / str(run))) as store:
            try:
                check_store(store, pulled(store, faults.host, name), tarred)
                outcomes.add("done")
            except ImageError as error:
                outcomes.add("failed" if is_clear(error) else error.message)
                faults.left = 0
                check_store(store, pulled(store, faults.host, name), tarred)
            assert not list((tmp_path / str(run) / "partial").iterdir())
        assert not faults.leaked, faults.done
    assert "done" in outcomes
    assert outcomes <= {"done", "failed"}


@pytest.mark.parametrize("shard", range(SHARDS))
def test_pushes(locked: Registry, tmp_path: Path, shard: int) -> None:
    hand = Hand(locked)
    outcomes = set()
    with open_store(str(tmp_path / "store")) as store:
        for run in range(RUNS):
            drawn = random.Random(shard * 1000 + run)
            tarred, repository = layers(shard * 1000 + run), f"faults/push{shard}"
            image = store.image(add_image(store, tmp_path, tarred))
            faults = Faults(drawn.choice((0.1, 0.3, 0.5)), drawn.choice((1, 3, 100)), drawn)
            with faulty(locked.host, faults):
                name = Reference.parse(f"{faults.host}/{repository}:{run}")
                try:
                    with session() as opened:
                        digest = push(store, opened, image, name).digest
                    outcomes.add("done")
                except ImageError as error:
                    outcomes.add("failed" if is_clear(error) else error.message)
                    faults.left = 0
                    with session() as opened:
                        digest = push(store, opened, image, name).digest
            assert not faults.leaked, faults.done
            check_registry(hand, repository, str(run), digest, tarred)
    assert "done" in outcomes
    assert outcomes <= {"done", "failed"}


def add_image(store: Store, folder: Path, tarred: list[bytes]) -> str:
    from runtime.image.layer.writer import LayerSum

    for tar in tarred:
        path = folder / "tar"
        path.write_bytes(tar)
        store.add_raw(LayerSum(DiffID(sha256(tar)), len(tar), 1), str(path))
    return store.put_image(config(*tarred, architecture=OWN.architecture))


def check_registry(hand: Hand, repository: str, tag: str, digest: str, tarred: list[bytes]) -> None:
    """The registry has the image under its tag, and every blob of it."""
    data = hand.manifest(repository, tag)
    assert sha256(data) == digest
    for blob, tar in zip(json.loads(data)["layers"], tarred, strict=True):
        answer = hand.ask("GET", f"/v2/{repository}/blobs/{blob['digest']}")
        assert gzip.decompress(answer.content) == tar
