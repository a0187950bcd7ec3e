"""Removing a form of a layer that another one gives again."""

from __future__ import annotations

import os
from collections.abc import Sequence

from runtime.image.digest import DiffID, Digest
from runtime.image.errors import LayerError
from runtime.image.store.blobs import unlink_if_there
from runtime.image.store.candidates import Reason, SpareForm
from runtime.image.store.check_layers import blob_problem
from runtime.image.store.database import Row
from runtime.image.store.parts import Parts
from runtime.image.store.remove import remove_tree


def drop_form(parts: Parts, form: SpareForm) -> Reason | None:
    """Remove a form, if nobody uses the layer and another form is as it should be.

    Why not, if not. No other thread of this process may be using the store.
    """
    with parts.holds.taking([form.diff_id]) as taken:
        if not taken:
            return Reason.IN_USE
        parts.layers.forget()
        if form.digest is not None:
            return _drop_blob(parts, form.diff_id, form.digest)
        why, trash = _drop_tree(parts, form.diff_id)
    if trash:
        remove_tree(trash)
    return why


def _drop_blob(parts: Parts, diff_id: DiffID, digest: Digest) -> Reason | None:
    others = "SELECT digest, size FROM blobs WHERE diff_id = ? AND digest != ?"
    rows = parts.database.rows(others, (diff_id, digest))
    if not _tree_gives(parts, diff_id) and not _any_sound(parts, rows):
        return Reason.NEEDED
    parts.database.execute("DELETE FROM blobs WHERE digest = ?", (digest,))
    unlink_if_there(parts.paths.blob(digest))
    return None


def _drop_tree(parts: Parts, diff_id: DiffID) -> tuple[Reason | None, str]:
    database, tree = parts.database, parts.paths.tree(diff_id)
    rows = database.rows("SELECT digest, size FROM blobs WHERE diff_id = ?", (diff_id,))
    if not _any_sound(parts, rows):
        return Reason.NEEDED, ""
    if database.row("SELECT 1 FROM leases WHERE diff_id = ?", (diff_id,)) is not None:
        return Reason.CONTAINER, ""
    if not os.path.lexists(tree):
        return Reason.NEEDED, ""
    database.execute(
        "UPDATE layers SET tree_boot = NULL, tree_bytes = NULL, tree_inodes = NULL"
        " WHERE diff_id = ?",
        (diff_id,),
    )
    trash = parts.new_name()
    os.rename(tree, trash)
    return None, trash


def _any_sound(parts: Parts, rows: Sequence[Row]) -> bool:
    """Whether one of some blobs (digests and sizes) is what it should be."""
    return any(
        not blob_problem(parts.paths.blob(Digest(str(digest))), str(digest), size)
        for digest, size in rows
    )


def _tree_gives(parts: Parts, diff_id: DiffID) -> bool:
    """Whether the layer's tree gives its own bytes: as it is known, or tried and noted."""
    row = parts.database.row(
        "SELECT tree_exact FROM layers WHERE diff_id = ? AND tree_boot IS NOT NULL", (diff_id,)
    )
    if row is None or not os.path.lexists(parts.paths.tree(diff_id)):
        return False
    if row[0] is None:
        from runtime.image.layer.pack import pack_tree

        try:
            tree = parts.paths.tree(diff_id)
            exact = pack_tree(tree, None, owners=parts.layers.owners).diff_id == diff_id
        except (OSError, LayerError):
            return False
        parts.database.execute(
            "UPDATE layers SET tree_exact = ? WHERE diff_id = ?", (int(exact), diff_id)
        )
        return exact
    return bool(row[0])
