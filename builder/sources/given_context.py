"""CONTEXT on the command line, where it is not a directory (dockerfile.md 1.7).

Standard input or a file (an archive, or a Dockerfile), a git repository, a server's archive or
Dockerfile. What comes of it is a layer; ignore files are for directories only, and `--file` names
a file in it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

from builder.errors import ContextError
from builder.plan.remote_names import Repository
from builder.sources.fetcher import FetchedText, Fetcher
from builder.sources.source import Source, remote_context
from builder.sources.trees import normalise
from runtime.image.digest import DiffID
from runtime.image.store.store import Store

_STANDARD_INPUT = "-"
_MOST_DOCKERFILE = 64 << 20


@dataclass(frozen=True, slots=True)
class GivenContext:
    """A context as layers (none, if there are no files), and the Dockerfile to build.

    `committed` is when the commit was made, of a repository (seconds since 1970).
    """

    layers: tuple[DiffID, ...]
    source: Source
    committed: int | None = None


def fetch_context(
    context: str, file: str | None, *, store: Store, fetcher: Fetcher, stdin: BinaryIO
) -> GivenContext:
    """Fetch a context and read its Dockerfile; `ContextError`, `RemoteError`."""
    if context == _STANDARD_INPUT and file == _STANDARD_INPUT:
        raise ContextError(
            "invalid argument: can't use stdin for both build context and dockerfile"
        )
    found = fetch_files(context, fetcher=fetcher, stdin=stdin)
    if isinstance(found, FetchedText):
        if file is not None:
            raise ContextError(
                f"ambiguous Dockerfile source: {_shown(context)} is a Dockerfile, and so is --file",
                hint="a context in an archive can have other files",
            )
        return GivenContext((), Source("", "Dockerfile", found.data))
    if file == _STANDARD_INPUT:
        source = Source("", "Dockerfile", stdin.read(_MOST_DOCKERFILE))
    else:
        source = _dockerfile(store, found, file)
    remote = None if context == _STANDARD_INPUT else remote_context(context)
    committed = fetcher.committed(remote) if isinstance(remote, Repository) else None
    return GivenContext((found,), source, committed)


def fetch_files(context: str, *, fetcher: Fetcher, stdin: BinaryIO) -> DiffID | FetchedText:
    """Fetch a context: its files as a layer, or the text of a Dockerfile. Errors as above."""
    if context == _STANDARD_INPUT:
        return fetcher.sent(stdin, "standard input")
    remote = remote_context(context)
    if remote is not None:
        return fetcher.context(remote)
    with open(context, "rb") as opened:
        found = fetcher.sent(opened, context)
    if isinstance(found, FetchedText):
        raise ContextError(
            f"unable to prepare context: path {context!r} is neither a directory nor an archive",
            hint=f"for a Dockerfile without a context: lamina build - < {context}",
        )
    return found


def _dockerfile(store: Store, layer: DiffID, file: str | None) -> Source:
    view = store.view((layer,))
    names = ["Dockerfile", "dockerfile"] if file is None else [file]
    for name in names:
        path = normalise(os.fsencode(name))
        data = view.read(path, _MOST_DOCKERFILE)
        if data is not None:
            return Source("", os.path.basename(name), data)
    raise ContextError(
        f"failed to read dockerfile: open {names[0]}: no such file or directory",
        hint="--file is looked for in the context",
    )


def _shown(context: str) -> str:
    return "standard input" if context == _STANDARD_INPUT else context
