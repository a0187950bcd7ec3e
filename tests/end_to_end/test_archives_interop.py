"""Every pair of lamina and another tool, there and back, through archives.

The image has everything a layer can hold. At each stop its diff IDs, its config and its file
tree, path by path, are what they were, and where a tool runs containers one is run.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runtime.image.store.store import open_store
from support.cli import Lamina
from support.daemon import Docker, docker_daemon
from support.filetrees import Tree, tree_of_directory, tree_of_tar, tree_of_view
from support.probes import need_tool

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.root,
    pytest.mark.xdist_group("docker"),
]

NAME = "test.com/interop/app:v1"
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
DOCKERFILE = """FROM busybox
ADD files.tar /data/
RUN rm /data/removed && rm -rf /data/hidden && mkdir /data/hidden && echo new > /data/hidden/new
RUN chmod 1777 /data/hidden && mv /data/long /data/renamed && ln /data/program /data/linked
ENV GREETING="hello world" EMPTY=
WORKDIR /data
USER 1000:1000
LABEL a.b="c <&> d" empty=""
EXPOSE 80 53/udp
VOLUME /volume
STOPSIGNAL SIGUSR1
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["cat file"]
"""
SCRIPT = (
    'id -u; pwd; echo "$GREETING"; find . | sort | xargs stat -c "%n %F %a %u:%g %s" ; cat file'
)
# What runtimes put into a container's root before it has run.
MADE_BY_DOCKER = {"dev", "proc", "sys", ".dockerenv", "volume", "etc/hostname", "etc/hosts"}
MADE_BY_DOCKER |= {"etc/resolv.conf", "etc/mtab"}


def files() -> bytes:
    """A tar with one of each: what an ADD keeps as it is."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.PAX_FORMAT) as tar:

        def put(name: str, kind: bytes = tarfile.REGTYPE, **fields: Any) -> None:
            member = tarfile.TarInfo(name)
            member.type, member.mtime = kind, 1_600_000_000
            data = fields.pop("data", b"")
            member.size = len(data)
            for field, value in fields.items():
                setattr(member, field, value)
            tar.addfile(member, io.BytesIO(data))

        put("file", data=b"content\n", mode=0o640, uid=1000, gid=1000)
        put("empty", mode=0)
        put("program", data=b"#!/bin/sh\n", mode=0o6755, uid=7, gid=8)
        name = "SCHILY.xattr.security.capability"
        text = CAPABILITY.decode("utf-8", "surrogateescape")
        put("capable", data=b"x", mode=0o755, pax_headers={name: text})
        put("hard", tarfile.LNKTYPE, linkname="file")
        put("absolute", tarfile.SYMTYPE, linkname="/data/file", mode=0o777)
        put("relative", tarfile.SYMTYPE, linkname="../data/./file", mode=0o777, uid=5)
        put("dangling", tarfile.SYMTYPE, linkname="/no/such", mode=0o777)
        put("pipe", tarfile.FIFOTYPE, mode=0o600)
        put("device", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)
        put("ünïcode \u2603", data=b"snow\n")
        put("big/owner", data=b"x", uid=3_000_000, gid=3_000_001)
        put("long/" + "d" * 90 + "/" + "f" * 200, data=b"deep\n")
        put("removed", data=b"gone\n")
        put("hidden/below", data=b"hidden\n")
        put("sticky", tarfile.DIRTYPE, mode=0o1777)
        put("old", data=b"before 1970", mtime=-5)
    return held.getvalue()


def run(*command: str | Path) -> str:
    process = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8"
    )
    assert process.returncode == 0, f"{command}\n{process.stdout}{process.stderr}"
    return process.stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """The image as lamina has it: saved, its description, its tree, what a container says."""

    archive: Path
    told: dict[str, Any]
    tree: Tree
    said: str


def tree_in(lamina: Lamina, name: str) -> Tree:
    with open_store(str(lamina.root)) as store:
        return tree_of_view(store.view(store.image(name).config.diff_ids))


def said_by(lamina: Lamina, name: str) -> str:
    return lamina("run", "--rm", "--network", "none", name, SCRIPT).stdout


@pytest.fixture(scope="module")
def folder(run_folder: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix="i-", dir=run_folder))


@pytest.fixture(scope="module")
def original(lamina: Lamina, folder: Path) -> Original:
    context = folder / "context"
    context.mkdir()
    (context / "files.tar").write_bytes(files())
    (context / "Dockerfile").write_text(DOCKERFILE)
    lamina.build(context, NAME)
    archive = folder / "original.tar"
    lamina("save", "-o", archive, NAME)
    return Original(
        archive=archive,
        told=lamina.inspect(NAME),
        tree=tree_in(lamina, NAME),
        said=said_by(lamina, NAME),
    )


@pytest.fixture(scope="module")
def docker(folder: Path) -> Iterator[Docker]:
    state = folder / "docker"
    state.mkdir()
    with docker_daemon(state) as running:
        yield running


class Containers:
    """podman or buildah, with state of their own; podman wants no more than 50 letters for it."""

    def __init__(self, tool: str, folder: Path) -> None:
        self._tool = need_tool(tool)
        words: list[str | Path] = ["--root", folder / tool, "--runroot", folder / tool[0]]
        if tool == "podman":
            words += ["--tmpdir", folder / "podman-tmp", "--events-backend", "none"]
            # Docker's runtime: podman's refuses machines with both versions of cgroups.
            words += ["--cgroup-manager", "cgroupfs", "--runtime", need_tool("runc")]
        self._words = [*words, "--storage-driver", "vfs"]

    def __call__(self, *arguments: str | Path) -> str:
        return run(self._tool, *self._words, *arguments)


@pytest.fixture(scope="module")
def podman(folder: Path) -> Containers:
    return Containers("podman", folder)


@pytest.fixture(scope="module")
def buildah(folder: Path) -> Containers:
    return Containers("buildah", folder)


def returned(lamina: Lamina, original: Original, source: Path, name: str = NAME) -> None:
    """An archive from elsewhere is loaded into an empty store, and is what it was."""
    told = lamina("load", "-i", source).stdout
    assert told == (f"Loaded image: {name}\n" if name else f"Loaded image ID: {told[17:]}")
    name = name or told[17:].strip()
    same_description(lamina.inspect(name), original.told)
    assert tree_in(lamina, name) == original.tree
    assert said_by(lamina, name) == original.said


def same_description(told: dict[str, Any], expected: dict[str, Any]) -> None:
    assert told["RootFS"] == expected["RootFS"]
    assert filled(told["Config"]) == filled(expected["Config"])
    for key in ("Architecture", "Os", "Created"):
        assert told[key] == expected[key]


def filled(config: dict[str, Any]) -> dict[str, Any]:
    """What of a config says something: absent, null, false and empty are one."""
    return {key: value for key, value in config.items() if value}


def test_the_image_has_everything(original: Original) -> None:
    data = {path: seen for path, seen in original.tree.items() if path.startswith("data/")}
    assert {seen.kind for seen in data.values()} == set("-dlpc")
    assert data["data/capable"].xattrs == (("security.capability", CAPABILITY),)
    assert data["data/file"].links == ("data/file", "data/hard")
    assert data["data/program"].links == ("data/linked", "data/program")
    assert "data/removed" not in data
    assert "data/hidden/below" not in data
    assert data["data/old"].mtime == -5 or data["data/old"].mtime > 0
    assert original.said.startswith("1000\n/data\nhello world\n")


@pytest.fixture(scope="module")
def in_docker(docker: Docker, original: Original) -> Docker:
    docker("load", "--input", original.archive)
    return docker


def test_docker_has_the_same(in_docker: Docker, original: Original, tmp_path: Path) -> None:
    (told,) = json.loads(in_docker("inspect", NAME))
    assert told["Id"] == original.told["Id"]
    same_description(told | {"Config": {k: v for k, v in told["Config"].items() if k != "Image"}},
                     original.told)  # fmt: skip
    container = in_docker("create", NAME).strip()
    in_docker("export", "--output", tmp_path / "tree.tar", container)
    tree = tree_of_tar(tmp_path / "tree.tar")
    in_docker("rm", "--volumes", container)
    assert apart_from(tree, MADE_BY_DOCKER) == apart_from(original.tree, MADE_BY_DOCKER)
    assert in_docker("run", "--rm", "--network", "none", NAME, SCRIPT) == original.said


def apart_from(tree: Tree, names: set[str]) -> Tree:
    return {
        path: seen
        for path, seen in tree.items()
        if path not in names and path.partition("/")[0] not in names
    }


def test_from_docker(
    in_docker: Docker, original: Original, private_lamina: Lamina, tmp_path: Path
) -> None:
    in_docker("save", "--output", tmp_path / "out.tar", NAME)
    returned(private_lamina, original, tmp_path / "out.tar")


def test_what_docker_builds(
    in_docker: Docker, original: Original, private_lamina: Lamina, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(
        f"FROM {NAME}\nUSER 0\nRUN rm -rf big hidden && mkdir hidden && cp -a file copied\n"
    )
    in_docker("build", "--tag", "built:1", "--network", "none", tmp_path,
              environment={"DOCKER_BUILDKIT": "0"})  # fmt: skip
    in_docker("save", "--output", tmp_path / "out.tar", "built:1", NAME)
    private_lamina("load", "-i", tmp_path / "out.tar")
    assert private_lamina.inspect(NAME)["Id"] == original.told["Id"]
    assert private_lamina.inspect("built:1")["Id"] == in_docker.image_id("built:1")
    tree = tree_in(private_lamina, "built:1")
    assert "data/big/owner" not in tree
    assert "data/hidden/new" not in tree
    words = ("run", "--rm", "--network", "none", "built:1", SCRIPT)
    assert private_lamina(*words).stdout == in_docker(*words)


@pytest.fixture(scope="module")
def in_podman(podman: Containers, original: Original) -> Containers:
    assert podman("load", "--input", original.archive) == f"Loaded image: {NAME}\n"
    return podman


def test_podman_has_the_same(in_podman: Containers, original: Original) -> None:
    (told,) = json.loads(in_podman("inspect", NAME))
    assert "sha256:" + told["Id"] == original.told["Id"]
    assert told["RootFS"]["Layers"] == original.told["RootFS"]["Layers"]
    assert filled(told["Config"]) == filled(original.told["Config"])
    root = Path(in_podman("image", "mount", NAME).strip())
    assert tree_of_directory(root) == original.tree
    in_podman("image", "unmount", NAME)
    limits = ("--ulimit", "nofile=512:512", "--ulimit", "nproc=512:512")  # ours may be lower
    assert in_podman("run", "--rm", "--network", "none", *limits, NAME, SCRIPT) == original.said


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci-dir"])
def test_from_podman(
    in_podman: Containers,
    original: Original,
    private_lamina: Lamina,
    tmp_path: Path,
    form: str,
) -> None:
    out = tmp_path / "out"
    in_podman("save", "--format", form, "--output", out, NAME)
    returned(private_lamina, original, out)


def copied(*words: str | Path) -> None:
    run(need_tool("skopeo"), "--insecure-policy", "copy", "--quiet", *words)


@pytest.mark.parametrize(
    ("source", "target"),
    [("oci-archive", "docker-archive"), ("docker-archive", "oci-archive"), ("oci-archive", "oci")],
)
def test_skopeo_there_and_back(
    original: Original, private_lamina: Lamina, tmp_path: Path, source: str, target: str
) -> None:
    out = tmp_path / "out"
    copied(f"{source}:{original.archive}", f"{target}:{out}:{NAME}")
    returned(private_lamina, original, out)


def test_umoci_there_and_back(
    lamina: Lamina, original: Original, private_lamina: Lamina, tmp_path: Path
) -> None:
    umoci, layout, bundle = need_tool("umoci"), tmp_path / "layout", tmp_path / "bundle"
    lamina("save", "--format", "oci-dir", "-o", layout, NAME)
    run(umoci, "unpack", "--image", f"{layout}:v1", bundle)
    assert tree_of_directory(bundle / "rootfs") == original.tree
    returned(private_lamina, original, layout)
    data = bundle / "rootfs" / "data"
    (data / "renamed" / ("d" * 90) / ("f" * 200)).unlink()
    shutil.rmtree(data / "big")
    (data / "file").write_text("changed\n")
    os.utime(data / "file", (1, 1))  # umoci rounds what is between two seconds
    run(umoci, "repack", "--image", f"{layout}:v2", bundle)
    private_lamina("load", "-i", layout)
    changed = NAME.replace("v1", "v2")  # what umoci knows: it leaves the full name as it was
    assert tree_in(private_lamina, changed) == tree_of_directory(bundle / "rootfs")
    assert said_by(private_lamina, changed).endswith("changed\n")


@pytest.fixture(scope="module")
def in_buildah(buildah: Containers, original: Original) -> tuple[Containers, str]:
    return buildah, buildah("from", "--pull-never=false", f"oci-archive:{original.archive}").strip()


def test_buildah_has_the_same(in_buildah: tuple[Containers, str], original: Original) -> None:
    buildah, container = in_buildah
    told = json.loads(buildah("inspect", "--type", "container", container))["OCIv1"]
    assert told["rootfs"]["diff_ids"] == original.told["RootFS"]["Layers"]
    root = Path(buildah("mount", container).strip())
    assert tree_of_directory(root) == original.tree
    buildah("umount", container)
    words = ("run", "--isolation", "chroot", container, "--", "sh", "-c", SCRIPT)
    assert buildah(*words) == original.said


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_from_buildah(
    in_buildah: tuple[Containers, str],
    original: Original,
    private_lamina: Lamina,
    tmp_path: Path,
    form: str,
) -> None:
    buildah, _ = in_buildah
    out = tmp_path / "out"
    buildah("push", "--quiet", original.told["Id"].removeprefix("sha256:"), f"{form}:{out}:{NAME}")
    returned(private_lamina, original, out)


def test_what_buildah_builds(
    in_buildah: tuple[Containers, str], private_lamina: Lamina, tmp_path: Path
) -> None:
    buildah, container = in_buildah
    script = "rm -rf big renamed; mkdir big; cp -a program copied; ln copied again"
    buildah("run", "--isolation", "chroot", "--user", "0", container, "--", "sh", "-c", script)
    buildah("commit", "--quiet", container, f"oci-archive:{tmp_path}/out:test.com/built:1")
    private_lamina("load", "-i", tmp_path / "out")
    expected = tree_of_directory(Path(buildah("mount", container).strip()))
    assert tree_in(private_lamina, "test.com/built:1") == expected
    assert expected["data/again"].links == ("data/again", "data/copied")
