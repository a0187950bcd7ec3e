"""Every pair of lamina and another tool, there and back, through archives.

The image has everything a layer can hold. At each stop its diff IDs, its config and its file
tree, path by path, are what they were, and where a tool runs containers one is run.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from support.cli import Lamina
from support.daemon import Docker
from support.filetrees import tree_of_directory
from support.interop import (
    CAPABILITY,
    NAME,
    SCRIPT,
    Original,
    OtherTool,
    buildah_has_the_same,
    copied,
    docker_has_the_same,
    podman_has_the_same,
    returned,
    run,
    said_by,
    tree_in,
)
from support.probes import need_tool

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.root,
    pytest.mark.xdist_group("docker"),
]


def test_the_image_has_everything(original: Original) -> None:
    data = {path: seen for path, seen in original.tree.items() if path.startswith("data/")}
    assert {seen.kind for seen in data.values()} == set("-dlpc")
    assert data["data/capable"].xattrs == (("security.capability", CAPABILITY),)
    assert data["data/file"].links == ("data/file", "data/hard")
    assert data["data/program"].links == ("data/linked", "data/program")
    assert "data/removed" not in data
    assert "data/hidden/below" not in data
    assert data["data/old"].mtime == -5 or data["data/old"].mtime > 0
    assert original.said.startswith("1000\n/data\nhello world\n")


@pytest.fixture(scope="module")
def in_docker(docker: Docker, original: Original) -> Docker:
    docker("load", "--input", original.archive)
    return docker


def test_docker_has_the_same(in_docker: Docker, original: Original, tmp_path: Path) -> None:
    docker_has_the_same(in_docker, original, NAME, tmp_path)


def test_from_docker(
    in_docker: Docker, original: Original, private_lamina: Lamina, tmp_path: Path
) -> None:
    in_docker("save", "--output", tmp_path / "out.tar", NAME)
    returned(private_lamina, original, tmp_path / "out.tar")


def test_what_docker_builds(
    in_docker: Docker, original: Original, private_lamina: Lamina, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(
        f"FROM {NAME}\nUSER 0\nRUN rm -rf big hidden && mkdir hidden && cp -a file copied\n"
    )
    in_docker("build", "--tag", "built:1", "--network", "none", tmp_path,
              environment={"DOCKER_BUILDKIT": "0"})  # fmt: skip
    in_docker("save", "--output", tmp_path / "out.tar", "built:1", NAME)
    private_lamina("load", "-i", tmp_path / "out.tar")
    assert private_lamina.inspect(NAME)["Id"] == original.told["Id"]
    assert private_lamina.inspect("built:1")["Id"] == in_docker.image_id("built:1")
    tree = tree_in(private_lamina, "built:1")
    assert "data/big/owner" not in tree
    assert "data/hidden/new" not in tree
    words = ("run", "--rm", "--network", "none", "built:1", SCRIPT)
    assert private_lamina(*words).stdout == in_docker(*words)


@pytest.fixture(scope="module")
def in_podman(podman: OtherTool, original: Original) -> OtherTool:
    assert podman("load", "--input", original.archive) == f"Loaded image: {NAME}\n"
    return podman


def test_podman_has_the_same(in_podman: OtherTool, original: Original) -> None:
    podman_has_the_same(in_podman, original, NAME)


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci-dir"])
def test_from_podman(
    in_podman: OtherTool,
    original: Original,
    private_lamina: Lamina,
    tmp_path: Path,
    form: str,
) -> None:
    out = tmp_path / "out"
    in_podman("save", "--format", form, "--output", out, NAME)
    returned(private_lamina, original, out)


@pytest.mark.parametrize(
    ("source", "target"),
    [("oci-archive", "docker-archive"), ("docker-archive", "oci-archive"), ("oci-archive", "oci")],
)
def test_skopeo_there_and_back(
    original: Original, private_lamina: Lamina, tmp_path: Path, source: str, target: str
) -> None:
    out = tmp_path / "out"
    copied(f"{source}:{original.archive}", f"{target}:{out}:{NAME}")
    returned(private_lamina, original, out)


def test_umoci_there_and_back(
    lamina: Lamina, original: Original, private_lamina: Lamina, tmp_path: Path
) -> None:
    umoci, layout, bundle = need_tool("umoci"), tmp_path / "layout", tmp_path / "bundle"
    lamina("save", "--format", "oci-dir", "-o", layout, NAME)
    run(umoci, "unpack", "--image", f"{layout}:v1", bundle)
    assert tree_of_directory(bundle / "rootfs") == original.tree
    returned(private_lamina, original, layout)
    data = bundle / "rootfs" / "data"
    (data / "renamed" / ("d" * 90) / ("f" * 200)).unlink()
    shutil.rmtree(data / "big")
    (data / "file").write_text("changed\n")
    os.utime(data / "file", (1, 1))  # umoci rounds what is between two seconds
    run(umoci, "repack", "--image", f"{layout}:v2", bundle)
    private_lamina("load", "-i", layout)
    changed = NAME.replace("v1", "v2")  # what umoci knows: it leaves the full name as it was
    assert tree_in(private_lamina, changed) == tree_of_directory(bundle / "rootfs")
    assert said_by(private_lamina, changed).endswith("changed\n")


@pytest.fixture(scope="module")
def in_buildah(buildah: OtherTool, original: Original) -> tuple[OtherTool, str]:
    return buildah, buildah("from", "--pull-never=false", f"oci-archive:{original.archive}").strip()


def test_buildah_has_the_same(in_buildah: tuple[OtherTool, str], original: Original) -> None:
    buildah_has_the_same(in_buildah[0], original, in_buildah[1])


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_from_buildah(
    in_buildah: tuple[OtherTool, str],
    original: Original,
    private_lamina: Lamina,
    tmp_path: Path,
    form: str,
) -> None:
    buildah, _ = in_buildah
    out = tmp_path / "out"
    buildah("push", "--quiet", original.told["Id"].removeprefix("sha256:"), f"{form}:{out}:{NAME}")
    returned(private_lamina, original, out)


def test_what_buildah_builds(
    in_buildah: tuple[OtherTool, str], private_lamina: Lamina, tmp_path: Path
) -> None:
    buildah, container = in_buildah
    script = "rm -rf big renamed; mkdir big; cp -a program copied; ln copied again"
    buildah("run", "--isolation", "chroot", "--user", "0", container, "--", "sh", "-c", script)
    buildah("commit", "--quiet", container, f"oci-archive:{tmp_path}/out:test.com/built:1")
    private_lamina("load", "-i", tmp_path / "out")
    expected = tree_of_directory(Path(buildah("mount", container).strip()))
    assert tree_in(private_lamina, "test.com/built:1") == expected
    assert expected["data/again"].links == ("data/again", "data/copied")
