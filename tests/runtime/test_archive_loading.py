"""Archives of every form, taken into a store."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from runtime.image.archives.archive import write_archive, write_layout
from runtime.image.archives.loading import Loaded, load_archive
from runtime.image.archives.outgoing import Outgoing
from runtime.image.choice import choose, serves
from runtime.image.digest import DiffID, sha256
from runtime.image.errors import ArchiveError, PlatformMissing
from runtime.image.layer.recipe import GZIP, UNCOMPRESSED, ZSTD, Recipe
from runtime.image.manifest import MEDIA_TYPE_MANIFEST, Descriptor
from runtime.image.model import ImageConfig
from runtime.image.platform import Platform, default_platform
from runtime.image.reference import Reference
from runtime.image.store.store import Store, open_store
from support import archives, tars
from support.archives import Layout

ONE, TWO = archives.layer(one="1" * 1000), archives.layer(two="2", one="22")
OWN = str(default_platform()).partition("/")[2]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "store")) as store:
        yield store


def load(store: Store, data: bytes, tmp_path: Path, platform: str = "") -> tuple[Loaded, ...]:
    path = tmp_path / "archive"
    path.write_bytes(data)
    wanted = Platform.parse(platform) if platform else None
    return load_archive(store, str(path), platform=wanted)


def layout(**names: str) -> archives.Members:
    made = Layout()
    made.add(made.manifest(ONE, TWO), **names)
    return made.done()


def files_of(store: Store, name: str) -> dict[bytes, bytes | None]:
    view = store.view(store.image(name).config.diff_ids)
    return {path: view.read(path, 1 << 20) for path in view.listdir(b"")}


@pytest.mark.parametrize("recipe", [GZIP, ZSTD, UNCOMPRESSED])
def test_what_is_written_is_loaded(store: Store, tmp_path: Path, recipe: Recipe) -> None:
    load(store, archives.tar(layout(name="docker.io/library/app:v1")), tmp_path)
    image, out = store.image("app:v1"), tmp_path / "out.tar"
    written = write_archive(store, [Outgoing(image, image.names)], str(out), recipe=recipe)
    write_layout(store, [Outgoing(image, image.names)], str(tmp_path / "layout"), recipe=recipe)
    for number, source in enumerate((out, tmp_path / "layout")):
        with open_store(str(tmp_path / f"other-{number}")) as other:
            (loaded,) = load_archive(other, str(source))
            assert loaded == Loaded(image.id, image.names)
            there = other.image("app:v1")
            assert there.document == image.document
            assert there.size == image.size
            assert files_of(other, "app:v1") == {b"one": b"22", b"two": b"2"}
            again = write_archive(
                other,
                [Outgoing(there, image.names)],
                str(tmp_path / "again"),
                recipe=recipe,
            )
            assert again == written  # the blobs are kept as they came


@pytest.mark.parametrize(
    "compress",
    [gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress, bytes],
)
def test_the_archive_may_be_compressed_and_come_from_a_pipe(
    store: Store, tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "archive"
    path.write_bytes(compress(archives.tar(archives.docker(ONE, TWO))))
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as cat:
        assert cat.stdout is not None
        (loaded,) = load_archive(store, cat.stdout.fileno())
    assert [name.tagged() for name in loaded.names] == ["app:v1"]
    assert load_archive(store, str(path)) == (loaded,)
    assert files_of(store, "app:v1") == {b"one": b"22", b"two": b"2"}


@pytest.mark.parametrize(
    "compress",
    [gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress, bytes],
)
def test_layers_may_be_compressed(
    store: Store, tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    members = archives.docker(ONE, TWO)
    for name in [name for name in members if name.endswith(".tar")]:
        members[name] = compress(members[name])
    load(store, archives.tar(members), tmp_path)
    assert files_of(store, "app:v1") == {b"one": b"22", b"two": b"2"}
    write_archive(store, [Outgoing(store.image("app:v1"))], str(tmp_path / "out"))


def test_links_between_layers_as_docker_writes_them(store: Store, tmp_path: Path) -> None:
    members = archives.docker(ONE, ONE, TWO)
    shared = f"{1:064x}/layer.tar"
    del members[shared]
    link = tars.symlink(b"x/layer.tar", f"../{0:064x}/layer.tar".encode())
    line = json.loads(members["manifest.json"])
    line[0]["Layers"][1] = "x/layer.tar"
    members["manifest.json"] = json.dumps(line).encode()
    load(store, tars.directory(b"x") + link + archives.tar(members), tmp_path)
    assert files_of(store, "app:v1") == {b"one": b"22", b"two": b"2"}
    assert len(store.image("app:v1").config.diff_ids) == 3


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"name": "docker.io/library/app:v1", "tag": "v1"}, ["app:v1"]),
        ({"tag": "docker.io/library/app:v1"}, ["app:v1"]),
        ({"tag": "localhost/app:latest"}, ["localhost/app:latest"]),
        ({"tag": "app:v1"}, ["app:v1"]),
        ({"tag": "v1"}, []),
        ({"name": "docker.io/library/app:v1", "tag": "v2"}, ["app:v2"]),
        ({"name": "NO NAME"}, []),
        ({}, []),
    ],
)
def test_names_of_layouts(
    store: Store, tmp_path: Path, names: dict[str, str], expected: list[str]
) -> None:
    (loaded,) = load(store, archives.tar(layout(**names)), tmp_path)
    assert [name.tagged() for name in loaded.names] == expected
    assert store.image(loaded.image_id).names == loaded.names


def test_several_images_and_several_names(store: Store, tmp_path: Path) -> None:
    made = Layout()
    first, second = made.manifest(ONE), made.manifest(ONE, TWO)
    made.add(first, "test.com/a:1")
    made.add(second, "test.com/b:1")
    made.add(first, "test.com/a:2")
    (tmp_path / "layout").mkdir()
    loaded = load_archive(store, str(archives.write(made.done(), tmp_path / "layout")))
    told = [[name.tagged() for name in each.names] for each in loaded]
    assert told == [["test.com/a:1", "test.com/a:2"], ["test.com/b:1"]]
    assert len(store.images()) == 2


def test_a_known_layer_is_not_read_again(store: Store, tmp_path: Path) -> None:
    load(store, archives.tar(archives.docker(ONE, tags=("base:1",))), tmp_path)
    members = archives.docker(ONE, TWO)
    members[f"{0:064x}/layer.tar"] = b"no tar at all"
    load(store, archives.tar(members), tmp_path)
    assert files_of(store, "app:v1") == {b"one": b"22", b"two": b"2"}


def platforms(*platforms: str) -> bytes:
    """An archive of one name with an image for each of the platforms, and attestations."""
    made = Layout()
    listed = []
    for text in platforms:
        system, architecture, *variant = text.split("/")
        where = {"os": system, "architecture": architecture}
        where |= {"variant": variant[0]} if variant else {}
        image = made.manifest(ONE, architecture=architecture, author=text)
        listed.append(image | {"platform": where})
        attestation = made.manifest(TWO, author="attestation of " + text)
        said = {"vnd.docker.reference.type": "attestation-manifest"}
        nowhere = {"os": "unknown", "architecture": "unknown"}
        listed.append(attestation | {"platform": nowhere, "annotations": said})
    made.add(made.index(*listed), "test.com/many:1")
    return archives.tar(made.done())


def test_one_of_several_platforms(store: Store, tmp_path: Path) -> None:
    data = platforms("linux/arm/v6", "linux/amd64", "linux/arm64/v8", "windows/amd64")
    for asked, got in [("linux/arm64", "linux/arm64/v8"), ("amd64", "linux/amd64")]:
        load(store, data, tmp_path, asked)
        assert store.image("test.com/many:1").config.author == got
    load(store, data, tmp_path)
    assert store.image("test.com/many:1").config.architecture == OWN.partition("/")[0]
    with pytest.raises(PlatformMissing) as error:
        load(store, data, tmp_path, "linux/s390x")
    assert "has no image for linux/s390x: it has linux/arm/v6, linux/amd64," in error.value.message
    assert "attestation" not in error.value.message


def test_platforms_that_were_not_saved_are_not_offered(store: Store, tmp_path: Path) -> None:
    made = Layout()
    here = made.manifest(ONE) | {"platform": {"os": "linux", "architecture": "ppc64"}}
    gone = {**here, "digest": sha256(b"gone"), "platform": {"os": "linux", "architecture": OWN}}
    made.add(made.index(here, gone), "test.com/some:1")
    with pytest.raises(PlatformMissing, match=r"it has linux/ppc64$"):
        load(store, archives.tar(made.done()), tmp_path)


def test_the_only_image_is_taken_unless_another_platform_is_insisted_on(
    store: Store, tmp_path: Path
) -> None:
    made = Layout()
    made.add(made.manifest(ONE, architecture="s390x"), "test.com/far:1")
    load(store, archives.tar(made.done()), tmp_path)
    assert store.image("test.com/far:1").config.architecture == "s390x"
    with pytest.raises(PlatformMissing, match="it has linux/s390x"):
        load(store, archives.tar(made.done()), tmp_path, "linux/arm64")


@pytest.mark.parametrize(
    ("wanted", "present", "best"),
    [
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm64"], "linux/arm/v6"),
        ("linux/arm/v6", ["linux/arm/v7"], None),
        ("linux/arm64", ["linux/arm64/v8"], "linux/arm64/v8"),
        ("linux/arm64", ["linux/arm64/v9"], None),
        ("linux/arm64/v9", ["linux/arm64"], "linux/arm64"),
        ("linux/amd64", ["linux/amd64/v3", "linux/amd64/v1"], "linux/amd64/v1"),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2"], "linux/amd64/v2"),
        ("linux/amd64", ["windows/amd64"], None),
        ("linux/riscv64", ["linux/riscv64"], "linux/riscv64"),
        ("linux/riscv64", ["linux//", "/", "linux/riscv64"], "linux/riscv64"),
    ],
)
def test_variants(wanted: str, present: list[str], best: str | None) -> None:
    def descriptor(text: str) -> Descriptor:
        return Descriptor(
            media_type=MEDIA_TYPE_MANIFEST,
            digest=sha256(text.encode()),
            size=1,
            platform=Platform(*text.split("/")),
        )

    descriptors = [descriptor(text) for text in present]
    asked = Platform.parse(wanted)
    if best is None:
        with pytest.raises(PlatformMissing):
            choose(descriptors, asked, "it")
    else:
        assert str(choose(descriptors, asked, "it").platform) == best
        assert serves(Platform(*best.split("/")), asked)


def test_artifacts_beside_images_are_passed_over(store: Store, tmp_path: Path) -> None:
    made = Layout()
    made.add(made.manifest(ONE), "test.com/app:1")
    artifact = {
        "schemaVersion": 2,
        "config": made.put(b"{}", "x") | {"mediaType": "application/vnd.oci.empty.v1+json"},
        "layers": [],
    }
    made.add(made.put(json.dumps(artifact).encode(), "manifest.v1+json"))
    (loaded,) = load(store, archives.tar(made.done()), tmp_path)
    assert [name.tagged() for name in loaded.names] == ["test.com/app:1"]


def test_a_root_file_system_is_no_image(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"neither index.json nor manifest.json") as error:
        load(store, archives.layer(bin="x"), tmp_path)
    assert "lamina import" in str(error.value.hint)


def test_names_are_taken_over(store: Store, tmp_path: Path) -> None:
    empty = store.put_image(ImageConfig(architecture="amd64"))
    store.tag(Reference.parse("app:v1"), empty)
    load(store, archives.tar(archives.docker(ONE)), tmp_path)
    assert store.image("app:v1").config.diff_ids == (DiffID(sha256(ONE)),)
    assert store.image(empty).names == ()


def test_python_s_own_tars_are_read(store: Store, tmp_path: Path) -> None:
    source = archives.write(archives.docker(ONE, TWO), tmp_path / "files")
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "a.tar", "w", format=form) as tar:
            tar.add(source, arcname=".")
        (loaded,) = load_archive(store, str(tmp_path / "a.tar"))
        assert [name.tagged() for name in loaded.names] == ["app:v1"]


def test_what_newer_dockers_save(store: Store, tmp_path: Path) -> None:
    """A layout with plain layers, Docker's manifest beside it, and blobs of both."""
    made, document = Layout(), archives.config(ONE, TWO)
    plain = [made.put(each, "layer.v1.tar") for each in (ONE, TWO)]
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": made.put(document, "config.v1+json"),
        "layers": plain,
    }
    described = made.put(json.dumps(manifest).encode(), "manifest.v1+json")
    made.add(described, "docker.io/library/app:v1", "v1")
    line = {
        "Config": archives.blob(document),
        "RepoTags": ["app:v1"],
        "Layers": [archives.blob(ONE), archives.blob(TWO)],
        "LayerSources": {layer["digest"]: layer for layer in plain},
    }
    both = {
        **made.done(),
        "manifest.json": json.dumps([line]).encode(),
        "repositories": b'{"app":{"v1":"00"}}',
    }
    (loaded,) = load(store, tars.directory(b"blobs") + archives.tar(both), tmp_path)
    assert loaded == Loaded(sha256(document), (Reference.parse("app:v1"),))
    only_docker = {name: data for name, data in both.items() if name != "index.json"}
    assert load(store, archives.tar(only_docker), tmp_path) == (loaded,)
