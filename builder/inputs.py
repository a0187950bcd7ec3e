"""Where files come from: the context, stages, images, as file trees.

Also who is who: users and groups by name, from the files of a root.
"""

from __future__ import annotations

from collections.abc import Callable

from builder.context import Context
from builder.fingerprint import (
    ContextFingerprints,
    context_key,
    in_context,
    source_digest,
    unpack_known,
)
from builder.steps import FromContext, FromImage, FromNothing, FromStage, Input
from builder.trees import EmptyTree, FileTree
from runtime.image.digest import DiffID
from runtime.image.entry import Entry, FileSource
from runtime.image.store import Store
from runtime.image.view import View

LayersOf = Callable[[int], tuple[DiffID, ...]]

_MEMO = "context-fingerprints"


class Inputs:
    """The inputs of one build. `save` remembers what was learnt of the context's files."""

    def __init__(self, store: Store, context: Context) -> None:
        self._store = store
        self.context = context
        self._fingerprints: ContextFingerprints | None = None

    def tree(self, source: Input, layers_of: LayersOf) -> FileTree:
        """The files of an input; waits for a stage to be built."""
        match source:
            case FromContext():
                return self.context
            case FromStage(index=index):
                return self.view(layers_of(index))
            case FromImage(image_id=image_id):
                return self.view(self._store.image(image_id).config.diff_ids)
            case FromNothing():
                return EmptyTree()

    def layers(self, source: Input, layers_of: LayersOf) -> tuple[DiffID, ...] | None:
        """The layers of an input, where it consists of layers."""
        match source:
            case FromContext():
                return None
            case FromStage(index=index):
                return layers_of(index)
            case FromImage(image_id=image_id):
                return self._store.image(image_id).config.diff_ids
            case FromNothing():
                return ()

    def view(self, layers: tuple[DiffID, ...]) -> View:
        """What a stack of layers looks like."""
        return self._store.view(layers)

    def trees(self, layers: tuple[DiffID, ...]) -> tuple[str, ...]:
        """The trees of a stack of layers, bottom first."""
        return tuple(self._store.tree(diff_id) for diff_id in layers)

    # ---- naming content

    def place(self, entry: Entry) -> str:
        """A name for a file's bytes that needs no reading, where there is one.

        The context's files by digest (remembered), the store's by where they are: what lies
        in a layer never changes.
        """
        if isinstance(entry.content, bytes):
            return f"inline {entry.content!r}"
        if in_context(self.context, entry):
            return self._context_digest(entry)
        relative = entry.content.path.removeprefix(self._store.root.encode())
        return f"stored {relative!r}+{entry.content.offset}"

    def digest(self, entry: Entry) -> str:
        """A name for a file's bytes that is the same wherever they lie."""
        if isinstance(entry.content, FileSource) and not in_context(self.context, entry):
            return source_digest(entry.content, entry.size).hex()
        return self.place(entry)

    def _context_digest(self, entry: Entry) -> str:
        if self._fingerprints is None:
            memo = self._store.get_memo(_MEMO, context_key(self.context))
            known = unpack_known(memo) if memo else {}
            self._fingerprints = ContextFingerprints(self.context, known)
        return self._fingerprints.digest(entry).hex()

    def save(self) -> None:
        """Remember the fingerprints of the context's files for the next build."""
        if self._fingerprints is not None and self._fingerprints.changed():
            key = context_key(self.context)
            self._store.put_memo(_MEMO, key, self._fingerprints.to_bytes())
