"""From what the command line says to where a cache is written to or read from."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, assert_never

from builder.errors import OptionError
from builder.exchange.folder import FolderSource, FolderTarget
from builder.exchange.format import BlobSource, BlobTarget
from builder.exchange.options import CacheFrom, FolderFrom, FolderTo, RegistryFrom, RegistryTo
from builder.fetching import Direction, OpenSession
from runtime.image.reference import Reference

if TYPE_CHECKING:  # What talks to registries is imported by who does.
    from runtime.image.registry.session import Session


def open_target(
    chosen: FolderTo | RegistryTo, sessions: OpenSession | None, stack: ExitStack
) -> BlobTarget:
    """Where a cache goes; open until the stack is closed. `ImageError`."""
    match chosen:
        case FolderTo():
            return FolderTarget(chosen)
        case RegistryTo(reference=reference):
            from builder.exchange.repository import RepositoryTarget

            return RepositoryTarget(_session(reference, "push", sessions, stack), reference)
        case _:
            assert_never(chosen)


def open_source(chosen: CacheFrom, sessions: OpenSession | None, stack: ExitStack) -> BlobSource:
    """Where a cache comes from; open until the stack is closed. `ImageError`."""
    match chosen:
        case FolderFrom():
            return FolderSource(chosen)
        case RegistryFrom(reference=reference):
            from builder.exchange.repository import RepositorySource

            return RepositorySource(_session(reference, "pull", sessions, stack), reference)
        case _:
            assert_never(chosen)


def _session(
    reference: Reference, direction: Direction, sessions: OpenSession | None, stack: ExitStack
) -> Session:
    if sessions is None:
        raise OptionError("caches in registries need registries")
    return stack.enter_context(sessions(str(reference), direction))
