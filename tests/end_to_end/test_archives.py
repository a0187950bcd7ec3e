"""What lamina writes, others take: skopeo, umoci and docker find in it what lamina finds."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.cli import Lamina
from support.daemon import Docker
from support.fixtures import FOLDER
from support.probes import need_tool

pytestmark = pytest.mark.namespaces

FORMATS = ("oci", "docker")


@pytest.fixture(scope="module")
def image(lamina: Lamina) -> str:
    """An image with a bit of everything: a user, files of its own, hard links, a whiteout."""
    lamina.build(FOLDER / "static-site", "archived")
    return "archived"


def archive(lamina: Lamina, form: str, folder: Path) -> Path:
    """The image again, as an archive: everything in it comes from the cache."""
    path = folder / f"{form}.tar"
    output = f"type={form},dest={path}"
    lamina.build(FOLDER / "static-site", "archived", "--output", output)
    return path


def run(*command: str | Path) -> str:
    process = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8"
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def config_of(document: dict[str, Any]) -> dict[str, Any]:
    """What of an image's config says something: absent, null, false and empty are one."""
    return {key: value for key, value in document.items() if value}


@pytest.mark.parametrize("form", FORMATS)
def test_skopeo_reads_it(lamina: Lamina, image: str, form: str, tmp_path: Path) -> None:
    skopeo = need_tool("skopeo")
    source = f"{form}-archive:{archive(lamina, form, tmp_path)}"
    description = lamina.inspect(image)
    told = json.loads(run(skopeo, "inspect", "--config", "--raw", source))
    assert config_of(told["config"]) == config_of(description["Config"])
    assert told["rootfs"]["diff_ids"] == description["RootFS"]["Layers"]
    summary = json.loads(run(skopeo, "inspect", source))
    assert len(summary["Layers"]) == len(description["RootFS"]["Layers"])
    # Copying verifies every digest and size on the way.
    run(skopeo, "copy", "--quiet", source, f"dir:{tmp_path}/copied")


def test_umoci_unpacks_it(lamina: Lamina, image: str, tmp_path: Path) -> None:
    umoci, skopeo = need_tool("umoci"), need_tool("skopeo")
    source = f"oci-archive:{archive(lamina, 'oci', tmp_path)}"
    run(skopeo, "copy", "--quiet", source, f"oci:{tmp_path}/layout:image")
    rootless = () if os.geteuid() == 0 else ("--rootless",)
    bundle = tmp_path / "bundle"
    run(umoci, "unpack", *rootless, "--image", f"{tmp_path}/layout:image", bundle)
    root = bundle / "rootfs"
    listed = lamina("run", "--rm", image, "find", "/var", "-type", "f").stdout.split()
    unpacked = [f"/{p.relative_to(root)}" for p in (root / "var").rglob("*") if p.is_file()]
    assert sorted(unpacked) == sorted(listed)
    page = (root / "var/www/index.html").read_text()
    assert page == lamina("run", "--rm", image, "cat", "/var/www/index.html").stdout
    assert (root / "bin/busybox").samefile(root / "bin/sh")


def test_the_same_image_gives_the_same_archive(lamina: Lamina, image: str, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    one, two = (archive(lamina, "oci", folder).read_bytes() for folder in folders)
    assert one == two


@pytest.mark.root
@pytest.mark.xdist_group("docker")
@pytest.mark.parametrize("form", FORMATS)
def test_docker_runs_it(
    lamina: Lamina, image: str, docker: Docker, form: str, tmp_path: Path
) -> None:
    docker("load", "--input", archive(lamina, form, tmp_path))
    (there,) = json.loads(docker("inspect", "archived"))
    here = lamina.inspect(image)
    ours = {"User", "ExposedPorts", "Env", "Cmd", "WorkingDir", "Labels", "StopSignal"}
    assert {k: there["Config"][k] for k in ours} == {k: here["Config"][k] for k in ours}
    assert there["RootFS"]["Layers"] == here["RootFS"]["Layers"]
    script = "id; pwd; env | sort | grep -v HOSTNAME; ls -lR --full-time /var; cat *.html"
    words = ("sh", "-c", script)
    run_there = docker("run", "--rm", "--network", "none", "archived", *words)
    assert run_there == lamina("run", "--rm", "--network", "none", image, *words).stdout
    docker("rmi", "archived")
