"""What is said of the images of a store: their attestations. Rows go with the images."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.image.attestations import Attestation
from runtime.image.digest import Digest
from runtime.image.store.database import Database


class Statements:
    """The attestations of a store, one of a type for each image."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, image_id: Digest, attestations: Sequence[Attestation]) -> None:
        """Keep attestations of an image, instead of those of the same types before."""
        with self._database.transaction():
            for each in attestations:
                self._database.execute(
                    "INSERT OR REPLACE INTO attestations VALUES (?, ?, ?)",
                    (image_id, each.predicate_type, each.predicate),
                )

    def of(self, image_id: Digest) -> tuple[Attestation, ...]:
        """All attestations of an image, by type."""
        rows = self._database.rows(
            "SELECT predicate_type, predicate FROM attestations WHERE image = ?"
            " ORDER BY predicate_type",
            (image_id,),
        )
        found = []
        for predicate_type, predicate in rows:
            assert isinstance(predicate, bytes)
            found.append(Attestation(str(predicate_type), predicate))
        return tuple(found)
