"""Images: a config, its layers, and the names that point to it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from runtime.image.digest import DiffID, Digest, sha256
from runtime.image.errors import (
    ArchiveError,
    BlobCorrupt,
    ImageNotFound,
    ImageReferenced,
    InvalidReference,
    StoreError,
)
from runtime.image.model import ImageConfig
from runtime.image.platform import default_platform
from runtime.image.reference import Reference
from runtime.image.store.database import Database
from runtime.image.store.holds import Holds
from runtime.image.store.records import TOUCH_AFTER_SECONDS

CONFIG_LIMIT: Final = 8 << 20
"""Of an image's config, in bytes; Docker's tools stop at four."""

_ID = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image in the store.

    `document` is the config as it came, `size` that of the layers, uncompressed.
    """

    id: Digest
    config: ImageConfig
    document: bytes
    names: tuple[Reference, ...]
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Untagged:
    """What the removal of an image took away so far: the layers are the collection's business."""

    names: tuple[Reference, ...]
    image: Digest | None
    layers: tuple[DiffID, ...]


class Images:
    """The images of a store."""

    def __init__(
        self, database: Database, holds: Holds, has_layer: Callable[[DiffID], bool]
    ) -> None:
        self._database = database
        self._holds = holds
        self._has_layer = has_layer

    def put(self, config: ImageConfig | bytes) -> Digest:
        """Store an image; its layers have to be there. Returns its ID.

        Give the bytes of a config that came from elsewhere: they are kept as they are.
        """
        if isinstance(config, ImageConfig):
            data, parsed = config.to_bytes(), config
        else:
            data, parsed = config, ImageConfig.parse(config)
        if len(data) > CONFIG_LIMIT:
            raise ArchiveError(f"image config is longer than {CONFIG_LIMIT} bytes")
        for diff_id in parsed.diff_ids:
            if not self._has_layer(diff_id):
                raise StoreError(f"layer {diff_id} of the image is not in the store")
        image_id = sha256(data)
        self._holds.hold(image_id)
        with self._database.transaction():
            if not self._database.execute(
                "INSERT INTO images (id, config, last_used) VALUES (?, ?, ?)"
                " ON CONFLICT (id) DO NOTHING",
                (image_id, data, int(time.time())),
            ):
                self._touch(image_id)
                return image_id
            for position, diff_id in enumerate(parsed.diff_ids):
                self._database.execute(
                    "INSERT INTO image_layers VALUES (?, ?, ?)", (image_id, position, diff_id)
                )
        return image_id

    def tag(self, name: Reference, image_id: Digest) -> None:
        """Let a name point to an image, whatever it pointed to before."""
        with self._database.transaction():
            if not self._exists(image_id):
                raise ImageNotFound(image_id)
            self._database.execute(
                "INSERT OR REPLACE INTO names VALUES (?, ?)", (row_name(name), image_id)
            )

    def get(self, name_or_id: str) -> Image:
        """The image of a name, an ID, or the beginning of just one ID; `ImageNotFound`.

        Its layers stay while we have the store open, whatever becomes of the image.
        """
        image_id = self.resolve(name_or_id)[0]
        self._holds.hold(image_id)
        image = self._load(image_id)
        self._holds.hold(*image.config.diff_ids)
        if not self._exists(image_id):
            raise ImageNotFound(image_id)
        self._touch(image_id)
        return image

    def all(self) -> list[Image]:
        """Every image, by its names, those without a name last."""
        images = []
        for row in self._database.rows("SELECT id FROM images ORDER BY id"):
            # Another process may remove it after we have listed it.
            with suppress(ImageNotFound):
                images.append(self._load(Digest(str(row[0]))))
        return sorted(images, key=lambda image: (not image.names, [str(n) for n in image.names]))

    def resolve(self, name_or_id: str) -> tuple[Digest, Reference | None]:
        """The ID of an image, and the name it was found by, if it was by one."""
        try:
            name = Reference.parse(name_or_id)
        except InvalidReference:
            name = None
            if not _ID.fullmatch(name_or_id):
                raise
        found = name and self._by_name(name)
        if found:
            return found
        image_id = self._by_prefix(name_or_id)
        if image_id is None:
            raise ImageNotFound(name_or_id, hint=self._close_match(name_or_id))
        return image_id, None

    def untag(self, name_or_id: str, *, force: bool) -> Untagged:
        """Remove a name; with its last name, the image. By ID, all its names, if it has but one.

        `ImageReferenced` for an ID with several names, unless forced.
        """
        with self._database.transaction():
            return self._untag(name_or_id, force=force)

    def _untag(self, name_or_id: str, *, force: bool) -> Untagged:
        image_id, name = self.resolve(name_or_id)
        names = self._names(image_id)
        if name is None and len(names) > 1 and not force:
            raise ImageReferenced(image_id, [each.tagged() for each in names])
        gone = names if name is None else (name,)
        for each in gone:
            self._database.execute("DELETE FROM names WHERE name = ?", (row_name(each),))
            # A list of that name is what a build of several platforms made: it goes, too.
            self._database.execute(
                "DELETE FROM lists WHERE name = ?1 AND EXISTS"
                " (SELECT 1 FROM list_images WHERE list = ?1 AND image = ?2)",
                (row_name(each), image_id),
            )
        if len(gone) < len(names) or self._is_listed(image_id):
            return Untagged(names=gone, image=None, layers=())
        layers = self._database.rows(
            "SELECT DISTINCT diff_id FROM image_layers WHERE image = ?", (image_id,)
        )
        self._database.execute("DELETE FROM images WHERE id = ?", (image_id,))
        return Untagged(
            names=gone, image=image_id, layers=tuple(DiffID(str(row[0])) for row in layers)
        )

    def _is_listed(self, image_id: Digest) -> bool:
        return (
            self._database.row("SELECT 1 FROM list_images WHERE image = ?", (image_id,)) is not None
        )

    def _load(self, image_id: Digest) -> Image:
        row = self._database.row(
            "SELECT config, (SELECT coalesce(sum(size), 0) FROM image_layers JOIN layers"
            " USING (diff_id) WHERE image = id) FROM images WHERE id = ?",
            (image_id,),
        )
        if row is None:
            raise ImageNotFound(image_id)
        document, size = row
        assert isinstance(document, bytes)
        assert isinstance(size, int)
        if sha256(document) != image_id:
            raise BlobCorrupt(image_id, sha256(document))
        return Image(
            id=image_id,
            config=ImageConfig.parse(document),
            document=document,
            names=self._names(image_id),
            size=size,
        )

    def _touch(self, image_id: Digest) -> None:
        """Note that the image is used, if that was not noted just now."""
        now = int(time.time())
        unnoted = "id = ? AND abs(last_used - ?) > ?"
        values = (image_id, now, TOUCH_AFTER_SECONDS)
        if self._database.row(f"SELECT 1 FROM images WHERE {unnoted}", values) is not None:
            self._database.execute(
                f"UPDATE images SET last_used = ? WHERE {unnoted}", (now, *values)
            )

    def _exists(self, image_id: Digest) -> bool:
        return self._database.row("SELECT 1 FROM images WHERE id = ?", (image_id,)) is not None

    def _names(self, image_id: Digest) -> tuple[Reference, ...]:
        rows = self._database.rows(
            "SELECT name FROM names WHERE image = ? ORDER BY name", (image_id,)
        )
        return tuple(Reference.parse(str(row[0])) for row in rows)

    def _by_name(self, name: Reference) -> tuple[Digest, Reference] | None:
        row = self._database.row("SELECT image FROM names WHERE name = ?", (row_name(name),))
        if row is not None:
            return Digest(str(row[0])), Reference.parse(row_name(name))
        return None

    def _by_prefix(self, text: str) -> Digest | None:
        match = _ID.fullmatch(text)
        if match is None:
            return self._by_repository_and_digest(text)
        rows = self._database.rows(
            "SELECT id FROM images WHERE id GLOB ? LIMIT 3", (f"sha256:{match[1]}*",)
        )
        if len(rows) > 1:
            raise ImageNotFound(text, hint="more than one image ID begins so: give more of it")
        return Digest(str(rows[0][0])) if rows else None

    def _by_repository_and_digest(self, text: str) -> Digest | None:
        """`repository@digest`: what a registry has by it, or the image of that ID and name."""
        name = Reference.parse(text)
        if name.digest is None:
            return None
        rows = self._database.rows(
            "SELECT image, config FROM repository_digests JOIN images ON image = id"
            " WHERE repository = ? AND digest = ? ORDER BY image",
            (name.repository, name.digest),
        )
        for image_id, config in rows:
            assert isinstance(config, bytes)
            if len(rows) == 1 or ImageConfig.parse(config).platform == default_platform():
                return Digest(str(image_id))
        names = self._names(name.digest)
        return name.digest if any(n.repository == name.repository for n in names) else None

    def _close_match(self, text: str) -> str | None:
        import difflib

        rows = self._database.rows("SELECT name FROM names")
        names = [Reference.parse(str(row[0])).familiar() for row in rows]
        close = difflib.get_close_matches(text, names, n=1)
        return f"did you mean {close[0]}?" if close else None


def row_name(name: Reference) -> str:
    """How a name is kept: with a digest, the tag says nothing (Docker's rule)."""
    if name.digest is not None:
        return f"{name.repository}@{name.digest}"
    return str(name)
