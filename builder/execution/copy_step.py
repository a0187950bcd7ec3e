"""COPY and ADD: looking their result up, or writing their layer.

The layer goes straight from the sources into a tar; no tree is made of it until a RUN needs one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from builder.cache.keys import Key, entries_key, identity
from builder.cache.layering import commit_entries
from builder.cache.work import Work
from builder.errors import ContextError, CopyFailed, RemoteError
from builder.events import Emit, Noticed
from builder.execution.copy import CopyProblem, CopyRules, copy_entries
from builder.execution.owners import find_chown
from builder.plan.chmod import parse_chmod
from builder.plan.remote_names import RemoteFile, Repository
from builder.plan.steps import CopyStep
from builder.sources.context import Context
from builder.sources.inputs import Inputs, LayersOf
from builder.sources.trees import EmptyTree, TooManyLinks
from builder.sources.unpack import Unpacker
from grammar.nodes import Span
from runtime.errors import UserNotFound
from runtime.image.digest import DiffID
from runtime.image.errors import ImageError
from runtime.image.layer.entry import Entry
from runtime.image.layer.writer import canonical_order
from runtime.image.store.store import Store


def copy_facts(step: CopyStep) -> dict[str, str]:
    """What the entries of a copy came from, to explain them by."""
    return {
        "sources": identity([each for each in step.sources if isinstance(each, str)]),
        "destination": step.destination,
        "input": identity(step.input),
    }


class CopyRunner:
    """Makes the layers of COPY and ADD steps."""

    def __init__(
        self, store: Store, inputs: Inputs, unpacker: Unpacker, layers_of: LayersOf, emit: Emit
    ) -> None:
        self._emit = emit
        self._store = store
        self._inputs = inputs
        self._unpacker = unpacker
        self._layers_of = layers_of

    def work(self, step: CopyStep, layers: tuple[DiffID, ...], *, epoch: int, span: Span) -> Work:
        """Find what is to be copied. `CopyFailed` says what cannot be, and where."""

        def notice(message: str) -> None:
            self._emit(Noticed(message=message, span=span))

        try:
            return self._work(step, layers, epoch, notice)
        except CopyProblem as error:
            raise CopyFailed(error.message, span=span, hint=error.hint) from error
        except (TooManyLinks, UserNotFound) as error:
            raise CopyFailed(str(error), span=span) from error
        except ImageError as error:
            raise CopyFailed(error.message, span=span, hint=error.hint) from error
        except ContextError as error:
            raise ContextError(error.message, span=span, hint=error.hint) from error
        except RemoteError as error:
            raise RemoteError(error.message, span=span, hint=error.hint) from error
        except OSError as error:
            raise CopyFailed(
                f"cannot read {error.filename}: {error.strerror}", span=span
            ) from error

    def _work(
        self,
        step: CopyStep,
        layers: tuple[DiffID, ...],
        epoch: int,
        notice: Callable[[str], None],
    ) -> Work:
        view = self._inputs.view(layers)
        rules = CopyRules(
            owner=find_chown(view, step.chown, notice) if step.chown else None,
            change_mode=parse_chmod(step.chmod) if step.chmod else None,
            mtime=epoch,
        )
        source = self._inputs.tree(step.input, self._layers_of)
        below = EmptyTree() if step.link else view
        unpack = self._unpacker.unpack
        found = copy_entries(step, source, below, rules, unpack, self._inputs.fetched)
        entries = canonical_order(found)
        key = entries_key(entries, self._named(self._inputs.place))

        content_key: Callable[[], Key] | None = None
        remote = any(isinstance(each, RemoteFile | Repository) for each in step.sources)
        if remote or not isinstance(source, Context):
            content_key = lambda: entries_key(entries, self._named(self._inputs.digest))  # noqa: E731
            # Places say nothing to a reader: what is listed is what the content key is made of.
            key = replace(key, listing=None)
        return Work(
            key=key,
            do=lambda: commit_entries(self._store, entries),
            content_key=content_key,
            facts=copy_facts(step),
        )

    def _named(self, name: Callable[[Entry], str]) -> Callable[[Entry], str]:
        """Name content by `name`, but what came out of an archive by archive and place."""
        return lambda entry: self._unpacker.place(entry, name) or name(entry)
