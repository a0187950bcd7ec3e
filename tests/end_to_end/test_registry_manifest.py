"""`lamina manifest`: images of several platforms under one name in a registry."""

from __future__ import annotations

import json
from pathlib import Path

from support.cli import Lamina
from support.registry import Registry
from support.registry_images import Hand


def test_a_list_is_made_sent_and_pulled_from(
    bare_lamina: Lamina, registry: Registry, tmp_path: Path
) -> None:
    lamina, name = bare_lamina, f"{registry.host}/manifest/app:1"
    (tmp_path / "Dockerfile").write_text("FROM scratch\nARG TARGETARCH\nCOPY ${TARGETARCH} /f\n")
    ids = {}
    for architecture in ("amd64", "arm64"):
        (tmp_path / architecture).write_text(architecture)
        lamina.build(tmp_path, f"app:{architecture}", "--platform", f"linux/{architecture}")
        ids[architecture] = lamina.inspect(f"app:{architecture}")["Id"]
    lamina("manifest", "create", name, "app:amd64")
    assert "--amend" in lamina("manifest", "create", name, "app:arm64", status=2).stderr
    lamina("manifest", "add", name, "app:arm64")
    lamina("manifest", "add", name, "app:arm64")
    planned = json.loads(lamina("manifest", "inspect", name).stdout)
    assert [each["platform"]["architecture"] for each in planned["manifests"]] == list(ids)
    said = lamina("manifest", "push", name).stdout
    there = Hand(registry).manifest("manifest/app", "1")
    assert json.loads(there) == planned
    lamina("manifest", "rm", name)
    lamina("manifest", "push", name, status=1)
    assert json.loads(lamina("manifest", "inspect", name).stdout) == planned
    for architecture, image_id in ids.items():
        lamina("pull", "--platform", f"linux/{architecture}", name)
        assert lamina.inspect(name)["Id"] == image_id
        (digest,) = (d for d in lamina.inspect(name)["RepoDigests"] if d.split("@")[1] in said)
        assert digest.startswith(name.rpartition(":")[0])
