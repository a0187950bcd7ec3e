"""Media types of manifests and layers, OCI's and Docker's."""

from __future__ import annotations

from typing import Final

from runtime.image.manifest import MEDIA_TYPE_INDEX, MEDIA_TYPE_LAYER, MEDIA_TYPE_MANIFEST

DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
"""Of an uncompressed layer; `.gzip` is appended for a compressed one."""
_SCHEMA_1: Final = "application/vnd.docker.distribution.manifest.v1+"
_FOREIGN: Final = (
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
)

INDEXES: Final = (MEDIA_TYPE_INDEX, DOCKER_LIST)
MANIFESTS: Final = (MEDIA_TYPE_MANIFEST, DOCKER_MANIFEST)
ACCEPT: Final = ", ".join((*INDEXES, *MANIFESTS))
"""Everything in one header: servers answer 404 for what is there, but not asked for."""


def is_schema_1(media_type: str) -> bool:
    """Whether a manifest is of Docker's first schema, which has no config."""
    return media_type.startswith(_SCHEMA_1)


def is_foreign(media_type: str) -> bool:
    """Whether a layer is one that registries do not keep, for its licence's sake."""
    return media_type.startswith(_FOREIGN)


def is_layer(media_type: str) -> bool:
    """Whether this is a file system layer, and not an artifact's something."""
    return media_type.startswith((MEDIA_TYPE_LAYER, DOCKER_LAYER, *_FOREIGN))
