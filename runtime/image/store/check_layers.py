"""Whether layers are what their names say, form by form; and making them so.

Every blob is hashed. A tree is packed again, which gives its diff ID if this program wrote the
layer; the tree of a foreign one is compared with what its blob is extracted to. A broken form is
made again from a sound one. A layer without any is dropped, and what only remembers it with it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Final, TypeVar

from runtime.image.digest import DiffID, Digest
from runtime.image.errors import LayerError, StoreError
from runtime.image.layer.extract import extract_layer
from runtime.image.layer.pack import pack_tree
from runtime.image.layer.recipe import own_recipes
from runtime.image.store.blobs import unlink_if_there
from runtime.image.store.database import Value
from runtime.image.store.faults import Fault, NotMended, fault
from runtime.image.store.layers import layer_tar
from runtime.image.store.parts import Parts
from runtime.image.store.remove import remove_tree

_CHUNK: Final = 1 << 20
_Argument = TypeVar("_Argument")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerChecked:
    """A layer's faults; whether nothing of it is left; what could not be judged."""

    faults: tuple[Fault, ...] = ()
    lost: bool = False
    trees: int = 0
    blobs: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Blob:
    digest: Digest
    media_type: str
    compressor: str
    problem: str


class LayerChecks:
    """Checks layers, each in any thread; `repair` is whether to mend them too."""

    def __init__(self, parts: Parts, *, repair: bool) -> None:
        self._paths = parts.paths
        self._database = parts.database
        self._layers = parts.layers
        self._holds = parts.holds
        self._new_name = parts.new_name
        self._repair = repair

    def check(self, diff_id: DiffID) -> LayerChecked:
        """Check one layer: all its forms, and whether there is one."""
        self._holds.hold(diff_id)
        blobs = self._blobs(diff_id)
        sound = [blob for blob in blobs if not blob.problem]
        tree = os.path.lexists(self._paths.tree(diff_id))
        problem = note = ""
        if tree:
            problem, note = self._judge_tree(diff_id, [blob.digest for blob in sound])
        faults = [
            fault("blob", blob.digest, blob.problem, self._mending(diff_id, self._drop_blob, blob))
            for blob in blobs
            if blob.problem
        ]
        if problem:
            mend = self._mending(diff_id, self._drop_tree, bool(sound))
            faults.append(fault("tree", diff_id, problem, mend))
        lost = not sound and (not tree or bool(problem))
        steps = self._count_steps(diff_id) if lost else 0
        if steps:
            what = f"nothing sound is left of what {steps} step{'' if steps == 1 else 's'} gave"
            mend = self._mending(diff_id, self._forget_steps, None)
            faults.append(fault("layer", diff_id, what, mend))
        return LayerChecked(
            faults=tuple(faults), lost=lost, trees=int(tree), blobs=len(blobs), note=note
        )

    # ---- judging

    def _blobs(self, diff_id: DiffID) -> list[_Blob]:
        rows = self._database.rows(
            "SELECT digest, size, media_type, compressor FROM blobs WHERE diff_id = ?", (diff_id,)
        )
        return [
            _Blob(
                Digest(str(digest)),
                str(media_type),
                str(compressor),
                blob_problem(self._paths.blob(Digest(str(digest))), str(digest), size),
            )
            for digest, size, media_type, compressor in rows
        ]

    def _judge_tree(self, diff_id: DiffID, blobs: list[Digest]) -> tuple[str, str]:
        """What is wrong with a tree, and what cannot be said of it."""
        row = self._database.row("SELECT tree_lossy FROM layers WHERE diff_id = ?", (diff_id,))
        if row is not None and row[0]:
            return "", f"tree {diff_id} lacks what could not be made here: not verified"
        try:
            packed = pack_tree(self._paths.tree(diff_id), None, owners=self._layers.owners)
            exact = packed.diff_id == diff_id
            if not exact and not any(self._gives(d, diff_id, packed.diff_id) for d in blobs):
                return f"its files give {packed.diff_id}", ""
        except (OSError, LayerError) as error:
            return f"it cannot be read: {error}", ""
        if row is None:
            if not exact:
                return "it is not known", ""
            self._database.execute(
                "INSERT OR IGNORE INTO layers (diff_id, size) VALUES (?, ?)", (diff_id, packed.size)
            )
        self._database.execute(
            "UPDATE layers SET tree_boot = '', tree_exact = ? WHERE diff_id = ?",
            (int(exact), diff_id),
        )
        return "", ""

    def _gives(self, blob: Digest, diff_id: DiffID, packed: DiffID) -> bool:
        """Whether a blob is extracted to a tree that packs to the same."""
        tree = self._new_name()
        os.mkdir(tree)
        owners = self._layers.owners
        try:
            with closing(layer_tar(self._paths, diff_id, blob)) as chunks:
                extract_layer(chunks, tree, skip_devices_if_forbidden=True, owners=owners)
            return pack_tree(tree, None, owners=owners).diff_id == packed
        except LayerError:
            return False
        finally:
            remove_tree(tree)

    def _count_steps(self, diff_id: DiffID) -> int:
        row = self._database.row("SELECT count(*) FROM records WHERE diff_id = ?", (diff_id,))
        assert row is not None
        assert isinstance(row[0], int)
        return row[0]

    # ---- mending

    def _mending(
        self, diff_id: DiffID, act: Callable[[DiffID, _Argument], str], argument: _Argument
    ) -> Callable[[], str] | None:
        """What to do about a fault while nobody else uses the layer; nothing, if not to repair."""
        if not self._repair:
            return None

        def mend() -> str:
            with self._holds.taking([diff_id]) as taken:
                if not taken:
                    raise NotMended("it is in use by another process")
                self._layers.forget()
                return act(diff_id, argument)

        return mend

    def _drop_blob(self, diff_id: DiffID, blob: _Blob) -> str:
        self._database.execute("DELETE FROM blobs WHERE digest = ?", (blob.digest,))
        unlink_if_there(self._paths.blob(blob.digest))
        recipe = own_recipes().get(blob.compressor)
        if recipe is None:
            return "removed"  # What was compressed elsewhere cannot be made again here.
        try:
            made = self._layers.blob(diff_id, recipe)
        except (StoreError, LayerError):
            return "removed"
        return "made again" if made.digest == blob.digest else "removed"

    def _drop_tree(self, diff_id: DiffID, has_blob: bool) -> str:
        trash = self._new_name()
        os.rename(self._paths.tree(diff_id), trash)
        self._database.execute(
            "UPDATE layers SET tree_boot = NULL, tree_exact = NULL WHERE diff_id = ?", (diff_id,)
        )
        remove_tree(trash)
        if not has_blob:
            return "removed"
        try:
            self._layers.tree(diff_id)
        except (StoreError, LayerError) as error:
            raise NotMended(f"removed, and cannot be made again: {error}") from error
        return "made again"

    def _forget_steps(self, diff_id: DiffID, _: None) -> str:
        self._database.execute("DELETE FROM records WHERE diff_id = ?", (diff_id,))
        return "forgotten: they will run again"


def blob_problem(path: str, digest: str, size: Value) -> str:
    """What is wrong with a blob's file; empty if it is what its row says."""
    hasher = hashlib.sha256()
    length = 0
    try:
        with open(path, "rb", buffering=0) as file:
            while piece := file.read(_CHUNK):
                hasher.update(piece)
                length += len(piece)
    except FileNotFoundError:
        return "it is missing"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    if length != size:
        return f"it has {length} bytes instead of {size!r}"
    actual = f"sha256:{hasher.hexdigest()}"
    return "" if actual == digest else f"its content has {actual}"
