"""How an image's parts hang together outside a store (OCI image-spec, manifest.md, descriptor.md).

Written canonically; manifests from elsewhere are kept as the bytes they came in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from runtime.image import json_bytes
from runtime.image.digest import Digest
from runtime.image.digest import parse as parse_digest
from runtime.image.errors import ArchiveError, InvalidDigest
from runtime.image.json_bytes import Json
from runtime.image.platform import Platform

MEDIA_TYPE_INDEX: Final = "application/vnd.oci.image.index.v1+json"
MEDIA_TYPE_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
MEDIA_TYPE_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
MEDIA_TYPE_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
"""Of an uncompressed layer; `+gzip` or `+zstd` is appended for a compressed one."""

Annotations = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What a blob is, by its digest and size; whoever reads the blob holds it to both."""

    media_type: str
    digest: Digest
    size: int
    annotations: Annotations = ()
    platform: Platform | None = None
    artifact_type: str = ""

    @classmethod
    def from_json(cls, value: Json, document: str) -> Descriptor:
        members = json_bytes.as_object(value, document)
        try:
            digest = parse_digest(json_bytes.string(members, "digest", document))
        except InvalidDigest as error:
            raise ArchiveError(f"{document}: {error.message}") from error
        size = json_bytes.integer(members, "size", document)
        if size < 0:
            raise ArchiveError(f"{document}: size is negative")
        return cls(
            media_type=json_bytes.string(members, "mediaType", document),
            digest=digest,
            size=size,
            annotations=_annotations(members, document),
            platform=_platform(members, document),
            artifact_type=json_bytes.string(members, "artifactType", document),
        )

    def to_json(self) -> dict[str, Json]:
        document: dict[str, Json] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size,
        }
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        if self.platform is not None:
            platform = {"os": self.platform.os, "architecture": self.platform.architecture}
            if self.platform.variant:
                platform["variant"] = self.platform.variant
            document["platform"] = platform
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One image: its config and its layers, bottom first.

    Or something else in the form of one: an artifact of some type, which may speak of a `subject`.
    """

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Annotations = ()
    artifact_type: str = ""
    subject: Descriptor | None = None

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """Read a manifest, Docker's (schema 2) or OCI's; `ArchiveError` if it is neither."""
        document = "image manifest"
        members = json_bytes.as_object(json_bytes.parse(data, document), document)
        if json_bytes.integer(members, "schemaVersion", document) != 2:
            raise ArchiveError(f"{document} is not of schema version 2")
        layers = json_bytes.as_list(members.get("layers"), f"{document}: layers")
        subject = members.get("subject")
        return cls(
            config=Descriptor.from_json(members.get("config"), f"{document}: config"),
            layers=tuple(Descriptor.from_json(layer, f"{document}: layer") for layer in layers),
            annotations=_annotations(members, document),
            artifact_type=json_bytes.string(members, "artifactType", document),
            subject=None
            if subject is None
            else Descriptor.from_json(subject, f"{document}: subject"),
        )

    def to_bytes(self) -> bytes:
        document: dict[str, Json] = {
            "schemaVersion": 2,
            "mediaType": MEDIA_TYPE_MANIFEST,
            "config": self.config.to_json(),
            "layers": [layer.to_json() for layer in self.layers],
        }
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        if self.subject is not None:
            document["subject"] = self.subject.to_json()
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        return json_bytes.canonical(document)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Several manifests: of one image on several platforms, or of all images in a layout."""

    manifests: tuple[Descriptor, ...]
    annotations: Annotations = ()

    @classmethod
    def parse(cls, data: bytes) -> Index:
        """Read an index, or Docker's manifest list; `ArchiveError` if it is neither."""
        document = "image index"
        members = json_bytes.as_object(json_bytes.parse(data, document), document)
        if json_bytes.integer(members, "schemaVersion", document) != 2:
            raise ArchiveError(f"{document} is not of schema version 2")
        manifests = json_bytes.as_list(members.get("manifests"), f"{document}: manifests")
        return cls(
            manifests=tuple(Descriptor.from_json(item, document) for item in manifests),
            annotations=_annotations(members, document),
        )

    def to_bytes(self) -> bytes:
        document: dict[str, Json] = {
            "schemaVersion": 2,
            "mediaType": MEDIA_TYPE_INDEX,
            "manifests": [manifest.to_json() for manifest in self.manifests],
        }
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        return json_bytes.canonical(document)


def _annotations(members: Mapping[str, Json], document: str) -> Annotations:
    annotations = json_bytes.as_object(members.get("annotations"), f"{document}: annotations")
    return tuple(
        (name, json_bytes.string(annotations, name, f"{document}: annotations"))
        for name in sorted(annotations)
    )


def _platform(members: Mapping[str, Json], document: str) -> Platform | None:
    if members.get("platform") is None:
        return None
    platform = json_bytes.as_object(members["platform"], f"{document}: platform")
    return Platform(
        os=json_bytes.string(platform, "os", document),
        architecture=json_bytes.string(platform, "architecture", document),
        variant=json_bytes.string(platform, "variant", document),
    )
