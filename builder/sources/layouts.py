"""Images from OCI image layouts on disk, taken into the store (OCI image-spec, image-layout.md).

What a layout has is held to its digests: manifest, config, blobs, and each layer's diff ID.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import closing
from typing import Final

from runtime.image.digest import DiffID, Digest, encoded, sha256
from runtime.image.digest import parse as parse_digest
from runtime.image.errors import ArchiveError
from runtime.image.layer.decompression import open_decompressed
from runtime.image.layer.tar_reader import index_tar
from runtime.image.layer.writer import LayerSum
from runtime.image.manifest import Descriptor, Index, Manifest
from runtime.image.model import ImageConfig
from runtime.image.new_file import write_all
from runtime.image.platform import default_platform
from runtime.image.store.store import Image, Store

_TAG: Final = "org.opencontainers.image.ref.name"
_NAME: Final = "io.containerd.image.name"
_MOST_DOCUMENT: Final = 64 << 20
_MOST_DEPTH: Final = 4
_READ: Final = 1 << 20


def read_layout(store: Store, place: str) -> Image:
    """The image of a layout, `PATH[:TAG|@DIGEST]`; `ArchiveError`.

    It is in the store afterwards, without a name. Without a tag it is the only one, or `latest`.
    """
    layout = _Layout(*_split(place))
    manifest = Manifest.parse(layout.document(layout.manifest()))
    data = layout.document(manifest.config)
    config = ImageConfig.parse(data)
    if len(config.diff_ids) != len(manifest.layers):
        raise ArchiveError(f"{layout.path}: the config has other layers than the manifest")
    for diff_id, descriptor in zip(config.diff_ids, manifest.layers, strict=True):
        if not store.has_layer(diff_id):
            _take(store, layout, descriptor, diff_id)
    return store.image(store.put_image(data))


def _split(place: str) -> tuple[str, str, Digest | None]:
    path, at, digest = place.rpartition("@")
    if at:
        return path, "", parse_digest(digest)
    path, colon, tag = place.rpartition(":")
    return (path, tag, None) if colon and "/" not in tag else (place, "", None)


class _Layout:
    """A layout's directory, and which of its images is wanted."""

    def __init__(self, path: str, tag: str, digest: Digest | None) -> None:
        self.path = path
        self._tag = tag
        self._digest = digest
        if not os.path.isfile(os.path.join(path, "oci-layout")):
            raise ArchiveError(f"{path} is no OCI image layout: it has no file oci-layout")

    def blob(self, digest: Digest) -> str:
        return os.path.join(self.path, "blobs", "sha256", encoded(digest))

    def document(self, descriptor: Descriptor) -> bytes:
        """A manifest's or config's bytes, which are what the digest says."""
        data = _read(self.blob(descriptor.digest))
        if sha256(data) != descriptor.digest or len(data) != descriptor.size:
            raise ArchiveError(f"{self.path}: blob {descriptor.digest} is not what its name says")
        return data

    def manifest(self) -> Descriptor:
        """The manifest that is wanted, through indexes for several platforms."""
        index = Index.parse(_read(os.path.join(self.path, "index.json")))
        found = self._wanted(index.manifests)
        own = default_platform()
        for _ in range(_MOST_DEPTH):
            if not found.media_type.endswith((".index.v1+json", ".manifest.list.v2+json")):
                return found
            inner = Index.parse(self.document(found)).manifests
            ours = [each for each in inner if each.platform in (None, own)]
            if not ours:
                raise ArchiveError(f"{self.path} has no image for {own}")
            found = ours[0]
        raise ArchiveError(f"{self.path}: its indexes are nested too deep")

    def _wanted(self, manifests: tuple[Descriptor, ...]) -> Descriptor:
        if self._digest is not None:
            found = [each for each in manifests if each.digest == self._digest]
        elif self._tag:
            found = [each for each in manifests if self._tag in _tags(each)]
        else:
            latest = [each for each in manifests if "latest" in _tags(each)]
            found = latest or list(manifests)
        names = {each.digest for each in found}
        if len(names) == 1:
            return found[0]
        what = self._digest or self._tag
        has = ", ".join(sorted(set().union(*map(_tags, manifests)))) or "no tags"
        raise ArchiveError(
            f"{self.path} has {'several images' if names else 'no image'}"
            + (f" {what}" if what else ""),
            hint=f"it has {has}: oci-layout://PATH:TAG or oci-layout://PATH@DIGEST",
        )


def _tags(descriptor: Descriptor) -> set[str]:
    annotations = dict(descriptor.annotations)
    tag, name = annotations.get(_TAG, ""), annotations.get(_NAME, "")
    return {text.rpartition(":")[2] for text in (tag, name) if text}


def _take(store: Store, layout: _Layout, descriptor: Descriptor, diff_id: DiffID) -> None:
    """Bring one layer into the store, uncompressed."""
    blob = layout.blob(descriptor.digest)
    compressed = hashlib.sha256()
    with open(blob, "rb") as file:
        while data := file.read(_READ):
            compressed.update(data)
    if "sha256:" + compressed.hexdigest() != descriptor.digest:
        raise ArchiveError(f"{layout.path}: blob {descriptor.digest} is not what its name says")
    with store.workspace() as workspace:
        path = os.path.join(workspace, "layer")
        plain = hashlib.sha256()
        size = 0
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with closing(open_decompressed(blob)) as chunks:
                for chunk in chunks:
                    plain.update(chunk)
                    size += len(chunk)
                    write_all(fd, chunk)
        finally:
            os.close(fd)
        if "sha256:" + plain.hexdigest() != diff_id:
            raise ArchiveError(f"{layout.path}: layer {descriptor.digest} is not {diff_id}")
        store.add_raw(LayerSum(diff_id, size, len(index_tar(path))), path)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        data = file.read(_MOST_DOCUMENT + 1)
    if len(data) > _MOST_DOCUMENT:
        raise ArchiveError(f"{path} is longer than {_MOST_DOCUMENT} bytes")
    return data
