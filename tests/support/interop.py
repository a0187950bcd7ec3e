"""An image with everything a layer can hold, and the tools it travels between."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.image.store.store import open_store
from support.cli import Lamina
from support.daemon import Docker
from support.filetrees import Tree, tree_of_directory, tree_of_tar, tree_of_view
from support.probes import need_tool

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


class OtherTool:
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


def returned(lamina: Lamina, original: Original, source: Path, name: str = NAME) -> None:
    """An archive from elsewhere is loaded into an empty store, and is what it was."""
    told = lamina("load", "-i", source).stdout
    assert told == (f"Loaded image: {name}\n" if name else f"Loaded image ID: {told[17:]}")
    is_the_same(lamina, original, name or told[17:].strip())


def is_the_same(lamina: Lamina, original: Original, name: str) -> None:
    """An image in another store is what it was: its description, its tree, what it says."""
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


def apart_from(tree: Tree, names: set[str]) -> Tree:
    return {
        path: seen
        for path, seen in tree.items()
        if path not in names and path.partition("/")[0] not in names
    }


def copied(*words: str | Path) -> None:
    run(need_tool("skopeo"), "--insecure-policy", "copy", "--quiet", *words)


def docker_has_the_same(docker: Docker, original: Original, name: str, folder: Path) -> None:
    """Docker has an image as it was: its description, its tree, what a container says."""
    (told,) = json.loads(docker("inspect", name))
    assert told["Id"] == original.told["Id"]
    same_description(told | {"Config": {k: v for k, v in told["Config"].items() if k != "Image"}},
                     original.told)  # fmt: skip
    container = docker("create", name).strip()
    docker("export", "--output", folder / "tree.tar", container)
    tree = tree_of_tar(folder / "tree.tar")
    docker("rm", "--volumes", container)
    assert apart_from(tree, MADE_BY_DOCKER) == apart_from(original.tree, MADE_BY_DOCKER)
    assert docker("run", "--rm", "--network", "none", name, SCRIPT) == original.said


def podman_has_the_same(podman: OtherTool, original: Original, name: str) -> None:
    """Podman has an image as it was."""
    (told,) = json.loads(podman("inspect", name))
    assert "sha256:" + told["Id"] == original.told["Id"]
    assert told["RootFS"]["Layers"] == original.told["RootFS"]["Layers"]
    assert filled(told["Config"]) == filled(original.told["Config"])
    root = Path(podman("image", "mount", name).strip())
    assert tree_of_directory(root) == original.tree
    podman("image", "unmount", name)
    limits = ("--ulimit", "nofile=512:512", "--ulimit", "nproc=512:512")  # ours may be lower
    assert podman("run", "--rm", "--network", "none", *limits, name, SCRIPT) == original.said


def buildah_has_the_same(buildah: OtherTool, original: Original, container: str) -> None:
    """Buildah has an image as it was, as a working container."""
    told = json.loads(buildah("inspect", "--type", "container", container))["OCIv1"]
    assert told["rootfs"]["diff_ids"] == original.told["RootFS"]["Layers"]
    root = Path(buildah("mount", container).strip())
    assert tree_of_directory(root) == original.tree
    buildah("umount", container)
    words = ("run", "--isolation", "chroot", container, "--", "sh", "-c", SCRIPT)
    assert buildah(*words) == original.said
