"""Archives, read by the tools that will read them."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.image.archives.archive import write_archive, write_layout
from runtime.image.archives.outgoing import Outgoing
from runtime.image.digest import DiffID, sha256
from runtime.image.errors import ArchiveError, BlobCorrupt
from runtime.image.layer.pack import pack_tree
from runtime.image.layer.recipe import GZIP, UNCOMPRESSED, ZSTD, Recipe
from runtime.image.model import History, ImageConfig, RuntimeConfig
from runtime.image.new_file import new_file, write_all
from runtime.image.reference import DEFAULT_DOMAIN, Reference
from runtime.image.store.images import Image
from runtime.image.store.store import Store, open_store
from support.probes import need_tool

APP = Reference.parse("app:v1")
NAMES = [APP, Reference.parse("test.com/team/app:v2")]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "store")) as store:
        yield store


def make_image(store: Store, contents: tuple[str, ...] = ("one", "two")) -> Image:
    config = ImageConfig(
        architecture="amd64",
        created="2024-01-01T00:00:00Z",
        config=RuntimeConfig(env=(("PATH", "/bin"),), cmd=("/bin/sh",), labels=(("a", "<&>"),)),
    )
    for content in contents:
        with store.workspace() as space:
            tree = f"{space}/tree"
            os.makedirs(f"{tree}/directory")
            with open(f"{tree}/{content}", "w") as file:
                file.write(content * 100)
            os.symlink(content, f"{tree}/directory/ä link")
            layer = pack_tree(tree, None, mtime=1000, settle=True)
            store.add_tree(layer, tree)
        config = config.with_layer(layer.diff_id, History(created_by=f"COPY {content} /"))
    config = config.with_empty_layer(History(created_by="CMD sh"))
    return store.image(store.put_image(config))


def skopeo(*arguments: str) -> Any:
    command = [need_tool("skopeo"), "inspect", *arguments]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def read_tar(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        members = {}
        for member in tar:
            if member.isfile():
                file = tar.extractfile(member)
                assert file is not None
                members[member.name] = file.read()
        return members


@pytest.mark.parametrize("format", ["oci", "docker"])
def test_an_archive_is_an_oci_layout_and_what_docker_reads(
    store: Store, tmp_path: Path, format: str
) -> None:
    image = make_image(store)
    out = tmp_path / "image.tar"
    kind: Any = format
    digest = write_archive(store, [Outgoing(image, NAMES)], str(out), format=kind)[0].digest
    members = read_tar(out)
    assert list(members) == sorted(members)
    assert out.stat().st_size % 512 == 0
    for name, data in members.items():
        if name.startswith("blobs/"):
            assert sha256(data) == "sha256:" + name.removeprefix("blobs/sha256/")
    assert json.loads(members["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(members["index.json"])
    assert [entry["digest"] for entry in index["manifests"]] == [digest, digest]
    assert [entry["annotations"] for entry in index["manifests"]] == [
        {
            "io.containerd.image.name": f"{DEFAULT_DOMAIN}/library/app:v1",
            "org.opencontainers.image.ref.name": "v1",
        },
        {
            "io.containerd.image.name": "test.com/team/app:v2",
            "org.opencontainers.image.ref.name": "v2",
        },
    ]
    (docker,) = json.loads(members["manifest.json"])
    assert docker["RepoTags"] == ["app:v1", "test.com/team/app:v2"]
    assert members[docker["Config"]] == image.document
    assert len(docker["Layers"]) == 2
    assert set(docker["Layers"]) <= set(members)


def test_an_archive_is_a_function_of_the_image(tmp_path: Path) -> None:
    archives = []
    for turn in ("first", "second"):
        with open_store(str(tmp_path / turn)) as store:
            image = make_image(store)
            write_archive(store, [Outgoing(image, [APP])], str(tmp_path / f"{turn}.tar"))
        archives.append((tmp_path / f"{turn}.tar").read_bytes())
    assert archives[0] == archives[1]


@pytest.mark.parametrize("recipe", [GZIP, ZSTD, UNCOMPRESSED])
def test_skopeo_reads_an_archive(store: Store, tmp_path: Path, recipe: Recipe) -> None:
    image = make_image(store)
    out = tmp_path / "image.tar"
    digest = write_archive(store, [Outgoing(image, [APP])], str(out), recipe=recipe)[0].digest
    manifest = skopeo("--raw", f"oci-archive:{out}:v1")
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert skopeo("--config", "--raw", f"oci-archive:{out}:v1") == json.loads(image.document)
    assert skopeo(f"oci-archive:{out}:v1")["Digest"] == digest
    if recipe is not ZSTD:
        assert skopeo("--config", "--raw", f"docker-archive:{out}")["architecture"] == "amd64"
    copy = tmp_path / "copy"
    command = [need_tool("skopeo"), "copy", "--preserve-digests", f"oci-archive:{out}:v1"]
    subprocess.run([*command, f"oci:{copy}:v1"], stdout=subprocess.DEVNULL, check=True)
    assert skopeo(f"oci:{copy}:v1")["Digest"] == digest


def test_an_image_without_a_name_is_read_without_one(store: Store, tmp_path: Path) -> None:
    image = make_image(store)
    out = tmp_path / "image.tar"
    digest = write_archive(store, [Outgoing(image, [])], str(out))[0].digest
    assert json.loads(read_tar(out)["manifest.json"])[0]["RepoTags"] is None
    assert skopeo(f"oci-archive:{out}")["Digest"] == digest
    assert skopeo("--config", f"docker-archive:{out}")["os"] == "linux"


@pytest.mark.root
@pytest.mark.parametrize("recipe", [GZIP, UNCOMPRESSED])
def test_umoci_unpacks_a_layout(store: Store, tmp_path: Path, recipe: Recipe) -> None:
    image = make_image(store)
    layout = str(tmp_path / "layout")
    write_layout(store, [Outgoing(image, [APP])], layout, recipe=recipe)
    bundle = tmp_path / "bundle"
    command = [need_tool("umoci"), "unpack", "--image", f"{layout}:v1", str(bundle)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    assert (bundle / "rootfs/one").read_text() == "one" * 100
    assert (bundle / "rootfs/two").read_text() == "two" * 100
    assert (bundle / "rootfs/one").stat().st_mtime == 1000
    assert os.readlink(bundle / "rootfs/directory/ä link") == "two"
    config = json.loads((bundle / "config.json").read_text())
    assert config["process"]["args"] == ["/bin/sh"]


@pytest.mark.root
def test_buildah_reads_an_archive(store: Store, tmp_path: Path) -> None:
    image = make_image(store)
    out = tmp_path / "image.tar"
    write_archive(store, [Outgoing(image, [APP])], str(out))
    state = ["--root", str(tmp_path / "root"), "--runroot", str(tmp_path / "run")]
    command = [
        need_tool("buildah"),
        *state,
        "--storage-driver",
        "vfs",
        "pull",
        f"docker-archive:{out}",
    ]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    command = [
        need_tool("buildah"),
        *state,
        "--storage-driver",
        "vfs",
        "images",
        "--no-trunc",
        "-q",
    ]
    listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert listed.split() == [image.id]


def test_an_archive_can_go_down_a_pipe(store: Store, tmp_path: Path) -> None:
    image = make_image(store)
    write_archive(store, [Outgoing(image, [APP])], str(tmp_path / "image.tar"))
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cat:
        assert cat.stdin is not None
        write_archive(store, [Outgoing(image, [APP])], cat.stdin.fileno())
        data, _ = cat.communicate()
    assert data == (tmp_path / "image.tar").read_bytes()


def test_what_was_there_stays_if_an_archive_cannot_be_written(store: Store, tmp_path: Path) -> None:
    image = make_image(store)
    directory = tmp_path / "out"
    directory.mkdir()
    out = directory / "image.tar"
    out.write_text("before")
    blob = store.blob(image.config.diff_ids[0], GZIP)
    path = store.blob_path(blob.digest)
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.seek(blob.size // 2)
        file.write(b"\0\1\2\3")
    with pytest.raises(BlobCorrupt):
        write_archive(store, [Outgoing(image, [APP])], str(out))
    assert out.read_text() == "before"
    assert os.listdir(directory) == ["image.tar"]
    os.unlink(out)
    with pytest.raises(BlobCorrupt):
        write_archive(store, [Outgoing(image, [APP])], str(out))
    assert os.listdir(directory) == []


def test_docker_gets_no_zstd(store: Store, tmp_path: Path) -> None:
    image = make_image(store)
    with pytest.raises(ArchiveError, match="zstd"):
        write_archive(
            store,
            [Outgoing(image, [])],
            str(tmp_path / "x"),
            recipe=ZSTD,
            format="docker",
        )


def test_an_image_may_have_no_layers_or_the_same_twice(store: Store, tmp_path: Path) -> None:
    empty = store.image(store.put_image(ImageConfig(architecture="amd64")))
    write_archive(store, [Outgoing(empty, [APP])], str(tmp_path / "empty.tar"))
    assert skopeo(f"oci-archive:{tmp_path}/empty.tar:v1")["Layers"] == []
    config = make_image(store, ("one",)).config
    twice = config.with_layer(config.diff_ids[0], History())
    image = store.image(store.put_image(twice))
    write_archive(store, [Outgoing(image, [APP])], str(tmp_path / "twice.tar"))
    assert len(skopeo(f"oci-archive:{tmp_path}/twice.tar:v1")["Layers"]) == 2


def test_images_are_added_to_a_layout(store: Store, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    first, second = make_image(store), make_image(store, ("three",))
    write_layout(store, [Outgoing(first, NAMES)], str(layout))
    write_layout(store, [Outgoing(second, [APP])], str(layout))
    write_layout(store, [Outgoing(second, [APP])], str(layout))
    assert skopeo("--config", "--raw", f"oci:{layout}:v1") == json.loads(second.document)
    assert skopeo("--config", "--raw", f"oci:{layout}:v2") == json.loads(first.document)
    assert len(json.loads((layout / "index.json").read_text())["manifests"]) == 2


def test_a_directory_with_something_else_becomes_no_layout(store: Store, tmp_path: Path) -> None:
    image = make_image(store)
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents/letter").write_text("x")
    with pytest.raises(ArchiveError, match="no OCI image layout"):
        write_layout(store, [Outgoing(image, [APP])], str(tmp_path / "documents"))
    assert os.listdir(tmp_path / "documents") == ["letter"]


def test_a_new_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    with new_file(str(path)) as fd:
        write_all(fd, b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(TypeError), new_file(str(link)) as fd:
        write_all(fd, "half" if os.write(fd, b"half") else b"")  # type: ignore[arg-type]
    with new_file(str(link)) as fd:
        write_all(fd, b"new")
    assert link.is_symlink()
    assert path.read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path)) == ["link", path.name]
    with new_file("/dev/null") as fd:
        write_all(fd, b"into the dark")


def test_a_layer_that_is_lost_is_said_to_be(store: Store, tmp_path: Path) -> None:
    image = make_image(store)
    assert all(isinstance(diff_id, str) for diff_id in image.config.diff_ids)
    lost: DiffID = image.config.diff_ids[0]
    os.rename(store.tree(lost), tmp_path / "away")
    with open_store(store.root) as other, pytest.raises(Exception, match="not in the store"):
        write_archive(other, [Outgoing(image, [APP])], str(tmp_path / "image.tar"))
