"""Lists: several images under one name, each for a platform of its own.

An image in a list stays as one with a name does. A list may have the name of an image; that
image is then the one of this machine's platform, as a build of several platforms leaves it.
"""

from __future__ import annotations

from collections.abc import Sequence

from runtime.image.digest import Digest
from runtime.image.errors import ImageNotFound
from runtime.image.reference import Reference
from runtime.image.store.database import Database


class Lists:
    """The lists of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, name: Reference, images: Sequence[Digest]) -> None:
        """Let a list be of these images, whatever it was before; `ImageNotFound`."""
        with self._database.transaction():
            self.drop(name)
            self._database.execute("INSERT INTO lists VALUES (?)", (str(name),))
            for position, image in enumerate(images):
                if self._database.row("SELECT 1 FROM images WHERE id = ?", (image,)) is None:
                    raise ImageNotFound(image)
                self._database.execute(
                    "INSERT INTO list_images VALUES (?, ?, ?)", (str(name), position, image)
                )

    def get(self, name: Reference) -> tuple[Digest, ...] | None:
        """The images of a list, in its order; `None` if there is no such list."""
        if self._database.row("SELECT 1 FROM lists WHERE name = ?", (str(name),)) is None:
            return None
        rows = self._database.rows(
            "SELECT image FROM list_images WHERE list = ? ORDER BY position", (str(name),)
        )
        return tuple(Digest(str(row[0])) for row in rows)

    def drop(self, name: Reference) -> None:
        """Forget a list; its images stay."""
        self._database.execute("DELETE FROM lists WHERE name = ?", (str(name),))
