"""What is known of images elsewhere: their manifests, and what registries have them as."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from runtime.image.digest import Digest, sha256
from runtime.image.platform import Platform
from runtime.image.reference import Reference
from runtime.image.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredManifest:
    """A manifest of an image, in the bytes that a registry has."""

    media_type: str
    document: bytes

    @property
    def digest(self) -> Digest:
        return sha256(self.document)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What a name in a registry gave for a platform, and when (seconds since 1970)."""

    digest: Digest
    image_id: Digest
    asked: int


class Remotes:
    """The memory of a store for what is elsewhere. Rows go with the images they speak of."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put_manifest(self, image_id: Digest, manifest: StoredManifest) -> None:
        """Remember a manifest of an image."""
        self._database.execute(
            "INSERT OR IGNORE INTO manifests VALUES (?, ?, ?, ?)",
            (image_id, manifest.digest, manifest.media_type, manifest.document),
        )

    def manifests(self, image_id: Digest) -> tuple[StoredManifest, ...]:
        """The manifests that are known of an image."""
        rows = self._database.rows(
            "SELECT media_type, document FROM manifests WHERE image = ? ORDER BY digest",
            (image_id,),
        )
        found = []
        for media_type, document in rows:
            assert isinstance(document, bytes)
            found.append(StoredManifest(media_type=str(media_type), document=document))
        return tuple(found)

    def put_digest(self, image_id: Digest, repository: str, digest: Digest) -> None:
        """Remember that `repository@digest` is this image, or an index it is in."""
        self._database.execute(
            "INSERT OR IGNORE INTO repository_digests VALUES (?, ?, ?)",
            (image_id, repository, digest),
        )

    def digests(self, image_id: Digest) -> tuple[Reference, ...]:
        """The names with a digest by which registries have an image."""
        rows = self._database.rows(
            "SELECT repository, digest FROM repository_digests WHERE image = ?"
            " ORDER BY repository, digest",
            (image_id,),
        )
        return tuple(Reference.parse(f"{row[0]!s}@{row[1]!s}") for row in rows)

    def put_resolution(
        self, name: Reference, platform: Platform, digest: Digest, image_id: Digest
    ) -> None:
        """Remember what a registry has under a name, as of now."""
        self._database.execute(
            "INSERT OR REPLACE INTO resolutions VALUES (?, ?, ?, ?, ?)",
            (str(name), str(platform), digest, image_id, int(time.time())),
        )

    def resolution(self, name: Reference, platform: Platform) -> Resolution | None:
        """What a registry had under a name when it was asked last."""
        row = self._database.row(
            "SELECT digest, image, asked FROM resolutions WHERE name = ? AND platform = ?",
            (str(name), str(platform)),
        )
        if row is None:
            return None
        digest, image_id, asked = row
        assert isinstance(asked, int)
        return Resolution(digest=Digest(str(digest)), image_id=Digest(str(image_id)), asked=asked)

    def put_places(self, digests: Iterable[Digest], repository: str) -> None:
        """Remember that a repository has these blobs."""
        with self._database.transaction():
            for digest in digests:
                self._database.execute(
                    "INSERT OR IGNORE INTO blob_repositories VALUES (?, ?)", (digest, repository)
                )

    def places(self, digest: Digest) -> tuple[str, ...]:
        """The repositories that are known to have a blob."""
        rows = self._database.rows(
            "SELECT repository FROM blob_repositories WHERE digest = ? ORDER BY repository",
            (digest,),
        )
        return tuple(str(row[0]) for row in rows)
