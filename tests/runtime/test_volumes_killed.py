"""A process may be killed at any step of making, filling and removing volumes."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

from runtime.containers.spec import VolumeMount
from runtime.containers.volume_fill import fill_volume
from runtime.containers.volumes import (
    create_volume,
    list_volumes,
    read_volume,
    remove_volume,
    volume_names,
)
from runtime.image.layer.decompression import open_decompressed
from runtime.image.layer.extract import extract_layer
from runtime.image.layer.tree_form import TreeForm
from runtime.image.layer.view import View
from runtime.image.store.store import open_store
from support.kills import connect_unsynced, killed_at

PRELOADED = (open_decompressed, extract_layer)
"""Imported here so that importing is none of the steps."""
_FILES = ["a", "b", "deep"]


def scenario(root: str) -> None:
    """A volume that is filled, and one that is made and removed."""
    view = View([TreeForm(f"{os.path.dirname(root)}/image")])
    with open_store(root) as store:
        filled = create_volume(store, "filled")
        mount = VolumeMount(target="/data", name="filled")
        fill_volume(store, filled, mount, view, user="0" * 64)
        gone = create_volume(store, "gone", labels=(("a", "b"),))
        Path(gone.data, "file").write_text("x")
        remove_volume(store, "gone")


def wrong(root: str) -> list[str]:
    """What must not be, after somebody was killed and the store was opened again."""
    with open_store(root):
        left = [name for name in os.listdir(f"{root}/work") if "-" in name]
    found = [f"workspaces: {left}"] if len(left) > 1 else []
    for name in volume_names(root):
        volume = read_volume(root, name)
        if volume is None:
            found.append(f"{name} has no record")
        elif name == "filled" and sorted(os.listdir(volume.data)) not in ([], _FILES):
            found.append(f"{name} is half filled: {os.listdir(volume.data)}")
    return found


def kill_everywhere(directory: str) -> dict[str, object]:
    setattr(sqlite3, "connect", connect_unsynced)  # noqa: B010
    data = Path(directory, "image", "data")
    (data / "deep").mkdir(parents=True)
    for name in ("a", "b", "deep/c"):
        (data / name).write_text(name)
    found: dict[str, list[str]] = {}
    steps, killed = 0, True
    while killed:
        steps += 1
        root = f"{directory}/{steps}"
        killed = killed_at(steps, scenario, root)
        faults = wrong(root)
        scenario(root)
        faults += wrong(root)
        if [volume.name for volume in list_volumes(root)] != ["filled"]:
            faults.append(f"there are {volume_names(root)}")
        if sorted(os.listdir(f"{root}/volumes/filled/_data")) != _FILES:
            faults.append("it is not filled")
        if faults:
            found[str(steps)] = faults
    return {"steps": steps, "found": found}


def test_a_process_may_be_killed_at_any_step(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    words = [sys.executable, __file__, str(tmp_path)]
    shown = subprocess.run(words, env=environment, stdout=subprocess.PIPE, check=True)
    result = json.loads(shown.stdout)
    assert result["found"] == {}
    assert result["steps"] > 60


if __name__ == "__main__":
    print(json.dumps(kill_everywhere(sys.argv[1])))
