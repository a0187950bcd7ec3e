"""`lamina fsck` on a store that was really used."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from support.cli import Lamina

pytestmark = pytest.mark.namespaces

DOCKERFILE = """\
FROM busybox
COPY Dockerfile /copied
RUN mkdir /made && echo made > /made/file && mkfifo /made/fifo && ln /made/file /made/link \\
    && chown 7:7 /made/link && rm /copied
"""


def in_store(lamina: Lamina, *command: str) -> None:
    """Do something to a store's files as their owner sees them."""
    enter = [] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--map-auto"]
    subprocess.run([*enter, *command], cwd=lamina.root, check=True)


def test_damage_is_found_mended_and_said(private_lamina: Lamina, tmp_path: Path) -> None:
    lamina = private_lamina
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    lamina.build(tmp_path, "app", "--output", f"type=oci,dest={tmp_path}/app.tar")
    lamina("run", "app", "true")
    said = lamina("fsck").stdout
    assert said.startswith("checked 3 layers (3 trees, ")
    assert said.endswith("nothing is wrong\n")

    trees = {
        diff_id: f"trees/{diff_id[7:]}" for diff_id in lamina.inspect("app")["RootFS"]["Layers"]
    }
    made = list(trees.values())[-1]
    in_store(lamina, "sh", "-c", f"echo other > {made}/made/file")
    found = json.loads(lamina("fsck", "--json", status=1).stdout)
    assert not found["sound"]
    assert [(fault["kind"], fault["mended"]) for fault in found["faults"]] == [("tree", False)]
    assert "(made again)\n" in lamina("fsck", "--repair").stdout
    lamina("fsck")
    assert lamina("run", "--rm", "app", "cat", "/made/link").stdout == "made\n"

    in_store(lamina, "rm", "-r", made)
    in_store(lamina, "sh", "-c", "for blob in blobs/sha256/*; do echo > $blob; done")
    said = lamina("fsck", "--repair", status=1).stdout
    assert "is lost (kept: build, pull or load it again, or remove it)" in said
    # A build gives the layers again, and the image is whole.
    lamina.build(tmp_path, "app")
    lamina("fsck")


def test_a_damaged_database_is_said(private_lamina: Lamina) -> None:
    for file in ("store.db", "store.db-wal"):
        in_store(private_lamina, "sh", "-c", f"[ ! -e {file} ] || head -c 9999 /dev/zero > {file}")
    said = private_lamina("fsck", status=1).stdout
    assert said.startswith("database store.db: ")
    assert "store.db.damaged" in private_lamina("fsck", "--repair", status=None).stdout
    private_lamina("fsck", "--repair")
    private_lamina("fsck")
