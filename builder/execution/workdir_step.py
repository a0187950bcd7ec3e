"""WORKDIR: a folder that has to be there."""

from __future__ import annotations

from builder.cache.keys import entries_key
from builder.cache.layering import commit_entries
from builder.cache.work import Work
from builder.errors import CopyFailed
from builder.events import Emit, Noticed
from builder.execution.owners import find_ids
from builder.plan.steps import WorkdirStep
from builder.sources.trees import Draft, TooManyLinks, parent, resolve
from grammar.nodes import Span
from runtime.errors import UserNotFound
from runtime.image.digest import DiffID
from runtime.image.layer.entry import Entry, Kind
from runtime.image.layer.view import View
from runtime.image.layer.writer import canonical_order
from runtime.image.store.store import Store


class WorkdirRunner:
    """Makes the layers of WORKDIR steps."""

    def __init__(self, store: Store, emit: Emit) -> None:
        self._store = store
        self._emit = emit

    def work(
        self, step: WorkdirStep, layers: tuple[DiffID, ...], *, epoch: int, span: Span
    ) -> Work:
        """What is missing of the path, 0755 and owned by the user; links are followed."""
        view = self._store.view(layers)
        draft = Draft(view)
        try:
            path = resolve(draft, step.path.encode("utf-8", "surrogateescape"))
        except TooManyLinks as error:
            raise CopyFailed(str(error), span=span) from error
        missing: list[bytes] = []
        while path and (there := draft.lstat(path)) is None:
            missing.append(path)
            path = parent(path)
        else:
            if path and there is not None and there.kind is not Kind.DIRECTORY:
                shown = path.decode("utf-8", "replace")
                raise CopyFailed(f"cannot make directory {step.path}: /{shown} is none", span=span)
        uid, gid = self._owner(view, step.user, span) if missing else (0, 0)
        for folder in reversed(missing):
            draft.put(
                Entry(
                    path=folder,
                    kind=Kind.DIRECTORY,
                    mode=0o755,
                    uid=uid,
                    gid=gid,
                    mtime=epoch,
                )
            )
        entries = canonical_order(draft.finish(epoch)) if missing else []
        return Work(
            key=entries_key(entries, lambda entry: ""),
            do=lambda: commit_entries(self._store, entries),
        )

    def _owner(self, view: View, user: str, span: Span) -> tuple[int, int]:
        """The user's IDs; root's, with a word, for a user that the root does not know."""
        try:
            ids = find_ids(view, user)
        except UserNotFound as error:
            self._emit(Noticed(message=f"{error.message}: WORKDIR is made for root", span=span))
            return 0, 0
        return ids.uid, ids.gid
