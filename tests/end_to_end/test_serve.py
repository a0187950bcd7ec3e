"""`lamina serve`: what others pull from a store, and what is not given out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from support.bases import BUSYBOX
from support.cli import Lamina
from support.daemon import Docker
from support.probes import need_tool

pytestmark = [pytest.mark.namespaces, pytest.mark.any_user]

DOCKERFILE = "FROM busybox\nCOPY word /word\nRUN echo two > /two\nCMD cat /word\n"


@contextmanager
def serving(lamina: Lamina, *options: str) -> Iterator[str]:
    """A server on a port of its own: its address."""
    with lamina.start("serve", "--listen", "127.0.0.1:0", *options) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said.startswith(f"serving {lamina.root} at 127.0.0.1:"), said
            yield said.split()[-1]
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert "Traceback" not in errors


@pytest.fixture
def store(private_lamina: Lamina, tmp_path: Path) -> Lamina:
    private_lamina.need(BUSYBOX)
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "word").write_text("served\n")
    private_lamina.build(tmp_path, "app")
    return private_lamina


def test_another_store_and_skopeo_pull_it(
    store: Lamina, another_private_lamina: Lamina, tmp_path: Path
) -> None:
    there = store.inspect("app")
    with serving(store) as address:
        pulled = another_private_lamina("pull", f"{address}/app")
        copied = tmp_path / "copied"
        subprocess.run(
            [need_tool("skopeo"), "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false",
             f"docker://{address}/app:latest", f"oci:{copied}:app"],
            check=True,
            env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)},  # where it looks for logins
        )  # fmt: skip
        ran = another_private_lamina("run", "--rm", f"{address}/app")
        assert ran.stdout == "served\n"
        here = another_private_lamina.inspect(f"{address}/app")
        assert here["Id"] == there["Id"]
        (descriptor,) = json.loads((copied / "index.json").read_text())["manifests"]
        assert f"Digest: {descriptor['digest']}\n" in pulled.stdout


@pytest.mark.root
@pytest.mark.xdist_group("docker")
def test_docker_pulls_and_runs_it(store: Lamina, docker: Docker) -> None:
    with serving(store) as address:
        docker("pull", f"{address}/app")
        assert docker.image_id(f"{address}/app") == store.inspect("app")["Id"]
        assert docker("run", "--rm", "--network", "none", f"{address}/app") == "served\n"


def test_what_the_specification_asks_of_answers(store: Lamina) -> None:
    store("tag", "app", "app:two")
    store("tag", "app", "example.org/team/app:three")
    with serving(store) as address, httpx.Client(base_url=f"http://{address}") as client:
        assert client.get("/v2/").json() == {}
        names = ["app", "busybox", "example.org/team/app"]
        assert client.get("/v2/_catalog").json() == {"repositories": names}
        tags = client.get("/v2/app/tags/list").json()
        assert tags == {"name": "app", "tags": ["latest", "two"]}
        page = client.get("/v2/app/tags/list?n=1")
        assert page.json()["tags"] == ["latest"]
        assert page.headers["Link"] == '</v2/app/tags/list?n=1&last=latest>; rel="next"'
        assert client.get("/v2/app/tags/list?n=1&last=latest").json()["tags"] == ["two"]

        manifest = client.get("/v2/library/app/manifests/two")
        digest = manifest.headers["Docker-Content-Digest"]
        by_digest = client.get(f"/v2/app/manifests/{digest}")
        assert by_digest.content == manifest.content
        head = client.head("/v2/app/manifests/latest")
        assert head.headers["Content-Length"] == str(len(manifest.content))
        assert head.content == b""
        three = client.get("/v2/example.org/team/app/manifests/three")
        assert three.headers["Docker-Content-Digest"] == digest

        layer = manifest.json()["layers"][-1]
        path = f"/v2/app/blobs/{layer['digest']}"
        whole = client.get(path).content
        assert len(whole) == layer["size"]
        for asked, expected in {
            "bytes=3-": whole[3:],
            "bytes=2-5": whole[2:6],
            "bytes=-4": whole[-4:],
            f"bytes=0-{10 * len(whole)}": whole,
        }.items():
            part = client.get(path, headers={"Range": asked})
            assert (part.status_code, part.content) == (206, expected), asked
        beyond = client.get(path, headers={"Range": f"bytes={len(whole)}-"})
        assert beyond.status_code == 416
        assert client.get(path, headers={"Range": "lines=1-2"}).content == whole


REFUSED = {
    "no such tag": ("GET", "/v2/app/manifests/none", 404, "MANIFEST_UNKNOWN"),
    "no such image": ("GET", "/v2/none/manifests/latest", 404, "MANIFEST_UNKNOWN"),
    "no such repository": ("GET", "/v2/none/tags/list", 404, "NAME_UNKNOWN"),
    "an image's ID as a name": ("GET", "/v2/{id}/manifests/latest", 400, "NAME_INVALID"),
    "no name": ("GET", "/v2/App/manifests/latest", 400, "NAME_INVALID"),
    "a tag in a name": ("GET", "/v2/app:latest/manifests/latest", 400, "NAME_INVALID"),
    "no digest": ("GET", "/v2/app/blobs/sha256:0", 400, "DIGEST_INVALID"),
    "a path as a digest": ("GET", "/v2/app/blobs/..%2f..%2fstore.db", 400, "DIGEST_INVALID"),
    "another image's layer": ("GET", "/v2/busybox/blobs/{layer}", 404, "BLOB_UNKNOWN"),
    "an unnamed image": ("GET", "/v2/app/blobs/{unnamed}", 404, "BLOB_UNKNOWN"),
    "elsewhere": ("GET", "/v1/search", 404, "UNSUPPORTED"),
    "an upload": ("POST", "/v2/app/blobs/uploads/", 405, "UNSUPPORTED"),
    "a manifest": ("PUT", "/v2/app/manifests/latest", 405, "UNSUPPORTED"),
    "a removal": ("DELETE", "/v2/app/manifests/latest", 405, "UNSUPPORTED"),
}


def test_what_is_refused(store: Lamina, tmp_path: Path) -> None:
    with (tmp_path / "Dockerfile").open("a") as file:
        file.write("LABEL nobody=named\n")
    unnamed = store("build", "-q", tmp_path).stdout.strip()
    with serving(store) as address, httpx.Client(base_url=f"http://{address}") as client:
        top = client.get("/v2/app/manifests/latest").json()["layers"][-1]["digest"]
        given = {"id": unnamed.removeprefix("sha256:"), "layer": top, "unnamed": unnamed}
        for what, (method, path, status, code) in REFUSED.items():
            answer = client.request(method, path.format(**given))
            assert answer.status_code == status, what
            assert answer.json()["errors"][0]["code"] == code, what


def test_requests_are_told_and_a_taken_address_is_an_error(store: Lamina) -> None:
    with serving(store) as address:
        taken = store("serve", "--listen", address, status=1)
        assert f"cannot listen on {address}: Address already in use" in taken.stderr
    for wrong in ("127.0.0.1:70000", "::1:5000", "127.0.0.1:x"):
        assert "invalid --listen" in store("serve", "--listen", wrong, status=2).stderr
