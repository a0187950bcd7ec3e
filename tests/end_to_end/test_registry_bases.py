"""Base images and images to run are fetched where they are missing, pinned, and not asked twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runtime.image.platform import default_platform
from support.archives import Layout, layer
from support.cli import Lamina
from support.registry import Registry
from support.registry_images import Hand

OWN, OTHER = "amd64", "arm64"
if default_platform().architecture != OWN:
    OWN, OTHER = default_platform().architecture, OWN
NOWHERE = "127.0.0.1:1/nobody/here:1"


def publish(registry: Registry, name: str, text: str, tag: str = "1") -> str:
    """An image with a file, for two platforms; its name."""
    layout = Layout()
    manifests = [
        layout.manifest(layer(f=f"{text} {architecture}"), architecture=architecture)
        | {"platform": {"os": "linux", "architecture": architecture}}
        for architecture in (OTHER, OWN)
    ]
    Hand(registry).publish(name, tag, layout, layout.index(*manifests))
    return f"{registry.host}/{name}:{tag}"


def built_file(lamina: Lamina, folder: Path, dockerfile: str, *options: str) -> str:
    """Build, and what the file in the result says."""
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(dockerfile)
    out = folder / "out"
    lamina.build(folder, "result", "--output", f"type=local,dest={out}", *options)
    return (out / "f").read_text()


def test_a_missing_base_is_fetched_and_pinned(
    bare_lamina: Lamina, registry: Registry, tmp_path: Path
) -> None:
    name = publish(registry, "bases/pinned", "one")
    told = tmp_path / "metadata.json"
    options = ("--metadata-file", str(told))
    assert built_file(bare_lamina, tmp_path / "a", f"FROM {name}\n", *options) == f"one {OWN}"
    sources = json.loads(told.read_text())["containerimage.buildinfo"]["sources"]
    digest = json.loads(Hand(registry).manifest("bases/pinned", "1"))
    assert digest["manifests"]
    assert [source["ref"] for source in sources] == [name]
    assert bare_lamina.inspect(name)["RepoDigests"] == [
        f"{name.rpartition(':')[0]}@{sources[0]['pin']}"
    ]
    publish(registry, "bases/pinned", "two")
    assert built_file(bare_lamina, tmp_path / "a", f"FROM {name}\n") == f"one {OWN}"
    assert built_file(bare_lamina, tmp_path / "a", f"FROM {name}\n", "--pull=newer") == f"one {OWN}"
    assert built_file(bare_lamina, tmp_path / "a", f"FROM {name}\n", "--pull") == f"two {OWN}"
    pin = f"{name}@{sources[0]['pin']}"
    assert built_file(bare_lamina, tmp_path / "a", f"FROM {pin}\n", "--pull=never") == f"one {OWN}"


def test_two_platforms_of_one_name_in_one_build(
    bare_lamina: Lamina, registry: Registry, tmp_path: Path
) -> None:
    name = publish(registry, "bases/two", "x")
    text = f"FROM --platform=linux/{OTHER} {name} AS other\nFROM {name}\nCOPY --from=other /f /f\n"
    assert built_file(bare_lamina, tmp_path / "a", text) == f"x {OTHER}"
    assert bare_lamina.inspect(name)["Architecture"] == OWN
    text = f"FROM {name}\n"
    both = built_file(bare_lamina, tmp_path / "b", text, "--platform", f"linux/{OTHER}")
    assert both == f"x {OTHER}"
    assert bare_lamina.inspect(name)["Architecture"] == OWN


def test_what_cannot_be_fetched_is_said(
    bare_lamina: Lamina, registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {registry.host}/bases/absent\n")
    said = bare_lamina.build(tmp_path, "x", status=1).stderr
    assert "failed to resolve source metadata" in said
    assert "HTTP 404" in said
    (tmp_path / "Dockerfile").write_text("FROM nosuchimage\n")
    assert "no such image: nosuchimage" in bare_lamina.build(tmp_path, "x", status=1).stderr
    name = publish(registry, "bases/platform", "x")
    (tmp_path / "Dockerfile").write_text(f"FROM --platform=linux/s390x {name}\n")
    said = bare_lamina.build(tmp_path, "x", status=1).stderr
    assert "no image for linux/s390x; there is linux/" in said


@pytest.mark.namespaces
def test_run_fetches_what_is_missing(
    bare_lamina: Lamina, registry: Registry, busybox_in_registry: str
) -> None:
    name = busybox_in_registry
    never = bare_lamina("run", "--rm", "--pull", "never", name, "true", status=125)
    assert "no such image" in never.stderr
    first = bare_lamina("run", "--rm", name, "echo", "ran")
    assert first.stdout == "ran\n"
    assert f"Fetching {name}" in first.stderr
    assert bare_lamina("run", "--rm", name, "echo", "ran").stderr == ""
    fresh = bare_lamina("run", "--rm", "--pull", "newer", name, "true")
    assert fresh.stderr == ""
    asked: dict[str, Any] = {"status": 125}
    gone = bare_lamina("run", "--rm", NOWHERE, "true", **asked)
    assert "127.0.0.1:1" in gone.stderr


@pytest.mark.namespaces
def test_fetching_says_nothing_if_so_asked(
    bare_lamina: Lamina, registry: Registry, busybox_in_registry: str
) -> None:
    name = busybox_in_registry
    first = bare_lamina("run", "--rm", "-q", name, "echo", "ran")
    assert (first.stdout, first.stderr) == ("ran\n", "")
    again = bare_lamina("run", "--rm", "--pull", "always", name, "true")
    assert f"Fetching {name}" in again.stderr
    made = bare_lamina("create", "--quiet", "--pull", "always", name)
    assert made.stderr == ""
    bare_lamina("rm", made.stdout.strip())
    gone = bare_lamina("run", "--rm", "-q", NOWHERE, "true", status=125)
    assert "127.0.0.1:1" in gone.stderr
    assert "Fetching" not in gone.stderr


@pytest.fixture(scope="module")
def busybox_in_registry(lamina: Lamina, registry: Registry) -> str:
    name = f"{registry.host}/bases/busybox:1"
    lamina("push", "busybox", name)
    return name
