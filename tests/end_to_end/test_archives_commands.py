"""`lamina save` and `load`, as commands."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import tarfile
from pathlib import Path

import pytest

from support.cli import Lamina

pytestmark = [pytest.mark.namespaces, pytest.mark.any_user]


@pytest.fixture
def images(private_lamina: Lamina, tmp_path: Path) -> Lamina:
    """`app:1` and `app:2` on one base, and `other:1`, the same image as `app:1`."""
    for number in ("1", "2"):
        (tmp_path / "Dockerfile").write_text(
            f'FROM busybox\nRUN echo {number} > /number\nCMD ["cat", "/number"]\n'
        )
        private_lamina.build(tmp_path, f"app:{number}")
    private_lamina("tag", "app:1", "test.com/other:1")
    return private_lamina


def saved(path: Path) -> list[list[str]]:
    with tarfile.open(path) as tar:
        names = tar.getnames()
        assert len(names) == len(set(names))
        file = tar.extractfile("manifest.json")
        assert file is not None
        return [line["RepoTags"] for line in json.load(file)]


def test_several_images_travel_in_one_archive(
    images: Lamina, another_private_lamina: Lamina, tmp_path: Path
) -> None:
    out, there = tmp_path / "out.tar", another_private_lamina
    images("save", "-o", out, "app:1", "app:2", "test.com/other:1")
    assert saved(out) == [["app:1", "test.com/other:1"], ["app:2"]]
    with tarfile.open(out) as tar:
        members = [name for name in tar.getnames() if name.startswith("blobs/sha256/")]
    assert len(members) == 7  # three layers, of which one is shared, two configs, two manifests
    told = there("load", "-i", out).stdout
    assert told == "".join(
        f"Loaded image: {name}\n" for name in ("app:1", "test.com/other:1", "app:2")
    )
    for name in ("app:1", "app:2", "test.com/other:1"):
        assert there.inspect(name) == images.inspect(name)
        assert there("run", "--rm", name).stdout == name[-1] + "\n"
    again = tmp_path / "again.tar"
    there("save", "-o", again, "app:1", "app:2", "test.com/other:1")
    assert again.read_bytes() == out.read_bytes()


def test_a_name_without_a_tag_means_all_of_them(images: Lamina, tmp_path: Path) -> None:
    out = tmp_path / "out.tar"
    images("save", "--output", out, "app")
    assert saved(out) == [["app:1"], ["app:2"]]
    images("save", "-o", out, images.inspect("app:2")["Id"])
    assert saved(out) == [None]
    assert "no such image: none" in images("save", "-o", out, "none", status=1).text
    assert saved(out) == [None]


def test_a_pipe_between_two_stores(images: Lamina, another_private_lamina: Lamina) -> None:
    save, load = images.command("save", "app:1"), another_private_lamina.command("load")
    environment = images.environment(None)
    with subprocess.Popen(save, stdout=subprocess.PIPE, env=environment) as writer:
        loaded = subprocess.run(
            load, stdin=writer.stdout, capture_output=True, text=True, env=environment
        )
    assert (writer.returncode, loaded.returncode) == (0, 0), loaded.stderr
    assert loaded.stdout == "Loaded image: app:1\n"
    assert another_private_lamina("run", "--rm", "app:1").stdout == "1\n"


@pytest.mark.parametrize("compression", ["zstd", "uncompressed"])
def test_other_forms(
    images: Lamina, another_private_lamina: Lamina, tmp_path: Path, compression: str
) -> None:
    out, there = tmp_path / "layout", another_private_lamina
    options = ("--format", "oci-dir", "--compression", compression, "-o", out)
    images("save", *options, "app:1")
    images("save", *options, "app:2")
    assert there("load", "-q", "-i", out).stdout == "Loaded image: app:1\nLoaded image: app:2\n"
    assert there("run", "--rm", "app:2").stdout == "2\n"


def test_what_cannot_be_asked_for(images: Lamina, tmp_path: Path) -> None:
    refused = images("save", "--format", "docker-dir", "app:1", status=2)
    assert "'docker-dir' is not one of" in refused.text
    assert "needs a directory" in images("save", "--format", "oci-dir", "app:1", status=2).text
    options = ("--format", "docker-archive", "--compression", "zstd", "-o", tmp_path / "x")
    assert "cannot load an archive" in images("save", *options, "app:1", status=1).text
    assert "No such file" in images("load", "-i", tmp_path / "none", status=1).text
    assert "it is empty" in images("load", status=1).text
    platform = images("load", "--platform", "a/b/c/d", "-i", tmp_path, status=1)
    assert "invalid platform" in platform.text


def test_terminals_get_no_archives_and_give_none(images: Lamina) -> None:
    main, side = pty.openpty()
    try:
        for command, message in (("save", "refusing to write"), ("load", "is a terminal")):
            words = images.command(command, *(["app:1"] if command == "save" else []))
            done = subprocess.run(
                words, stdin=side, stdout=side, stderr=subprocess.PIPE, text=True, timeout=60,
                env=images.environment(None),
            )  # fmt: skip
            assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    finally:
        os.close(main)
        os.close(side)
