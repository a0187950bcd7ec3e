"""What is said of images, at registries: pushed with them, listed, found by the fallback tag."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from support.archives import Layout, layer
from support.cli import Lamina
from support.registry import Registry
from support.registry_images import Hand

pytestmark = [pytest.mark.namespaces, pytest.mark.any_user]

INDEX = "application/vnd.oci.image.index.v1+json"
SPDX = "https://spdx.dev/Document"
SLSA = "https://slsa.dev/provenance/v1"


def fallback(hand: Hand, repository: str, digest: str) -> list[dict[str, Any]]:
    found = json.loads(hand.manifest(repository, digest.replace(":", "-")))
    manifests = found["manifests"]
    assert isinstance(manifests, list)
    return manifests


def listed(lamina: Lamina, name: str) -> dict[str, dict[str, Any]]:
    lines = lamina("referrers", "--remote", "--format", "json", name).stdout.splitlines()
    return {row["predicateType"]: row for row in map(json.loads, lines)}


def test_a_build_pushes_what_is_said(
    private_lamina: Lamina, registry: Registry, tmp_path: Path
) -> None:
    lamina, hand, name = private_lamina, Hand(registry), f"{registry.host}/said/built:1"
    (tmp_path / "Dockerfile").write_text("FROM busybox\nLABEL a=b\n")
    lamina.build(tmp_path, name, "--sbom=true", "--push")
    lamina.build(tmp_path, name, "--provenance=true", "--metadata-file", str(tmp_path / "told"),
                 "--push")  # fmt: skip
    digest = json.loads((tmp_path / "told").read_text())["containerimage.digest"]
    rows = listed(lamina, name)
    assert rows.keys() == {SPDX, SLSA}
    assert [each["digest"] for each in fallback(hand, "said/built", digest)] == [
        rows[SPDX]["digest"], rows[SLSA]["digest"],
    ]  # fmt: skip
    for predicate_type, row in rows.items():
        manifest = json.loads(hand.manifest("said/built", row["digest"]))
        assert manifest["subject"]["digest"] == digest
        (blob,) = manifest["layers"]
        statement = hand.ask("GET", f"/v2/said/built/blobs/{blob['digest']}").json()
        assert statement["predicateType"] == predicate_type
        assert statement["subject"][0]["digest"]["sha256"] == digest.removeprefix("sha256:")
    refused = lamina.build(tmp_path, name, "--sbom=true", "--attest-format=index", "--push",
                           status=2)  # fmt: skip
    assert "is for archives" in refused.text


def test_push_takes_it_along(private_lamina: Lamina, registry: Registry, tmp_path: Path) -> None:
    lamina, name = private_lamina, f"{registry.host}/said/pushed:1"
    (tmp_path / "Dockerfile").write_text("FROM busybox\nLABEL a=c\n")
    lamina.build(tmp_path, name, "--provenance=true")
    lamina("push", "--no-attestations", name)
    assert listed(lamina, name) == {}
    assert lamina("referrers", "--remote", name).stdout.split() == [
        "TYPE", "PREDICATE", "TYPE", "DIGEST", "SIZE",
    ]  # fmt: skip
    lamina("push", name)
    once = listed(lamina, name)
    assert once.keys() == {SLSA}
    assert lamina("push", name).status == 0
    assert listed(lamina, name) == once
    missing = lamina("referrers", "--remote", f"{registry.host}/said/none:1", status=1)
    assert "none" in missing.text


@contextmanager
def listing(pages: list[dict[str, Any]]) -> Iterator[str]:
    """A registry with one image, that lists referrers in pages; its host."""
    layout = Layout()
    manifest = layout.manifest(layer(a="a"))
    path = "blobs/sha256/" + manifest["digest"].removeprefix("sha256:")

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            link, body, kind, status = "", b"", INDEX, 200
            if "/manifests/" in self.path:
                body, kind = layout.members[path], "application/vnd.oci.image.manifest.v1+json"
            elif f"/referrers/{manifest['digest']}" in self.path:
                number = int(self.path.partition("page=")[2] or 0)
                body = json.dumps({"schemaVersion": 2, "manifests": [pages[number]]}).encode()
                if number + 1 < len(pages):
                    link = f'<{self.path.partition("?")[0]}?page={number + 1}>; rel="next"'
            else:
                status, body = (200, b"{}") if self.path == "/v2/" else (404, b"{}")
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if link:
                self.send_header("Link", link)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_lists_that_come_in_pages(bare_lamina: Lamina) -> None:
    def row(number: int) -> dict[str, Any]:
        return {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": f"application/x-{number}",
            "digest": f"sha256:{number:064x}",
            "size": number,
        }

    with listing([row(1), row(2), row(3)]) as host:
        lines = bare_lamina("referrers", "--remote", "--format", "json", f"{host}/a:1").stdout
    told = [json.loads(line) for line in lines.splitlines()]
    assert [each["artifactType"] for each in told] == [f"application/x-{n}" for n in (1, 2, 3)]
    assert {each["type"] for each in told} == {"other"}
