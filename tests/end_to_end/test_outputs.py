"""What comes out of a build besides the image, and what its steps are given."""

from __future__ import annotations

import gzip
import json
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from support.cli import Lamina

pytestmark = pytest.mark.namespaces

DOCKERFILE = """\
FROM busybox
RUN mkdir /app && echo hello > /app/a && ln /app/a /app/b && ln -s a /app/c && chmod 4755 /app/a
"""


def context(folder: Path, text: str = DOCKERFILE) -> Path:
    made = folder / "context"
    made.mkdir(exist_ok=True)
    (made / "Dockerfile").write_text(text)
    return made


def test_several_outputs_of_one_build(lamina: Lamina, tmp_path: Path) -> None:
    out, layout, meta = tmp_path / "out", tmp_path / "layout", tmp_path / "meta.json"
    lamina(
        "build", "--load", "-t", "outputs", "-o", out, "-o", f"type=tar,dest={tmp_path}/f.tar",
        "-o", f"type=oci,tar=false,dest={layout}", "-o", f"type=docker,dest={tmp_path}/d.tar",
        "--annotation", "a=b", "--annotation", "index:c=d", "--metadata-file", meta,
        "--iidfile", tmp_path / "iid", context(tmp_path),
    )  # fmt: skip
    assert (out / "app/a").read_text() == "hello\n"
    assert stat.S_IMODE((out / "app/a").stat().st_mode) == 0o4755
    assert (out / "app/a").stat().st_ino == (out / "app/b").stat().st_ino
    assert os.readlink(out / "app/c") == "a"
    assert (out / "app/a").stat().st_uid == os.getuid()
    with tarfile.open(tmp_path / "f.tar") as tar:
        assert tar.getmember("app/b").linkname == "app/a"
        assert len({member.mtime for member in tar}) == 1
    index = json.loads((layout / "index.json").read_text())
    assert index["annotations"] == {"c": "d"}
    (descriptor,) = index["manifests"]
    algorithm, _, hexadecimal = descriptor["digest"].partition(":")
    manifest = json.loads((layout / "blobs" / algorithm / hexadecimal).read_text())
    assert manifest["annotations"] == {"a": "b"}
    told = json.loads(meta.read_text())
    assert told["containerimage.digest"] == descriptor["digest"]
    assert told["containerimage.config.digest"] == (tmp_path / "iid").read_text()
    assert told["containerimage.config.digest"] == lamina.inspect("outputs")["Id"]
    assert told["image.name"] == "docker.io/library/outputs:latest"
    assert (tmp_path / "d.tar").exists()


def layers_of(layout: Path) -> list[tuple[str, bytes]]:
    """The media type and the bytes of each layer of the one image of a layout."""

    def read(descriptor: dict[str, str]) -> bytes:
        algorithm, _, hexadecimal = descriptor["digest"].partition(":")
        return (layout / "blobs" / algorithm / hexadecimal).read_bytes()

    (descriptor,) = json.loads((layout / "index.json").read_text())["manifests"]
    manifest = json.loads(read(descriptor))
    return [(layer["mediaType"].partition("+")[2], read(layer)) for layer in manifest["layers"]]


def test_how_layers_are_compressed(lamina: Lamina, tmp_path: Path) -> None:
    folder = context(tmp_path, DOCKERFILE + "RUN seq 200000 > /all\n")

    def built(number: int, *options: str, attributes: str = "") -> list[tuple[str, bytes]]:
        layout = tmp_path / f"layout-{number}"
        output = f"type=oci,tar=false,dest={layout}{attributes}"
        lamina("build", *options, "--output", output, folder)
        return layers_of(layout)

    usual = built(0)
    assert {kind for kind, _ in usual} == {"gzip"}
    best = built(1, "--compression-level", "best")
    assert len(best[-1][1]) < len(usual[-1][1])
    assert built(2, "--compression-level", "1", attributes=",compression-level=best") == best
    zstd = built(3, "--compression", "zstd", "--compression-level", "7")
    assert {kind for kind, _ in zstd} == {"zstd"}
    stable = built(4, "--reproducible-blobs")
    assert gzip.decompress(stable[-1][1]) == gzip.decompress(usual[-1][1])
    assert stable[-1][1] not in (usual[-1][1], best[-1][1])
    plain = built(5, "--compression=uncompressed")
    assert plain[-1] == ("", gzip.decompress(usual[-1][1]))
    assert built(6) == usual
    assert built(7, attributes=",force-compression=true") == usual

    for options, message in (
        (["--compression", "zstd"], "needs an archive or a registry"),
        (["--compression", "estargz", "-o", f"type=oci,dest={tmp_path}/x"], "but not written"),
        (["--compression-level", "11", "-o", f"type=oci,dest={tmp_path}/x"], "levels are 0 to 9"),
    ):
        assert message in lamina("build", *options, folder, status=2).stderr


def test_a_tar_on_standard_output(lamina: Lamina, tmp_path: Path) -> None:
    folder = context(tmp_path)
    with (tmp_path / "out.tar").open("wb") as out:
        command = lamina.command("build", "-o", "-", folder)
        subprocess.run(
            command, stdout=out, stderr=subprocess.PIPE, check=True, env=lamina.environment(None)
        )
    lamina("build", "-o", f"type=tar,dest={tmp_path}/file.tar", folder)
    assert (tmp_path / "out.tar").read_bytes() == (tmp_path / "file.tar").read_bytes()


def test_a_build_of_files_alone(lamina: Lamina, tmp_path: Path) -> None:
    folder = context(
        tmp_path, "FROM busybox AS b\nRUN echo x > /x\nFROM scratch\nCOPY --from=b /x /\n"
    )
    lamina("build", "-o", tmp_path / "out", folder)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x"]
    assert (tmp_path / "out/x").stat().st_mtime == 315532800


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--allow", "what"), "there is no such entitlement"),
        (("--allow", "device"), "network.host, security.insecure"),
        (("--ssh", "default=/etc/passwd"), "no agent's socket"),
        (("--secret", "id=a,type=what"), "invalid --secret"),
        (("--cache-to", "type=inline"), "goes with the image's manifest, and none is written"),
        (("--attest", "type=what"), "unknown attestation type"),
        (("--annotation", "a=b"), "--annotation needs an archive"),
        (("--iidfile", "x", "-o", "y"), "cannot use --iidfile"),
        (("--ca", "/dev/null"), "there is no certificate in it"),
        (("-o", "-", "-o", "type=oci,dest=-"), "only one --output can write to standard output"),
    ],
)
def test_what_cannot_be_is_refused(
    lamina: Lamina, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    outcome = lamina("build", *options, context(tmp_path), status=2)
    assert message in outcome.stderr


def test_switches_take_values_and_what_asks_for_nothing_is_taken(
    lamina: Lamina, tmp_path: Path
) -> None:
    harmless = ("--load=true", "--pull=false", "--push=false", "--rm", "--provenance=false")
    outcome = lamina("build", *harmless, "--quiet=true", context(tmp_path))
    assert outcome.stdout.startswith("sha256:")


def test_an_image_of_another_platform_says_so(lamina: Lamina, tmp_path: Path) -> None:
    folder = context(tmp_path, "FROM busybox\nCOPY Dockerfile /\nRUN true\n")
    outcome = lamina("build", "--platform", "linux/s390x", "-t", "ours", folder)
    assert "WARN: InvalidBaseImagePlatform: Base image busybox was pulled with" in outcome.stderr
    assert 'expected "linux/s390x" for current build (line 1)' in outcome.stderr
    assert lamina.inspect("ours")["Architecture"] != "s390x"
    folder = context(tmp_path, "FROM scratch\nCOPY Dockerfile /\n")
    lamina("build", "--platform", "linux/s390x", "-t", "foreign", folder)
    assert lamina.inspect("foreign")["Architecture"] == "s390x"
    outcome = lamina("build", context(tmp_path, "FROM foreign\nCOPY Dockerfile /other\n"))
    assert 'pulled with platform "linux/s390x", expected "linux/' in outcome.stderr
    folder = context(tmp_path, "FROM foreign\nRUN true\n")
    if not os.path.exists("/proc/sys/fs/binfmt_misc/qemu-s390x"):
        outcome = lamina("build", "--platform", "linux/s390x", folder, status=1)
        assert "cannot run a command for linux/s390x" in outcome.stderr
        assert "qemu-user-static" in outcome.stderr


def test_limits_hosts_and_arguments_from_a_file(lamina: Lamina, tmp_path: Path) -> None:
    folder = context(
        tmp_path,
        "FROM busybox\nARG A B C\n"
        "RUN echo $A-$B-$C $(ulimit -n) $(ulimit -Hn) $(ulimit -c) && cat /etc/hosts\n",
    )
    (tmp_path / "arguments").write_text("# values\nA=1\nB=two words\nC=file\n")
    outcome = lamina(
        "build", "--no-cache", "--build-arg-file", tmp_path / "arguments", "--build-arg", "C=line",
        "--ulimit", "nofile=100:200", "--ulimit", "core=0", "--add-host", "me:host-gateway",
        "--add-host", "other=10.1.2.3", folder,
    )  # fmt: skip
    assert "1-two words-line 100 200 0" in outcome.stderr
    assert "127.0.0.1\tme" in outcome.stderr
    assert "10.1.2.3\tother" in outcome.stderr


def test_proxies_come_from_build_arguments_only(lamina: Lamina, tmp_path: Path) -> None:
    folder = context(tmp_path, "FROM busybox\nRUN echo proxy=$HTTP_PROXY,$https_proxy.\n")
    ours = {"HTTP_PROXY": "http://ours:1", "https_proxy": "http://ours:2"}
    outcome = lamina("build", "--no-cache", folder, environment=ours)
    assert "proxy=,." in outcome.stderr
    outcome = lamina("build", "--no-cache", "--build-arg", "HTTP_PROXY", folder, environment=ours)
    assert "proxy=http://ours:1,." in outcome.stderr


def test_authorities_are_trusted_and_leave_no_trace(lamina: Lamina, tmp_path: Path) -> None:
    mark = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    (tmp_path / "ca.pem").write_text("# ours\n" + mark)
    text = (
        "FROM busybox\n"
        "RUN mkdir -p /etc/ssl/certs && echo '# image' > /etc/ssl/certs/ca-certificates.crt\n"
        "RUN cat $SSL_CERT_FILE; echo $SSL_CERT_FILE $CURL_CA_BUNDLE $PIP_CERT $GIT_SSL_CAINFO;"
        " echo > $SSL_CERT_FILE || true\n"
    )
    folder = context(tmp_path, text)
    outcome = lamina("build", "--no-cache", "-t", "trusting", "--ca", tmp_path / "ca.pem", folder)
    lines = [line.partition(" ")[2].partition(" ")[2] for line in outcome.stderr.splitlines()]
    assert lines.index("# image") < lines.index("# ours")
    assert "/run/lamina/ca-certificates.crt " * 3 in outcome.stderr
    assert "Read-only file system" in outcome.stderr
    with_authorities = lamina.inspect("trusting")["Id"]
    without = lamina("build", "-t", "trusting", folder)
    assert without.stderr.count("CACHED") == 2
    assert lamina.inspect("trusting")["Id"] == with_authorities
    lamina("build", "-o", tmp_path / "out", folder)
    assert not (tmp_path / "out/run/lamina").exists()
    assert not any("CERT" in name for name in lamina.inspect("trusting")["Config"]["Env"])


def test_questions_are_answered_without_building(lamina: Lamina, tmp_path: Path) -> None:
    folder = context(tmp_path, "FROM nosuch AS a\nARG X=1\nRUN --mount=type=secret,id=s false\n")
    outcome = lamina("build", "--call", "outline", folder)
    assert "X           1" in outcome.stdout
    assert "s" in outcome.stdout
    outcome = lamina("build", "--call", "targets,format=json", folder)
    assert json.loads(outcome.stdout)["targets"][0]["name"] == "a"
    plan = json.loads(lamina("build", "--plan", context(tmp_path)).stdout)
    assert [step["step"]["type"] for step in plan["stages"][0]["steps"]] == ["RunStep"]


def test_parse_prints_the_tree(lamina: Lamina, tmp_path: Path) -> None:
    tree = json.loads(lamina("parse", context(tmp_path) / "Dockerfile").stdout)
    run = tree["stages"][0]["instructions"][0]
    assert run["type"] == "run"
    assert run["span"] == {"first": 2, "last": 2, "column": 1}
    outcome = lamina("parse", "-", stdin="FROM a\nFRUN b\n", status=1)
    assert "2 | >>> FRUN b" in outcome.stderr
    assert "unknown instruction: FRUN (did you mean RUN?)" in outcome.stderr


def test_a_directory_that_is_not_there_and_no_target_at_all(lamina: Lamina, tmp_path: Path) -> None:
    missing = lamina("build", tmp_path / "nosuch", status=1)
    assert f"unable to prepare context: path '{tmp_path}/nosuch' not found" in missing.stderr
    lamina("build", "--target", "", context(tmp_path))
