"""Whether images, names, steps and leases are whole, and refer to what is there."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Set
from contextlib import suppress
from typing import Final

from runtime.image.digest import DiffID, Digest, sha256
from runtime.image.errors import ArchiveError, InvalidReference
from runtime.image.model import ImageConfig
from runtime.image.reference import Reference
from runtime.image.store.database import Value
from runtime.image.store.faults import Fault, NotMended, fault
from runtime.image.store.parts import Parts

_CONTAINER: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_FAILED: Final = "failed-"
_AGAIN: Final = "kept: build, pull or load it again, or remove it"


class ReferenceChecks:
    """Checks what the database says, given which layers have nothing left of them."""

    def __init__(self, parts: Parts, lost: Set[DiffID], *, repair: bool) -> None:
        self._paths = parts.paths
        self._database = parts.database
        self._lost: frozenset[str] = frozenset(lost)
        self._repair = repair

    def check(self) -> list[Fault]:
        """All faults of references."""
        return [
            *self._orphans(), *self._images(), *self._names(), *self._records(), *self._leases(),
        ]  # fmt: skip

    def _orphans(self) -> list[Fault]:
        """Rows that refer to rows which are not there."""
        found = []
        tables = ("image_layers", "names", "list_images", "replays")
        for table, column in ((table, "image") for table in tables):
            orphans = f"FROM {table} WHERE {column} NOT IN (SELECT id FROM images)"
            for (value,) in self._database.rows(f"SELECT DISTINCT {column} {orphans}"):
                delete = self._deleting(f"DELETE {orphans} AND {column} = ?", value)
                found.append(
                    fault("image", str(value), f"it is not there, but {table} have it", delete)
                )
        return found

    def _images(self) -> list[Fault]:
        found = []
        for image_id, document in self._database.rows("SELECT id, config FROM images ORDER BY id"):
            assert isinstance(document, bytes)
            found += self._image(Digest(str(image_id)), document)
        return found

    def _image(self, image_id: Digest, document: bytes) -> list[Fault]:
        names = [
            str(row[0])
            for row in self._database.rows(
                "SELECT name FROM names WHERE image = ? ORDER BY name", (image_id,)
            )
        ]
        called = f"{image_id} ({', '.join(names)})" if names else image_id
        try:
            config = ImageConfig.parse(document)
        except ArchiveError as error:
            config, problem = None, f"its config cannot be read: {error}"
        else:
            problem = f"its config has {sha256(document)}" if sha256(document) != image_id else ""
        if config is None or problem:
            delete = self._deleting("DELETE FROM images WHERE id = ?", image_id)
            return [fault("image", called, problem, delete)]
        found = []
        rows = self._database.rows(
            "SELECT diff_id FROM image_layers WHERE image = ? ORDER BY position", (image_id,)
        )
        if tuple(str(row[0]) for row in rows) != config.diff_ids:
            mend = self._mending(lambda: self._list_layers(image_id, config))
            found.append(fault("image", called, "its list of layers is not its config's", mend))
        for diff_id in dict.fromkeys(config.diff_ids):
            if diff_id in self._lost or not self._has_rows(diff_id):
                kept = self._mending(_not_mended(_AGAIN))
                found.append(fault("image", called, f"its layer {diff_id} is lost", kept))
        return found

    def _list_layers(self, image_id: Digest, config: ImageConfig) -> str:
        with self._database.transaction():
            self._database.execute("DELETE FROM image_layers WHERE image = ?", (image_id,))
            for position, diff_id in enumerate(config.diff_ids):
                self._database.execute(
                    "INSERT INTO image_layers VALUES (?, ?, ?)", (image_id, position, diff_id)
                )
        return "listed again"

    def _has_rows(self, diff_id: DiffID) -> bool:
        row = self._database.row(
            "SELECT 1 FROM layers WHERE diff_id = ?1 UNION SELECT 1 FROM blobs WHERE diff_id = ?1",
            (diff_id,),
        )
        return row is not None

    def _names(self) -> list[Fault]:
        found = []
        for (name,) in self._database.rows("SELECT name FROM names ORDER BY name"):
            try:
                Reference.parse(str(name))
            except InvalidReference as error:
                delete = self._deleting("DELETE FROM names WHERE name = ?", name)
                found.append(fault("name", str(name), error.message, delete))
        return found

    def _records(self) -> list[Fault]:
        found = []
        for key, components in self._database.rows("SELECT key, components FROM records"):
            with suppress(ValueError):
                if isinstance(json.loads(str(components)), dict):
                    continue
            delete = self._deleting("DELETE FROM records WHERE key = ?", key)
            found.append(fault("record", str(key), "its components cannot be read", delete))
        return found

    def _leases(self) -> list[Fault]:
        found = []
        for (value,) in self._database.rows("SELECT DISTINCT owner FROM leases ORDER BY owner"):
            owner = str(value)
            if (what := self._missing_owner(owner)) is not None:
                delete = self._deleting("DELETE FROM leases WHERE owner = ?", owner)
                found.append(fault("lease", owner, f"there is no such {what}", delete))
                continue
            rows = self._database.rows("SELECT diff_id FROM leases WHERE owner = ?", (owner,))
            for lost in self._lost.intersection(str(row[0]) for row in rows):
                kept = self._mending(_not_mended("kept: remove the container"))
                found.append(fault("lease", owner, f"its layer {lost} is lost", kept))
        return found

    def _missing_owner(self, owner: str) -> str | None:
        """What is not there any more that holds a lease; `None` if it is."""
        root = self._paths.root
        if _CONTAINER.fullmatch(owner):
            return None if os.path.isdir(f"{root}/containers/{owner}") else "container"
        step = owner.removeprefix(_FAILED)
        if step != owner and not os.path.isdir(f"{root}/failed/{step}"):
            return "failed step"
        return None

    def _deleting(self, statement: str, value: Value) -> Callable[[], str] | None:
        def delete() -> str:
            self._database.execute(statement, (value,))
            return "removed"

        return self._mending(delete)

    def _mending(self, mend: Callable[[], str]) -> Callable[[], str] | None:
        return mend if self._repair else None


def _not_mended(why: str) -> Callable[[], str]:
    def refuse() -> str:
        raise NotMended(why)

    return refuse
