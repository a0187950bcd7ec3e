"""What is said of an image: made by the build, kept with it, found by others in archives."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from support.cli import Lamina
from support.probes import need_tool
from support.remote import commit, repository, serving

pytestmark = [pytest.mark.namespaces, pytest.mark.any_user]

SPDX = "https://spdx.dev/Document"
SLSA = "https://slsa.dev/provenance/v1"
DOCKERFILE = """FROM busybox
ARG VERSION=1
RUN --network=none --mount=type=secret,id=key mkdir -p /a/node_modules/m && \\
    echo "{\\"name\\":\\"m\\",\\"version\\":\\"$VERSION\\"}" > /a/node_modules/m/package.json
COPY file /
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "file").write_text("content\n")
    (tmp_path / "key").write_text("the-key-itself\n")
    return folder


def build(lamina: Lamina, context: Path, *options: str) -> None:
    secret = f"id=key,src={context.parent}/key"
    lamina.build(context, "app:1", "--build-arg", "VERSION=2", "--secret", secret, *options)


def attestations(lamina: Lamina, name: str = "app:1") -> dict[str, Any]:
    (document,) = json.loads(lamina("inspect", "--attestations", name).stdout)
    return {each["PredicateType"]: each["Predicate"] for each in document["Attestations"]}


def members(archive: Path) -> dict[str, bytes]:
    found = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            if file := tar.extractfile(member):
                found[member.name] = file.read()
    return found


def blob(files: dict[str, bytes], descriptor: dict[str, Any]) -> Any:
    return json.loads(files["blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")])


def test_they_are_made_and_kept(
    private_lamina: Lamina, another_private_lamina: Lamina, context: Path
) -> None:
    assert attestations(private_lamina, "busybox") == {}
    for lamina in (private_lamina, another_private_lamina):
        build(lamina, context, "--sbom=true", "--provenance=mode=max")
    said = attestations(private_lamina)
    assert said == attestations(another_private_lamina)
    assert said.keys() == {SPDX, SLSA}
    packages = {each["name"]: each for each in said[SPDX]["packages"]}
    assert packages["m"]["versionInfo"] == "2"
    assert (
        packages["app:1"]["checksums"][0]["checksumValue"] in private_lamina.inspect("app:1")["Id"]
    )
    definition = said[SLSA]["buildDefinition"]
    assert definition["externalParameters"]["request"]["args"] == {"VERSION": "2"}
    assert definition["internalParameters"]["network"] == ["none"]
    uris = [each.get("uri", each.get("name")) for each in definition["resolvedDependencies"]]
    assert uris[0].startswith("pkg:docker/busybox@latest?platform=")
    assert uris[1] == "context"
    assert said[SLSA]["runDetails"]["metadata"]["lamina_hermetic"]
    assert "the-key-itself" not in json.dumps(said)
    build(private_lamina, context, "--provenance=mode=max")  # now all of it is known
    assert attestations(private_lamina) == said
    listed = private_lamina("referrers", "app:1").stdout
    assert [line.split()[0] for line in listed.splitlines()] == ["TYPE", "provenance", "sbom"]
    (row, _) = private_lamina("referrers", "--format", "json", "app:1").stdout.splitlines()
    assert json.loads(row)["predicateType"] == SLSA
    private_lamina("rmi", "app:1")
    build(private_lamina, context)
    assert attestations(private_lamina) == {}


@pytest.mark.parametrize("form", ["referrers", "index"])
def test_they_travel(
    private_lamina: Lamina, another_private_lamina: Lamina, context: Path, tmp_path: Path, form: str
) -> None:
    built, saved = tmp_path / "built.tar", tmp_path / "saved.tar"
    options = ("--sbom=true", "--provenance=true", "--attest-format", form)
    build(private_lamina, context, *options, "--output", f"type=oci,dest={built}")
    private_lamina("save", "--attest-format", form, "-o", saved, "app:1")
    assert built.stat().st_size == saved.stat().st_size
    files = members(saved)
    image, *others = json.loads(files["index.json"])["manifests"]
    if form == "index":
        assert others == []
        image, *others = blob(files, image)["manifests"]
        (other,) = others
        assert other["platform"] == {"architecture": "unknown", "os": "unknown"}
        assert other["annotations"]["vnd.docker.reference.digest"] == image["digest"]
        assert other["annotations"]["vnd.docker.reference.type"] == "attestation-manifest"
    types = []
    for each in others:
        manifest = blob(files, each)
        assert manifest["subject"]["digest"] == image["digest"]
        assert manifest["artifactType"] == each["artifactType"]
        for layer in manifest["layers"]:
            statement = blob(files, layer)
            (subject,) = statement["subject"]
            assert subject["digest"]["sha256"] in image["digest"]
            assert subject["name"].startswith("pkg:docker/app@1?platform=")
            types.append(statement["predicateType"])
    assert sorted(types) == [SLSA, SPDX]
    another_private_lamina("load", "-i", saved)
    assert attestations(another_private_lamina) == attestations(private_lamina)
    again = tmp_path / "again.tar"
    another_private_lamina("save", "--attest-format", form, "-o", again, "app:1")
    assert again.read_bytes() == saved.read_bytes()
    bare = tmp_path / "bare.tar"
    another_private_lamina("save", "--attest-format", "none", "-o", bare, "app:1")
    assert len(json.loads(members(bare)["index.json"])["manifests"]) == 1
    command = [need_tool("skopeo"), "inspect", "--config", f"oci-archive:{saved}:1"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert (
        json.loads(told)["rootfs"]["diff_ids"]
        == private_lamina.inspect("app:1")["RootFS"]["Layers"]
    )


def test_a_repository_and_a_file_from_a_server(
    private_lamina: Lamina, context: Path, tmp_path: Path
) -> None:
    origin = repository(tmp_path / "origin")
    sha = commit(origin, a="from git\n")
    with serving(file=b"from server\n") as site:
        (context / "Dockerfile").write_text(
            f"FROM scratch\nADD {site.url}/file /file\nADD file://{origin}#main /git/\n"
        )
        private_lamina.build(context, "app:1", "--provenance=true")
        dependencies = attestations(private_lamina)[SLSA]["buildDefinition"]["resolvedDependencies"]
        digests = {each["uri"]: each["digest"] for each in dependencies}
        content = hashlib.sha256(b"from server\n").hexdigest()
        assert digests == {
            f"{site.url}/file": {"sha256": content},
            f"git+file://{origin}@main": {"gitCommit": sha},
        }
