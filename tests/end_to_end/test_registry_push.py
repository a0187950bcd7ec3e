"""`lamina push` to a real registry: what travels, what does not, what others make of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from support.archives import Layout, layer
from support.cli import Lamina
from support.probes import need_tool
from support.registry import Registry
from support.registry_images import Hand, new_image


def skopeo(*arguments: str) -> str:
    command = [need_tool("skopeo"), *arguments]
    process = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_only_what_is_missing_travels(
    bare_lamina: Lamina, registry: Registry, tmp_path: Path
) -> None:
    lamina, name = bare_lamina, f"{registry.host}/push/missing:1"
    new_image(lamina, tmp_path, name, a="a")
    first = lamina("push", name)
    assert first.stderr.count("Pushed") == 2
    assert first.stdout.splitlines()[0].endswith(f"[{registry.host}/push/missing]")
    again = lamina("push", name)
    assert "Pushed" not in again.stderr
    assert again.stdout == first.stdout
    (tmp_path / "Dockerfile").write_text(f"FROM {name}\nCOPY Dockerfile /b\n")
    lamina.build(tmp_path, f"{registry.host}/push/missing:2")
    second = lamina("push", f"{registry.host}/push/missing:2")
    assert second.stderr.count("Already exists") == 1
    assert second.stderr.count("Pushed") == 2


def test_blobs_are_mounted_from_other_repositories(
    bare_lamina: Lamina, registry: Registry, tmp_path: Path
) -> None:
    name = f"{registry.host}/push/mounted"
    new_image(bare_lamina, tmp_path, f"{name}/one:1", m="m")
    bare_lamina("push", f"{name}/one:1")
    said = bare_lamina("push", f"{name}/one:1", f"{name}/two:1").stderr
    assert said.count("Mounted from another repository") == 2
    assert "Pushed" not in said


def test_what_came_goes_out_again_byte_for_byte(bare_lamina: Lamina, registry: Registry) -> None:
    layout, hand = Layout(), Hand(registry)
    digest = hand.publish("push/came", "1", layout, layout.manifest(layer(a="a"), author="x"))
    bare_lamina("pull", f"{registry.host}/push/came:1")
    bare_lamina("push", f"{registry.host}/push/came:1", f"{registry.host}/push/went:1")
    assert hand.manifest("push/went", "1") == hand.manifest("push/came", digest)


@pytest.mark.parametrize(
    ("options", "manifest", "suffix"),
    [
        ((), "application/vnd.oci.image.manifest.v1+json", "layer.v1.tar+gzip"),
        (
            ("--compression", "zstd"),
            "application/vnd.oci.image.manifest.v1+json",
            "layer.v1.tar+zstd",
        ),
        (
            ("--format", "docker"),
            "application/vnd.docker.distribution.manifest.v2+json",
            "diff.tar.gzip",
        ),
        (
            ("--format", "docker", "--compression", "uncompressed"),
            "application/vnd.docker.distribution.manifest.v2+json",
            "rootfs.diff.tar",
        ),
    ],
)
def test_forms_that_others_read(
    bare_lamina: Lamina,
    registry: Registry,
    tmp_path: Path,
    options: tuple[str, ...],
    manifest: str,
    suffix: str,
) -> None:
    tag = "-".join(options).strip("-") or "plain"
    name = f"{registry.host}/push/forms:{tag}"
    tar = new_image(bare_lamina, tmp_path, name, a="form")
    digest = tmp_path / "digest"
    bare_lamina("push", "--digestfile", digest, *options, name)
    document = json.loads(Hand(registry).manifest("push/forms", digest.read_text()))
    assert document["mediaType"] == manifest
    assert [each["mediaType"].endswith(suffix) for each in document["layers"]] == [True]
    copy = tmp_path / "copy"
    skopeo("copy", "--src-tls-verify=false", f"docker://{name}", f"oci:{copy}:x")
    there = json.loads(skopeo("inspect", "--config", f"oci:{copy}:x"))
    assert there["rootfs"]["diff_ids"] == bare_lamina.inspect(name)["RootFS"]["Layers"]
    bare_lamina("rmi", name)
    bare_lamina("pull", name)
    assert tar.exists()


def test_all_tags(bare_lamina: Lamina, registry: Registry, tmp_path: Path) -> None:
    repository = f"{registry.host}/push/tags"
    new_image(bare_lamina, tmp_path, f"{repository}:one", t="1")
    new_image(bare_lamina, tmp_path, f"{repository}:two", t="2")
    bare_lamina("push", "--all-tags", repository)
    listed = Hand(registry).ask("GET", "/v2/push/tags/tags/list").json()
    assert sorted(listed["tags"]) == ["one", "two"]
    assert "wishes" in bare_lamina("push", "-a", f"{repository}:one", status=2).stderr


def test_what_cannot_be_pushed(bare_lamina: Lamina, registry: Registry, tmp_path: Path) -> None:
    name = f"{registry.host}/push/refused:1"
    new_image(bare_lamina, tmp_path, name, r="r")
    digest = bare_lamina.inspect(name)["Id"]
    bare_lamina("push", name, f"{registry.host}/push/refused@{digest}", status=2)
    said = bare_lamina("push", "--format", "docker", "--compression", "zstd", name, status=1)
    assert "zstd" in said.stderr
    bare_lamina("push", f"{registry.host}/push/absent:1", status=1)


def test_a_build_pushes_its_result(bare_lamina: Lamina, registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    told = tmp_path / "metadata.json"
    names = [f"{registry.host}/push/built:{tag}" for tag in ("one", "two")]
    options = ("-t", names[1], "--push", "--annotation", "a.b=c", "--metadata-file", told)
    said = bare_lamina.build(tmp_path, names[0], *options).stderr
    metadata = json.loads(told.read_text())
    digest = metadata["containerimage.digest"]
    assert f"pushing manifest {digest}" in said
    assert f"{names[0]}: " in said
    for tag in ("one", "two"):
        document = json.loads(Hand(registry).manifest("push/built", tag))
        assert document["annotations"] == {"a.b": "c"}
    assert metadata["containerimage.descriptor"]["digest"] == digest
    assert "tag is needed" in bare_lamina("build", "--push", tmp_path, status=2).stderr
    output = f"type=image,name={registry.host}/push/digest,push-by-digest=true,push=true"
    bare_lamina("build", "--output", output, "--metadata-file", told, tmp_path)
    digest = json.loads(told.read_text())["containerimage.digest"]
    Hand(registry).manifest("push/digest", digest)
    assert not Hand(registry).ask("GET", "/v2/push/digest/tags/list").json().get("tags")
