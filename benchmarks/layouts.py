"""An image of one layer as an OCI layout, for those who are to unpack it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

TYPE = "application/vnd.oci.image."


def write_layout(layout: Path, blob: Path, diff_id: str) -> None:
    """Make a layout of a gzip blob, which is moved into it; the image is called `layer`."""
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    with blob.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = blob.stat().st_size
    blob.rename(blobs / digest)
    layer = {"mediaType": f"{TYPE}layer.v1.tar+gzip", "digest": f"sha256:{digest}", "size": size}
    rootfs = {"type": "layers", "diff_ids": [diff_id]}
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{TYPE}manifest.v1+json",
        "config": {"mediaType": f"{TYPE}config.v1+json", **_put(blobs, config)},
        "layers": [layer],
    }
    entry = {"mediaType": f"{TYPE}manifest.v1+json", **_put(blobs, manifest)}
    entry["annotations"] = {"org.opencontainers.image.ref.name": "layer"}
    index = {"schemaVersion": 2, "manifests": [entry]}
    (layout / "index.json").write_text(json.dumps(index))
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


def blob_path(layout: Path) -> Path:
    """Where the layer of such a layout lies."""
    manifest = _read(layout, json.loads((layout / "index.json").read_text())["manifests"][0])
    return _path(layout, manifest["layers"][0])


def _put(blobs: Path, document: dict[str, Any]) -> dict[str, Any]:
    data = json.dumps(document).encode()
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


def _read(layout: Path, descriptor: dict[str, Any]) -> Any:
    return json.loads(_path(layout, descriptor).read_bytes())


def _path(layout: Path, descriptor: dict[str, Any]) -> Path:
    digest: str = descriptor["digest"]
    return layout / "blobs" / "sha256" / digest.removeprefix("sha256:")
