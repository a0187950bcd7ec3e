"""`lamina export`: what a container has become, as a tar."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest

from support.cli import Lamina
from support.filetrees import tree_of_tar

pytestmark = [pytest.mark.namespaces, pytest.mark.any_user]

SCRIPT = """
rm /etc/passwd; rm -r /var; mkdir /var; echo new > /var/new
ln /var/new /var/linked; ln -s new /var/link; chown 7:8 /var/new; chmod 4755 /var/new
mkfifo /pipe; touch -d @1000000000 /old; mkdir -m 1777 /sticky; echo gone > /tmp/gone; rm /tmp/gone
"""


@pytest.fixture
def changed(private_lamina: Lamina) -> Lamina:
    private_lamina("run", "--name", "changed", "busybox", "sh", "-c", SCRIPT)
    return private_lamina


def test_the_image_and_the_changes(changed: Lamina, tmp_path: Path) -> None:
    out = tmp_path / "out.tar"
    changed("export", "-o", out, "changed")
    tree = tree_of_tar(out)
    assert "etc/passwd" not in tree
    assert {path for path in tree if path.startswith("var/")} == {
        "var/new", "var/linked", "var/link",
    }  # fmt: skip
    new = tree["var/new"]
    assert (new.mode, new.uid, new.gid) == (0o4755, 7, 8)
    assert new.links == ("var/linked", "var/new")
    assert (tree["var/link"].kind, tree["var/link"].target) == ("l", "new")
    assert (tree["pipe"].kind, tree["sticky"].mode) == ("p", 0o1777)
    assert tree["old"].mtime == 1_000_000_000
    assert "tmp/gone" not in tree
    assert tree["bin/busybox"].kind == "-"
    with tarfile.open(out) as tar:
        assert tar.getnames() == sorted(tar.getnames())


def test_an_image_is_made_of_it(changed: Lamina, tmp_path: Path) -> None:
    out = tmp_path / "out.tar"
    environment = changed.environment(None)
    with out.open("wb") as file:
        subprocess.run(
            changed.command("export", "changed"), stdout=file, check=True, env=environment
        )
    changed("import", out, "again")
    assert changed("run", "--rm", "again", "cat", "/var/linked").stdout == "new\n"
    assert len(changed.inspect("again")["RootFS"]["Layers"]) == 1
    changed("create", "--name", "unchanged", "again", "true")
    changed("export", "-o", tmp_path / "again.tar", "unchanged")
    assert (tmp_path / "again.tar").read_bytes() == out.read_bytes()


def test_a_running_container(private_lamina: Lamina, tmp_path: Path) -> None:
    words = ("sh", "-c", "echo here > /here; exec sleep 100")
    private_lamina("run", "-d", "--name", "running", "busybox", *words)
    try:
        out = tmp_path / "out.tar"
        private_lamina("export", "-o", out, "running")
        assert "bin/busybox" in tree_of_tar(out)
    finally:
        private_lamina("rm", "-f", "running")


def test_there_has_to_be_one(private_lamina: Lamina, tmp_path: Path) -> None:
    refused = private_lamina("export", "-o", tmp_path / "out", "none", status=1)
    assert "no such container" in refused.text.lower()
    assert not (tmp_path / "out").exists()
