"""`lamina df`: what is there, what is shared, what could go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.cli import Lamina

pytestmark = [pytest.mark.namespaces, pytest.mark.any_user]

DOCKERFILE = """\
FROM busybox AS made
RUN --mount=type=cache,target=/cache,id=kept\x1b head -c 2000000 /dev/zero | tee /cache/c > /made
FROM busybox
COPY --from=made /made /copied
"""


def document(lamina: Lamina, *options: str) -> dict[str, Any]:
    found = json.loads(lamina("df", "--json", *options).stdout)
    assert isinstance(found, dict)
    return found


def test_an_empty_store_has_nothing(tmp_path: Path) -> None:
    lamina = Lamina(root=tmp_path / "store", temporary=tmp_path)
    kinds = document(lamina)["kinds"]
    assert all(kind["total"] == kind["bytes"] == 0 for kind in kinds.values())


def test_what_there_is_and_what_it_is_for(private_lamina: Lamina, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    private_lamina.build(tmp_path, "app")
    private_lamina("run", "busybox", "true")

    found = document(private_lamina, "-v")
    kinds = found["kinds"]
    assert (kinds["images"]["total"], kinds["images"]["active"]) == (2, 1)
    assert kinds["containers"]["total"] == 1
    assert kinds["cache_mounts"]["total"] == 1
    assert kinds["cache_mounts"]["bytes"] >= 2_000_000
    assert kinds["unreferenced"]["total"] == 0
    # The stage's layer is kept by its record alone, the copied one by the image.
    assert kinds["build_cache"]["active"] == kinds["build_cache"]["total"] - 1
    assert 2_000_000 <= kinds["build_cache"]["bytes"] < 3_000_000
    assert kinds["build_cache"]["reclaimable"]["bytes"] == kinds["build_cache"]["bytes"]

    layers = {layer["diff_id"]: layer for layer in found["layers"]}
    assert found["total"]["bytes"] == found["database"]["bytes"] + sum(
        kind["bytes"] for kind in kinds.values()
    )
    images = {image["names"][0]: image for image in found["images"]}
    base = layers[images["busybox"]["layers"][0]]
    assert base["containers"] == [found["containers"][0]["id"]]
    assert sorted(base["images"]) == sorted(image["id"] for image in found["images"])
    app = images["app"]
    assert app["shared"]["bytes"] == base["bytes"] == images["busybox"]["shared"]["bytes"]
    assert app["unique"]["bytes"] >= 2_000_000
    (step,) = [s for layer in found["layers"] for s in layer["steps"] if s["kind"] == "run"]
    assert step["seconds"] > 0
    assert found["cache_mounts"][0]["id"] == "kept\x1b"


def test_the_tables(private_lamina: Lamina, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    private_lamina.build(tmp_path, "app")
    rows = private_lamina("df").stdout.splitlines()
    assert rows[0].split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert [row.split("  ")[0] for row in rows[1:]] == [
        "Images", "Containers", "Local Volumes", "Build Cache", "Cache Mounts", "Unreferenced",
    ]  # fmt: skip
    lines = [
        json.loads(line)
        for line in private_lamina("df", "--format", "json").stdout.split("\n")
        if line
    ]
    assert lines[0]["Type"] == "Images"
    assert lines[0]["TotalCount"] == "2"
    assert lines[0]["Reclaimable"].endswith("(100%)")
    shown = private_lamina("df", "-v").stdout
    assert "kept\N{REPLACEMENT CHARACTER}" in shown
    assert "\x1b" not in shown
    for title in ("Images:", "Layers:", "Build cache:", "Cache mounts:"):
        assert f"{title}\n\n" in shown
