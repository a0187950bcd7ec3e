"""Image archives made by hand, member by member, so that any of them can be wrong."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.image.digest import sha256
from support import tars

Members = dict[str, bytes]


def layer(**files: str) -> bytes:
    """A layer's tar with some files in it."""
    body = b"".join(tars.file(name.encode(), text.encode()) for name, text in files.items())
    return body + tars.END


def config(*layers: bytes, architecture: str = "amd64", **members: Any) -> bytes:
    """The config of an image with these layers (uncompressed tars)."""
    diff_ids = [sha256(each) for each in layers]
    document = {"architecture": architecture, "os": "linux", **members}
    return json.dumps(document | {"rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()


def blob(data: bytes) -> str:
    return "blobs/sha256/" + sha256(data).removeprefix("sha256:")


def descriptor(data: bytes, media_type: str, **members: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": sha256(data), "size": len(data), **members}


@dataclass
class Layout:
    """An OCI layout in the making."""

    members: Members = field(
        default_factory=lambda: {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
    )
    manifests: list[dict[str, Any]] = field(default_factory=list)

    def put(self, data: bytes, kind: str, **members: Any) -> dict[str, Any]:
        self.members[blob(data)] = data
        return descriptor(data, f"application/vnd.oci.image.{kind}", **members)

    def manifest(self, *layers: bytes, **members: Any) -> dict[str, Any]:
        """An image of these layers, gzipped; its manifest's descriptor."""
        document = config(*layers, **members)
        zipped = [self.put(gzip.compress(each, mtime=0), "layer.v1.tar+gzip") for each in layers]
        described = {"schemaVersion": 2, "config": self.put(document, "config.v1+json")}
        data = json.dumps(described | {"layers": zipped}).encode()
        return self.put(data, "manifest.v1+json")

    def index(self, *manifests: dict[str, Any]) -> dict[str, Any]:
        data = json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()
        return self.put(data, "index.v1+json")

    def add(self, manifest: dict[str, Any], name: str = "", tag: str = "") -> None:
        annotations = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag}
        kept = {key: value for key, value in annotations.items() if value}
        self.manifests.append(manifest | ({"annotations": kept} if kept else {}))

    def done(self) -> Members:
        index = {"schemaVersion": 2, "manifests": self.manifests}
        return {**self.members, "index.json": json.dumps(index).encode()}


def docker(*layers: bytes, tags: tuple[str, ...] = ("app:v1",), **changes: Any) -> Members:
    """What `docker save` writes of one image; `changes` are of its line in the manifest."""
    document = config(*layers)
    name = sha256(document).removeprefix("sha256:") + ".json"
    members = {name: document}
    paths = []
    for number, each in enumerate(layers):
        paths.append(f"{number:064x}/layer.tar")
        members[paths[-1]] = each
    line = {"Config": name, "RepoTags": list(tags), "Layers": paths} | changes
    return {**members, "manifest.json": json.dumps([line]).encode()}


def tar(members: Mapping[str, bytes]) -> bytes:
    return b"".join(tars.file(n.encode(), data) for n, data in members.items()) + tars.END


def write(members: Mapping[str, bytes], directory: Path) -> Path:
    """The members as files."""
    for name, data in members.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return directory
