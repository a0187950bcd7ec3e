"""Where files come from: the context, stages, images, as file trees; names for what is in them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from builder.plan.named_contexts import NamedContexts, NamedDirectory, NamedImage
from builder.plan.remote_names import Remote, Repository
from builder.plan.steps import (
    FromContext,
    FromImage,
    FromNamed,
    FromNothing,
    FromStage,
    Input,
)
from builder.sources.context import Context, FileStamp, open_context
from builder.sources.fetcher import Fetcher
from builder.sources.fingerprint import (
    ContextFingerprints,
    context_key,
    in_context,
    source_digest,
    unpack_known,
)
from builder.sources.trees import EmptyTree, FileTree
from runtime.image.digest import DiffID
from runtime.image.layer.entry import Entry, FileSource
from runtime.image.layer.view import View
from runtime.image.store.store import Store

Layers = tuple[DiffID, ...]
LayersOf = Callable[[int], Layers]

_MEMO = "context-fingerprints"


class Inputs:
    """The inputs of one build. `save` remembers what was learnt of the contexts' files.

    The build context is a directory, or layers if it was fetched. Named contexts are opened or
    fetched when they are first asked for.
    """

    def __init__(
        self,
        store: Store,
        context: Context | Layers,
        fetcher: Fetcher,
        named: NamedContexts | None = None,
    ) -> None:
        self._store = store
        self._context = context
        self._fetcher = fetcher
        self._named: NamedContexts = named or {}
        self._opened: dict[str, Context | Layers] = {}
        self._guard = threading.RLock()
        self._directories = [context] if isinstance(context, Context) else []
        self._fingerprints: dict[bytes, ContextFingerprints] = {}

    def tree(self, source: Input, layers_of: LayersOf) -> FileTree:
        """The files of an input; waits for a stage to be built."""
        match source:
            case FromContext():
                return self._files(self._context)
            case FromNamed(name=name):
                return self._files(self._open(name))
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
                return None if isinstance(self._context, Context) else self._context
            case FromNamed(name=name):
                opened = self._open(name)
                return None if isinstance(opened, Context) else opened
            case FromStage(index=index):
                return layers_of(index)
            case FromImage(image_id=image_id):
                return self._store.image(image_id).config.diff_ids
            case FromNothing():
                return ()

    def fetched(self, remote: Remote) -> tuple[FileTree, bytes]:
        """What ADD takes from elsewhere, as a path in a tree."""
        return self._fetcher.source(remote)

    def commit(self, repository: Repository) -> str:
        """The commit that a repository is taken at."""
        return self._fetcher.commit(repository)

    def _files(self, opened: Context | Layers) -> FileTree:
        return opened if isinstance(opened, Context) else self.view(opened)

    def _open(self, name: str) -> Context | Layers:
        """A named context, opened once."""
        with self._guard:
            if name not in self._opened:
                match self._named[name]:
                    case NamedDirectory(path=path):
                        context = open_context(path, os.path.join(path, ""))
                        self._directories.append(context)
                        self._opened[name] = context
                    case NamedImage():
                        raise AssertionError("the planner takes an image for what it is")
                    case remote:
                        self._opened[name] = (self._fetcher.files(remote),)
            return self._opened[name]

    def view(self, layers: tuple[DiffID, ...]) -> View:
        """What a stack of layers looks like."""
        return self._store.view(layers)

    def trees(self, layers: tuple[DiffID, ...]) -> tuple[str, ...]:
        """The trees of a stack of layers, bottom first."""
        return tuple(self._store.tree(diff_id) for diff_id in layers)

    # ---- naming content

    def place(self, entry: Entry) -> str:
        """A name for a file's bytes that needs no reading, where there is one.

        A context's files by digest (remembered), the store's by where they are: what lies
        in a layer never changes.
        """
        if isinstance(entry.content, bytes):
            return f"inline {entry.content!r}"
        for context in self._directories:
            if in_context(context, entry):
                return self._context_digest(context, entry)
        relative = entry.content.path.removeprefix(self._store.root.encode())
        return f"stored {relative!r}+{entry.content.offset}"

    def digest(self, entry: Entry) -> str:
        """A name for a file's bytes that is the same wherever they lie."""
        if isinstance(entry.content, FileSource) and not any(
            in_context(context, entry) for context in self._directories
        ):
            return source_digest(entry.content, entry.size).hex()
        return self.place(entry)

    def _context_digest(self, context: Context, entry: Entry) -> str:
        found = self._fingerprints.get(context.root)
        if found is None:
            memo = self._store.get_memo(_MEMO, context_key(context))
            found = ContextFingerprints(context, unpack_known(memo) if memo else {})
            found = self._fingerprints.setdefault(context.root, found)
        return found.digest(entry).hex()

    def seen(self) -> dict[bytes, FileStamp | None]:
        """What was looked at in directories, by its full path."""
        seen: dict[bytes, FileStamp | None] = {}
        for context in self._directories:
            seen.update(context.stamps)
        return seen

    def save(self) -> None:
        """Remember the fingerprints of the contexts' files for the next build."""
        for context in self._directories:
            found = self._fingerprints.get(context.root)
            if found is not None and found.changed():
                self._store.put_memo(_MEMO, context_key(context), found.to_bytes())
