"""`lamina cp` beside `docker cp`: the same arguments give the same files, or fail alike."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.bases import BUSYBOX, root_file_system
from support.cli import Lamina
from support.containers import Containers
from support.daemon import Docker

pytestmark = [pytest.mark.namespaces, pytest.mark.root, pytest.mark.xdist_group("docker")]

_SETUP = (
    "mkdir -p /c/dir/sub /c/empty; cd /c; echo f > file; echo s > dir/sub/f; ln -s file link; "
    "ln -s dir dirlink; ln -s nowhere dangling; ln -s /c/dir/sub abs; sleep 600"
)
FROM = (
    ("/c/file", "file"), ("/c/file", "dir"), ("/c/file", "new/"), ("/c/file", "no/such"),
    ("/c/dir", "new/"), ("/c/dir", "dir"), ("/c/dir", "file"), ("/c/dir/.", "new"),
    ("/c/dir/.", "dir"), ("/c/link", "new"), ("/c/dirlink/", "new"), ("/c/dirlink/.", "dir"),
    ("/c/none", "new"), ("c/../c/./file", "new"),
)  # fmt: skip
TO = (
    ("file", "/c/file"), ("file", "/c/dir"), ("file", "/c/no/such"), ("dir", "/c/new/"),
    ("dir", "/c/dir"), ("dir", "/c/file"), ("dir/.", "/c/new"), ("dir/.", "/c/dir"),
    ("file", "/c/link"), ("file", "/c/dirlink"), ("dir", "/c/abs"), ("file", "/c/dangling"),
    ("link", "c/new"),
)  # fmt: skip


@pytest.fixture(scope="module")
def pair(
    lamina: Lamina, docker: Docker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """Two containers with the same files: lamina's and docker's."""
    made = Containers(lamina)
    ours = made.sh("one", _SETUP, "--network", "none")
    theirs = f"{ours}-docker"
    docker("import", root_file_system(BUSYBOX), theirs)
    words = ("run", "-d", "--name", theirs, "--network", "none", theirs, "sh", "-c", _SETUP)
    docker(*words)
    yield ours, theirs
    made.remove_all()
    docker("rm", "-f", theirs)


def listed(text: str) -> list[str]:
    return sorted(text.splitlines())


def files(folder: Path) -> list[str]:
    """What is in a folder: kinds, contents and targets."""
    shown = subprocess.run(
        ["sh", "-c", _LIST], cwd=folder, check=True, stdout=subprocess.PIPE, encoding="utf-8"
    )
    return listed(shown.stdout)


_LIST = (
    'find . | while read -r p; do if [ -L "$p" ]; then echo "$p -> $(readlink "$p")"; '
    'elif [ -d "$p" ]; then echo "$p/"; else echo "$p: $(cat "$p")"; fi; done'
)


def here(folder: Path) -> Path:
    """A folder of the host's, the same each time."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "dir" / "sub").mkdir(parents=True)
    (folder / "file").write_text("mine\n")
    (folder / "dir" / "sub" / "g").write_text("g\n")
    (folder / "link").symlink_to("file")
    return folder


@pytest.mark.parametrize(("source", "destination"), FROM)
def test_from_a_container(
    lamina: Lamina, docker: Docker, pair: tuple[str, str], tmp_path: Path, source: str,
    destination: str,
) -> None:  # fmt: skip
    ours, theirs = pair
    one, two = here(tmp_path / "one"), here(tmp_path / "two")
    status = lamina("cp", f"{ours}:{source}", f"{one}/{destination}", status=None).status
    assert (status == 0) == docker_works(docker, f"{theirs}:{source}", f"{two}/{destination}")
    assert files(one) == files(two)


@pytest.mark.parametrize(("source", "destination"), TO)
def test_to_a_container(
    lamina: Lamina, docker: Docker, pair: tuple[str, str], tmp_path: Path, source: str,
    destination: str,
) -> None:  # fmt: skip
    ours, theirs = pair
    folder = here(tmp_path / "one")
    status = lamina("cp", f"{folder}/{source}", f"{ours}:{destination}", status=None).status
    works = docker_works(docker, f"{folder}/{source}", f"{theirs}:{destination}")
    reset = _SETUP.removesuffix("sleep 600")
    look = f"cd /c; {_LIST}; rm -rf /c; {reset}"
    said = lamina("exec", ours, "sh", "-c", look).stdout
    assert (status == 0, listed(said)) == (works, listed(docker("exec", theirs, "sh", "-c", look)))


def docker_works(docker: Docker, source: str, destination: str) -> bool:
    environment = os.environ | {"DOCKER_HOST": docker.host}
    words = [docker.client, "cp", source, destination]
    return subprocess.run(words, env=environment, capture_output=True).returncode == 0
