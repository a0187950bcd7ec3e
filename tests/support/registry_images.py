"""Images put into a registry by hand, so that any part of them can be wrong."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import httpx

from runtime.image.digest import Digest, sha256
from support.archives import Layout, layer
from support.cli import Lamina
from support.registry import PASSWORD, USER, Registry


class Hand:
    """Talks to a registry as a client that does just what it is told."""

    def __init__(self, registry: Registry, headers: dict[str, str] | None = None) -> None:
        self._url = registry.url
        self._verify = ssl.create_default_context(cafile=registry.ca) if registry.ca else False
        self._headers = headers

    def ask(self, method: str, path: str | httpx.URL, **more: Any) -> httpx.Response:
        """One request, on a connection of its own."""
        with httpx.Client(
            base_url=self._url, verify=self._verify, headers=self._headers, auth=(USER, PASSWORD)
        ) as client:
            return client.request(method, path, **more)

    def put_blob(self, repository: str, data: bytes) -> Digest:
        """Upload a blob."""
        begun = self.ask("POST", f"/v2/{repository}/blobs/uploads/")
        assert begun.status_code == 202, begun.text
        place = httpx.URL(begun.headers["Location"]).copy_merge_params({"digest": sha256(data)})
        done = self.ask("PUT", place, content=data)
        assert done.status_code == 201, done.text
        return sha256(data)

    def put_manifest(self, repository: str, name: str, data: bytes, media_type: str) -> Digest:
        """Upload a manifest under a tag, or its own digest."""
        done = self.ask(
            "PUT",
            f"/v2/{repository}/manifests/{name}",
            content=data,
            headers={"Content-Type": media_type},
        )
        assert done.status_code == 201, done.text
        return sha256(data)

    def manifest(self, repository: str, name: str) -> bytes:
        """The bytes of a manifest."""
        types = [f"application/vnd.oci.image.{kind}.v1+json" for kind in ("manifest", "index")]
        types += [
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.docker.distribution.manifest.list.v2+json",
        ]
        answer = self.ask(
            "GET", f"/v2/{repository}/manifests/{name}", headers={"Accept": ", ".join(types)}
        )
        assert answer.status_code == 200, answer.text
        return answer.content

    def publish(self, repository: str, tag: str, layout: Layout, top: dict[str, Any]) -> Digest:
        """Upload what a layout has, and give one of its manifests or indexes a tag."""
        documents: dict[str, tuple[bytes, str]] = {}
        for name, data in layout.members.items():
            if name.startswith("blobs/"):
                documents[sha256(data)] = (data, _kind(data))
        for data, kind in documents.values():
            if not kind:
                self.put_blob(repository, data)
        for digest, (data, kind) in sorted(documents.items(), key=lambda item: item[1][1]):
            if "manifest.v1" in kind:
                self.put_manifest(repository, digest, data, kind)
        data, kind = documents[top["digest"]]
        return self.put_manifest(repository, tag, data, kind)


def new_image(lamina: Lamina, folder: Path, name: str, **files: str) -> Path:
    """Import an image of one layer with some files, under a name; its tar."""
    tar = folder / f"{sha256(name.encode())[7:]}.tar"
    tar.write_bytes(layer(**files))
    lamina("import", tar, name)
    return tar


def _kind(data: bytes) -> str:
    """The media type of a manifest or an index; nothing for any other blob."""
    try:
        document = json.loads(data)
    except ValueError:
        return ""
    if "manifests" in document:
        return "application/vnd.oci.image.index.v1+json"
    return "application/vnd.oci.image.manifest.v1+json" if "layers" in document else ""
