"""From what a registry gives for a name to the manifest of one image."""

from __future__ import annotations

from runtime.image import json_bytes
from runtime.image.choice import rank
from runtime.image.manifest import MEDIA_TYPE_CONFIG, Index, Manifest
from runtime.image.model import ImageConfig
from runtime.image.platform import Platform
from runtime.image.registry.client import Document, RepositoryClient
from runtime.image.registry.errors import InvalidAnswer, NoSuchPlatform, UnsupportedImage
from runtime.image.registry.media_types import (
    DOCKER_CONFIG,
    INDEXES,
    MANIFESTS,
    is_layer,
    is_schema_1,
)
from runtime.image.registry.platform_choice import choose

_MOST_DEPTH = 4


def image_manifest(client: RepositoryClient, found: Document, wanted: Platform) -> Document:
    """The manifest of the image for a platform, through as many indexes as it takes.

    `NoSuchPlatform`, `UnsupportedImage`, `InvalidAnswer`.
    """
    for _ in range(_MOST_DEPTH):
        if kind(found, client.where) in MANIFESTS:
            return found
        chosen = choose(Index.parse(found.data).manifests, wanted, client.where)
        found = client.manifest(chosen.digest)
        if len(found.data) != chosen.size:
            raise InvalidAnswer(client.where, f"the manifest {chosen.digest} has another size")
    raise UnsupportedImage(client.where, "its indexes are nested too deep")


def kind(document: Document, where: str) -> str:
    """The media type of a manifest or an index, of those that are known.

    What is said of it and what it says of itself have to agree, and it cannot be both: two
    programs would take it for two things (OCI image-spec, manifest.md, "mediaType").
    """
    members = json_bytes.as_object(json_bytes.parse(document.data, "manifest"), "manifest")
    if is_schema_1(document.media_type) or members.get("schemaVersion") == 1:
        raise UnsupportedImage(
            where,
            "its manifest is of Docker's schema 1, which is no longer supported",
            hint="push the image again with a newer Docker",
        )
    known = (*INDEXES, *MANIFESTS)
    inside = json_bytes.string(members, "mediaType", "manifest")
    told = document.media_type if document.media_type in known else ""
    if inside and told and inside != told:
        raise InvalidAnswer(where, f"it says {told} of a manifest that says {inside}")
    if "manifests" in members and ("layers" in members or "config" in members):
        raise InvalidAnswer(where, "its manifest could be an index as well")
    found = inside or told or (INDEXES if "manifests" in members else MANIFESTS)[0]
    if found not in known:
        raise UnsupportedImage(where, f"it is no image, but {found}")
    return found


def read_manifest(document: Document, where: str) -> Manifest:
    """The manifest of an image; `UnsupportedImage` for one of something else."""
    manifest = Manifest.parse(document.data)
    types = (manifest.config.media_type, *(layer.media_type for layer in manifest.layers))
    if types[0] not in (MEDIA_TYPE_CONFIG, DOCKER_CONFIG):
        raise UnsupportedImage(where, f"it is no image, but an artifact ({types[0]})")
    for media_type in types[1:]:
        if not is_layer(media_type):
            raise UnsupportedImage(where, f"it has a layer of the unknown type {media_type}")
    return manifest


def read_config(data: bytes, manifest: Manifest, wanted: Platform, where: str) -> ImageConfig:
    """An image's config, which fits the manifest and the platform."""
    config = ImageConfig.parse(data)
    if len(config.diff_ids) != len(manifest.layers):
        raise InvalidAnswer(
            where,
            f"the manifest has {len(manifest.layers)} layers, the config {len(config.diff_ids)}",
        )
    if config.architecture and rank(config.platform, wanted) is None:
        raise NoSuchPlatform(where, str(wanted), [str(config.platform)])
    return config
