"""One build for several platforms: what leaves, what stays in the store, and for how long."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from support.cli import Lamina
from support.registry import Registry
from support.registry_images import Hand

pytestmark = [pytest.mark.namespaces, pytest.mark.any_user]

PLATFORMS = ("--platform", "linux/amd64,linux/arm64", "--platform", "linux/riscv64")
NAMES = ["linux/amd64", "linux/arm64", "linux/riscv64"]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text(
        "FROM --platform=$BUILDPLATFORM busybox AS once\nRUN echo shared > /shared\n"
        "FROM --platform=$BUILDPLATFORM busybox AS each\nARG TARGETARCH\n"
        "RUN echo $TARGETARCH > /arch && ln /arch /again\n"
        "FROM scratch\nCOPY --from=once /shared /\nCOPY --from=each /arch /again /\n"
    )
    return folder


def platforms_of(index: dict[str, object]) -> list[str]:
    manifests = index["manifests"]
    assert isinstance(manifests, list)
    found = [each["platform"] for each in manifests]
    return [f"{each['os']}/{each['architecture']}" for each in found]


def test_they_leave_together(private_lamina: Lamina, context: Path, tmp_path: Path) -> None:
    lamina, archive = private_lamina, tmp_path / "a.tar"
    told = lamina(
        "build", *PLATFORMS, "-t", "app", "--metadata-file", tmp_path / "told",
        "--annotation", "manifest[linux/arm64]:note=arm", "--annotation", "index:top=yes",
        "-o", f"type=oci,dest={archive}", "-o", f"type=local,dest={tmp_path / 'files'}",
        "-o", f"type=tar,dest={tmp_path / 'files.tar'}", context,
    ).stderr  # fmt: skip
    shared = [line.split()[0] for line in told.splitlines() if "RUN echo shared" in line]
    cached = [line.split()[0] for line in told.splitlines() if line.endswith(" CACHED")]
    assert [number in cached for number in shared] == [False, True, True]
    numbers = [line.split()[0] for line in told.splitlines() if line.startswith("#")]
    assert "[linux/riscv64 " in told
    assert len(set(numbers)) > 9
    with tarfile.open(archive) as tar:
        files = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        documents = {name: file.read() for name, file in files.items() if file is not None}
    (top,) = json.loads(documents["index.json"])["manifests"]
    assert top["annotations"]["org.opencontainers.image.ref.name"] == "latest"
    index = json.loads(documents["blobs/" + top["digest"].replace(":", "/")])
    assert platforms_of(index) == NAMES
    assert index["annotations"] == {"top": "yes"}
    notes = [
        json.loads(documents["blobs/" + each["digest"].replace(":", "/")]).get("annotations", {})
        for each in index["manifests"]
    ]
    assert notes == [{}, {"note": "arm"}, {}]
    assert json.loads((tmp_path / "told").read_text())["containerimage.digest"] == top["digest"]
    assert (tmp_path / "files" / "linux_arm64" / "arch").read_text() == "arm64\n"
    with tarfile.open(tmp_path / "files.tar") as tar:
        file = tar.extractfile("linux_riscv64/again")
        assert file is not None
        assert file.read() == b"riscv64\n"
    other = tmp_path / "other"
    for platform in NAMES:
        lamina("--root", other, "load", "--platform", platform, "-i", archive)
        assert json.loads(lamina("--root", other, "inspect", "app").stdout)[0][
            "Architecture"
        ] == platform.removeprefix("linux/")


def test_a_name_holds_them(private_lamina: Lamina, context: Path, registry: Registry) -> None:
    lamina = private_lamina
    name = f"{registry.host}/none/app"
    lamina("build", *PLATFORMS, "-t", name, context)
    assert lamina.inspect(name)["Architecture"] == "amd64"
    lamina("prune", "--force")
    listed = json.loads(lamina("manifest", "inspect", name).stdout)
    assert platforms_of(listed) == NAMES
    (context / "from").write_text(f"FROM --platform=linux/arm64 {name}\nENV x=y\n")
    lamina("build", "-f", context / "from", "-t", "above", context)
    assert lamina.inspect("above")["Architecture"] == "arm64"
    lamina("rmi", "above", name)
    lamina("manifest", "inspect", name, status=1)
    lamina("prune", "--all", "--force")
    assert lamina("images", "--quiet").stdout == ""
    lamina("fsck")


def test_they_are_pushed_under_one_name(
    private_lamina: Lamina, context: Path, registry: Registry
) -> None:
    lamina, name = private_lamina, f"{registry.host}/platforms/app:1"
    lamina("build", *PLATFORMS, "-t", name, "--sbom=true", "--push", context)
    there = json.loads(Hand(registry).manifest("platforms/app", "1"))
    assert platforms_of(there) == NAMES
    again = f"{registry.host}/platforms/again:1"
    lamina("push", name, again)
    assert json.loads(Hand(registry).manifest("platforms/again", "1")) == there
    lamina("rmi", name)
    lamina("pull", "--platform", "linux/riscv64", name)
    assert lamina.inspect(name)["Architecture"] == "riscv64"


def test_what_cannot_be_of_several(private_lamina: Lamina, context: Path) -> None:
    for options, word in (
        (("-o", "type=docker,dest=x"), "one platform"),
        (("--cache-to", "type=local,dest=x"), "one platform"),
        (("-o", "type=local,dest=x,platform-split=false"), "mix"),
    ):
        assert word in private_lamina("build", *PLATFORMS, *options, context, status=2).stderr
