"""The ceiling of the store, which a build keeps: from files, the environment, and flags."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from support.cli import Lamina

pytestmark = [pytest.mark.namespaces, pytest.mark.any_user]

MEGABYTE = 1_000_000


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Where the settings are, and nothing else of the user's."""
    (tmp_path / "config/lamina").mkdir(parents=True)
    return tmp_path / "config"


def build(
    lamina: Lamina,
    config: Path,
    content: str,
    *options: str,
    status: int = 0,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Build an image with 3 MB in a layer of its own, and one that only the cache has."""
    context = config.parent / content
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text(
        "FROM busybox AS made\n"
        f"RUN yes {content} | head -c 3000000 > /made\n"
        "FROM busybox\nCOPY --from=made /made /made\n"
    )
    return lamina(
        "build", "--progress", "plain", "-t", content, *options, context,
        environment={"XDG_CONFIG_HOME": str(config), **(environment or {})}, status=status,
    ).text  # fmt: skip


def total(lamina: Lamina) -> int:
    return int(document(lamina)["total"]["bytes"])


def document(lamina: Lamina) -> dict[str, Any]:
    found = json.loads(lamina("df", "--json").stdout)
    assert isinstance(found, dict)
    return found


def settings(config: Path, text: str) -> None:
    (config / "lamina/lamina.toml").write_text(text)


def test_a_build_makes_room_after_it(private_lamina: Lamina, config: Path) -> None:
    lamina = private_lamina
    assert "ceiling" not in build(lamina, config, "one")
    most = total(lamina) + 4 * MEGABYTE
    settings(config, f"[store]\nmax-size = {most}\n")
    said = build(lamina, config, "two")
    assert said.index("built sha256:") < said.index("the store was over its ceiling: ")
    assert total(lamina) <= most
    for name in ("one", "two"):
        assert lamina("run", "--rm", name, "head", "-1", "/made").stdout == f"{name}\n"
    lamina("fsck")


def test_a_build_makes_room_before_it(private_lamina: Lamina, config: Path) -> None:
    """Even one that fails: and what it says comes before its steps."""
    build(private_lamina, config, "one")
    context = config.parent / "failing"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM busybox\nRUN false\n")
    before = total(private_lamina)
    said = private_lamina(
        "build", "--progress", "plain", "--store-max-size", str(before - 2 * MEGABYTE), context,
        environment={"XDG_CONFIG_HOME": str(config)}, status=1,
    ).text  # fmt: skip
    assert said.index("over its ceiling") < said.index("RUN false")
    assert total(private_lamina) <= before - 2 * MEGABYTE


def test_flags_beat_the_environment_beats_the_file(private_lamina: Lamina, config: Path) -> None:
    lamina = private_lamina
    build(lamina, config, "one")
    settings(config, "[store]\nmax-size = 1\n")
    none = {"LAMINA_STORE_MAX_SIZE": "none"}
    assert "ceiling" not in build(lamina, config, "one", "--no-cache", environment=none)
    huge = {"LAMINA_STORE_MAX_SIZE": "1t"}
    assert "ceiling" not in build(lamina, config, "one", "--no-cache", environment=huge)
    said = build(lamina, config, "one", "--no-cache", "--store-max-inodes=1", environment=huge)
    assert "the store is over its ceiling with " in said
    assert "what is left is in use or has a name" in said
    assert "ceiling" in build(lamina, config, "one", "--no-cache")
    lamina("fsck")


@pytest.mark.root
def test_images_without_a_name_go_but_not_at_once(private_lamina: Lamina, config: Path) -> None:
    lamina = private_lamina
    build(lamina, config, "one")
    lamina("tag", "one", "other")
    lamina("rmi", "one")
    (image,) = {i["Id"] for i in json.loads(lamina("inspect", "other").stdout)}
    database = lamina.root / "store.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as rows:
        rows.execute("DELETE FROM names WHERE image = ?", (image,))
    build(lamina, config, "two", "--store-max-size=1")
    assert document(lamina)["kinds"]["images"]["total"] == 3
    with closing(sqlite3.connect(database, isolation_level=None)) as rows:
        rows.execute("UPDATE images SET last_used = last_used - 7200 WHERE id = ?", (image,))
    build(lamina, config, "two", "--store-max-size=1", "--no-cache")
    assert document(lamina)["kinds"]["images"]["total"] == 2
    lamina("fsck")


def test_a_file_that_says_nonsense_is_refused(private_lamina: Lamina, config: Path) -> None:
    settings(config, '[store]\nmax-sise = "1g"\n')
    said = build(private_lamina, config, "one", status=1)
    assert f"ERROR: {config}/lamina/lamina.toml:2: [store]: unknown key 'max-sise'" in said
    assert "hint: did you mean max-size?" in said
    for option in ("--store-max-size=much", "--store-max-inodes=-1"):
        settings(config, "")
        build(private_lamina, config, "one", option, status=2)
