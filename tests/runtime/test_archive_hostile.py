"""Archives that mean harm, or are broken: refused with a reason, and nothing is left of them."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tarsafe import TarSafe  # type: ignore[import-untyped]

from runtime.image.archives import contents, loading
from runtime.image.archives.loading import load_archive
from runtime.image.digest import DiffID, sha256
from runtime.image.errors import ImageError
from runtime.image.layer.decompression import Growth, open_decompressed
from runtime.image.store.store import Store, open_store
from support import archives, tars
from support.archives import Layout, Members

pytestmark = pytest.mark.any_user

ONE, TWO = archives.layer(one="1" * 1000), archives.layer(two="2")
DIFF_IDS = (DiffID(sha256(ONE)), DiffID(sha256(TWO)))
LAYER = f"{1:064x}/layer.tar"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "store")) as store:
        yield store


def docker(**changes: Any) -> Members:
    return archives.docker(ONE, TWO, **changes)


def layout() -> Members:
    made = Layout()
    made.add(made.manifest(ONE, TWO), "test.com/app:1")
    return made.done()


def changed(members: Members, change: Callable[[dict[str, Any]], None]) -> Members:
    """A layout whose manifest has been changed, with everything that names it."""
    index = json.loads(members["index.json"])
    (described,) = index["manifests"]
    path = "blobs/sha256/" + described["digest"].removeprefix("sha256:")
    manifest = json.loads(members[path])
    change(manifest)
    data = json.dumps(manifest).encode()
    described |= {"digest": sha256(data), "size": len(data)}
    return {**members, archives.blob(data): data, "index.json": json.dumps(index).encode()}


def set_layer(**members: Any) -> Members:
    return changed(layout(), lambda manifest: manifest["layers"][1].update(members))


def without(members: Members, *names: str) -> Members:
    assert set(names) <= members.keys()
    return {name: data for name, data in members.items() if name not in names}


def nested() -> Members:
    made = Layout()
    manifest = made.manifest(ONE)
    for _ in range(5):
        manifest = made.index(manifest)
    made.add(manifest, "test.com/deep:1")
    return made.done()


def config_of(*layers: bytes, **members: Any) -> Members:
    """Docker's archive with a config that says something else than its layers."""
    made = docker()
    document = archives.config(*layers, **members)
    line = json.loads(made["manifest.json"])
    line[0]["Config"] = "config"
    return {**made, "config": document, "manifest.json": json.dumps(line).encode()}


def twice() -> Members:
    made = Layout()
    made.add(made.manifest(ONE), "test.com/app:1")
    made.add(made.manifest(TWO), "test.com/app:1")
    return made.done()


DEEP = b"[" * 100_000 + b"]" * 100_000
ESCAPE = tars.symlink(b"s", b".") + tars.symlink(b"t", b"s/..") + tars.file(b"t/ESCAPED", b"x")
BAD_LAYER = tars.file(b"../x", b"x") + tars.END
GZIPPED = archives.blob(gzip.compress(TWO, mtime=0))

DOCUMENTS: dict[str, tuple[Members, str]] = {
    "nothing": ({}, "neither index.json nor manifest.json"),
    "no images": ({"manifest.json": b"[]"}, "has no images"),
    "an empty index": ({"index.json": b'{"schemaVersion":2}'}, "has no images"),
    "no JSON": ({"manifest.json": b"[{]"}, "not usable JSON"),
    "a truncated index": ({**layout(), "index.json": layout()["index.json"][:-9]}, "not usable"),
    "deep JSON": ({"manifest.json": DEEP}, "not usable JSON"),
    "huge JSON": ({"manifest.json": bytes(contents.MOST_DOCUMENT + 1)}, "is longer than"),
    "many images": ({"manifest.json": b"[" + b"0," * 10_000 + b"0]"}, "more than 10000 images"),
    "another shape": ({"manifest.json": b'{"Config":"x"}'}, "is not a JSON list"),
    "schema 1": ({**layout(), "index.json": b'{"schemaVersion":1}'}, "schema version 2"),
    "old Docker": ({"repositories": b"{}", "VERSION": b"1.0"}, "before 1.10"),
    "a config outside": (docker(Config="/etc/passwd"), "names '/etc/passwd', which is not in"),
    "a layer outside": (docker(Layers=["../../etc/passwd", LAYER]), "which is not in the archive"),
    "an absolute layer": (docker(Layers=["/etc/passwd", LAYER]), "which is not in the archive"),
    "no layer": (without(docker(), LAYER), "layer.tar is missing"),
    "a layer too few": (docker(Layers=[LAYER]), "config has 2 layers, the manifest 1"),
    "a layer too many": (docker(Layers=[LAYER] * 3), "config has 2 layers, the manifest 3"),
    "another config": (
        {name: data + b" " if name.endswith(".json") and len(name) > 60 else data
         for name, data in docker().items()},
        "is not what its name says",
    ),
    "no name": (docker(tags=("A B",)), "invalid reference format"),
    "an option as name": (docker(tags=("--x",)), "invalid reference format"),
    "another layer": ({**docker(), LAYER: archives.layer(x="y")}, "its content is sha256:"),
    "no tar": ({**docker(), LAYER: b"text"}, "cut off"),
    "half a layer": ({**docker(), LAYER: TWO[:512]}, "layer.tar: .*cut off"),
    "half a gzip": ({**docker(), LAYER: gzip.compress(TWO)[:-9]}, "gzip data are cut off"),
    "a layer that climbs": (
        config_of(ONE, BAD_LAYER) | {LAYER: BAD_LAYER}, "leads out of the root|\\.\\.",
    ),
    "a digest that climbs": (
        set_layer(digest="sha256:../../../etc/passwd"), "invalid digest",
    ),
    "a blob of another digest": (
        {**layout(), GZIPPED: gzip.compress(ONE, mtime=0)[: len(gzip.compress(TWO, mtime=0))]},
        "is not what its name says|bytes, and not",
    ),
    "a blob of another size": (set_layer(size=7), "bytes, and not 7 as it should"),
    "a negative size": (set_layer(size=-1), "size is negative"),
    "no blob": (without(layout(), GZIPPED), "is missing"),
    "an unknown layer": (
        set_layer(mediaType="application/vnd.oci.image.layer.v1.tar+gzip+encrypted"), "unknown",
    ),
    "another manifest": (
        {name: data.replace(b'"layers"', b'"Layers"') for name, data in layout().items()},
        "is not what its name says",
    ),
    "a loop of indexes": (nested(), "nested too deep"),
    "one name for two": (twice(), "several images are named"),
    "not text": ({"manifest.json": b'[{"Config":"\\ud800"}]'}, "not usable JSON"),
}  # fmt: skip


@pytest.mark.parametrize("case", DOCUMENTS)
def test_members_that_are_wrong(store: Store, tmp_path: Path, case: str) -> None:
    members, message = DOCUMENTS[case]
    refused(store, archives.tar(members), tmp_path, message)


OUTER: dict[str, tuple[bytes, str]] = {
    "no tar": (b"x" * 2000, "no image archive"),
    "empty": (b"", "it is empty, not a tar"),
    "a name that climbs": (tars.file(b"../x"), r"\.\."),
    "an absolute name": (tars.file(b"/etc/x") + archives.tar(docker()), "directory traversal"),
    "a link to outside": (
        tars.symlink(b"blobs", b"/etc") + archives.tar(layout()), "directory traversal",
    ),
    "a link that climbs": (
        tars.symlink(b"a/b", b"../../etc") + archives.tar(docker()), "directory traversal",
    ),
    "a hard link to outside": (
        tars.hardlink(b"x", b"../../etc/passwd") + archives.tar(docker()), r"\.\.|traversal",
    ),
    "a device": (
        tars.header(b"x", b"3", major=1, minor=5) + archives.tar(docker()), "isblk|ischr",
    ),
    "two manifests": (
        tars.file(b"manifest.json", docker()["manifest.json"]) + archives.tar(docker()),
        "manifest.json is there twice",
    ),
    "a manifest and a link": (
        tars.symlink(b"manifest.json", b"other") + archives.tar(docker()), "there twice",
    ),
    "a layer twice": (tars.file(LAYER.encode(), ONE) + archives.tar(docker()), "there twice"),
    "a link to itself": (
        tars.symlink(b"manifest.json", b"manifest.json") + tars.END, "a link to a link",
    ),
    "a link to nothing": (tars.symlink(b"manifest.json", b"none") + tars.END, "none is missing"),
    "a layer that is a link to outside": (
        tars.directory(b"x") + tars.symlink(LAYER.encode(), b"../../../../etc/passwd")
        + archives.tar(without(docker(), LAYER)),
        "directory traversal",
    ),
    "cut off": (archives.tar(docker())[:-1500], "cut off"),
    "a member longer than the archive": (
        tars.header(b"manifest.json", size=1 << 32) + b"[]", "cut off",
    ),
    "a sparse file": (tars.header(b"manifest.json", b"S", size=512) + bytes(512), "sparse"),
    "a long extended header": (tars.header(b"x", b"x", size=1 << 21) + bytes(1 << 21), "extended"),
    "a broken gzip": (gzip.compress(archives.tar(docker()))[:40] + b"\xff" * 99, "corrupt"),
    "half a gzip": (gzip.compress(archives.tar(docker()))[:-20], "cut off"),
}  # fmt: skip


@pytest.mark.parametrize("case", OUTER)
def test_archives_that_are_wrong(store: Store, tmp_path: Path, case: str) -> None:
    data, message = OUTER[case]
    refused(store, data, tmp_path, message)


def refused(store: Store, data: bytes, tmp_path: Path, message: str) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "archive"
    path.write_bytes(data)
    before = list(tmp_path.iterdir())
    with pytest.raises(ImageError, match=message):
        load_archive(store, str(path))
    assert store.images() == []
    assert os.listdir(tmp_path / "in") == ["archive"]
    assert list(tmp_path.iterdir()) == before
    for folder in ("blobs/sha256", "trees", "work"):
        assert os.listdir(f"{store.root}/{folder}") == []


def test_what_deceives_tarsafe_still_leads_nowhere(store: Store, tmp_path: Path) -> None:
    """Three entries that tarsafe's own `extractall` would follow out of the directory."""
    inside = tmp_path / "outer" / "inside"
    inside.mkdir(parents=True)
    (inside / "archive").write_bytes(ESCAPE + archives.tar(docker()))
    out = inside / "out"
    out.mkdir()
    with TarSafe.open(inside / "archive") as tar:
        tar.extractall(out)
    assert (inside / "ESCAPED").exists() or not (out / "t").exists()  # whatever this version does
    (inside / "ESCAPED").unlink(missing_ok=True)
    load_archive(store, str(inside / "archive"))
    left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*ESCAPED")}
    assert left <= {"outer/inside/out/ESCAPED"}
    assert store.image("app:v1").config.diff_ids == DIFF_IDS


def test_one_bad_image_and_none_is_loaded(store: Store, tmp_path: Path) -> None:
    good, bad = archives.docker(ONE, tags=("good:1",)), archives.docker(TWO, tags=("bad:1",))
    lines = json.loads(good["manifest.json"]) + json.loads(bad["manifest.json"])
    lines[1]["Layers"] = ["broken"]
    members = {**bad, **good, "broken": b"text", "manifest.json": json.dumps(lines).encode()}
    refused(store, archives.tar(members), tmp_path, "cut off")


def test_bombs(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(64 << 20))
    assert len(bomb) < 1 << 14
    (tmp_path / "bomb").write_bytes(bomb)
    with pytest.raises(ImageError, match="more than 200 times what it was"):
        for _ in open_decompressed(str(tmp_path / "bomb"), Growth(free=1 << 20)):
            pass
    ordinary = os.urandom(4 << 20)
    (tmp_path / "ordinary").write_bytes(gzip.compress(ordinary))
    assert b"".join(open_decompressed(str(tmp_path / "ordinary"), Growth(0, 2))) == ordinary


def test_a_bomb_is_refused_in_the_archive_and_in_a_layer(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = tars.file(b"zeros", bytes(2 << 30 >> 4)) + tars.END
    zipped = zstandard.ZstdCompressor(level=19).compress(big)
    monkeypatch.setattr(Growth.__init__, "__defaults__", (1 << 20, 200))
    refused(store, zipped, tmp_path, "more than 200 times")
    members = config_of(ONE, big) | {LAYER: zipped}
    (tmp_path / "in" / "archive").unlink()
    (tmp_path / "in").rmdir()
    refused(store, archives.tar(members), tmp_path, "more than 200 times")


def test_a_failure_stops_the_other_layers(store: Store, tmp_path: Path) -> None:
    layers = [archives.layer(**{f"f{number}": str(number)}) for number in range(20)]
    members = archives.docker(*layers)
    members[f"{0:064x}/layer.tar"] = b"text"
    refused(store, archives.tar(members), tmp_path, "cut off")


VALID = archives.tar(docker())


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_anywhere_is_an_error_or_does_no_harm(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    position = data.draw(st.integers(0, len(VALID) - 1))
    length = data.draw(st.integers(1, 16))
    damaged = VALID[:position] + data.draw(st.binary(min_size=length, max_size=length))
    damaged += VALID[position + length :]
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "archive").write_bytes(damaged)
    with open_store(str(folder / "store")) as store:
        try:
            loaded = load_archive(store, str(folder / "archive"))
        except ImageError:
            assert store.images() == []
        else:
            for image in loaded:
                assert store.image(image.image_id).config.diff_ids == DIFF_IDS


def test_nothing_is_read_before_the_documents_are_right(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    monkeypatch.setattr(loading, "take_layer", lambda *arguments: taken.append("layer"))
    refused(store, archives.tar(without(docker(), LAYER)), tmp_path, "is missing")
    assert taken == []
