"""Every pair of lamina and another tool, there and back, through a registry."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.cli import Lamina
from support.daemon import Docker
from support.filetrees import tree_of_directory
from support.interop import (
    NAME,
    Original,
    OtherTool,
    buildah_has_the_same,
    copied,
    docker_has_the_same,
    is_the_same,
    podman_has_the_same,
    run,
    said_by,
    tree_in,
)
from support.probes import need_tool
from support.registry import Registry

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.root,
    pytest.mark.xdist_group("docker"),
]
_PLAIN = "--tls-verify=false"


@pytest.fixture(scope="module")
def pushed(lamina: Lamina, original: Original, registry: Registry) -> str:
    """The name under which the registry has the image from lamina."""
    assert original.told
    name = f"{registry.host}/interop/ours:1"
    lamina("push", "--quiet", NAME, name)
    return name


def their_name(registry: Registry, tool: str) -> str:
    return f"{registry.host}/interop/{tool}:1"


def came_back(bare_lamina: Lamina, original: Original, name: str) -> None:
    bare_lamina("pull", "--quiet", name)
    is_the_same(bare_lamina, original, name)


def test_docker(
    docker: Docker,
    original: Original,
    pushed: str,
    registry: Registry,
    bare_lamina: Lamina,
    tmp_path: Path,
) -> None:
    docker("pull", "--quiet", pushed)
    docker_has_the_same(docker, original, pushed, tmp_path)
    theirs = their_name(registry, "docker")
    docker("tag", pushed, theirs)
    docker("push", "--quiet", theirs)
    came_back(bare_lamina, original, theirs)


def test_podman(
    podman: OtherTool, original: Original, pushed: str, registry: Registry, bare_lamina: Lamina
) -> None:
    podman("pull", "--quiet", _PLAIN, pushed)
    podman_has_the_same(podman, original, pushed)
    theirs = their_name(registry, "podman")
    podman("push", "--quiet", _PLAIN, pushed, theirs)
    came_back(bare_lamina, original, theirs)


def test_buildah(
    buildah: OtherTool, original: Original, pushed: str, registry: Registry, bare_lamina: Lamina
) -> None:
    container = buildah("from", "--quiet", _PLAIN, pushed).strip()
    buildah_has_the_same(buildah, original, container)
    theirs = their_name(registry, "buildah")
    buildah("push", "--quiet", _PLAIN, pushed, theirs)
    came_back(bare_lamina, original, theirs)


def test_skopeo(original: Original, pushed: str, registry: Registry, bare_lamina: Lamina) -> None:
    theirs = their_name(registry, "skopeo")
    copied("--src-tls-verify=false", "--dest-tls-verify=false", "--format", "v2s2",
           f"docker://{pushed}", f"docker://{theirs}")  # fmt: skip
    came_back(bare_lamina, original, theirs)


def test_umoci_by_way_of_skopeo(
    original: Original, pushed: str, registry: Registry, bare_lamina: Lamina, tmp_path: Path
) -> None:
    umoci, layout, bundle = need_tool("umoci"), tmp_path / "layout", tmp_path / "bundle"
    copied("--src-tls-verify=false", f"docker://{pushed}", f"oci:{layout}:v1")
    run(umoci, "unpack", "--image", f"{layout}:v1", bundle)
    assert tree_of_directory(bundle / "rootfs") == original.tree
    shutil.rmtree(bundle / "rootfs" / "data" / "big")
    run(umoci, "repack", "--image", f"{layout}:v2", bundle)
    theirs = their_name(registry, "umoci")
    copied("--dest-tls-verify=false", f"oci:{layout}:v2", f"docker://{theirs}")
    bare_lamina("pull", "--quiet", theirs)
    assert tree_in(bare_lamina, theirs) == tree_of_directory(bundle / "rootfs")
    assert said_by(bare_lamina, theirs).startswith("1000\n/data\n")
