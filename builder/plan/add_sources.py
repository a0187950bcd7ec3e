"""The sources of COPY and ADD, told apart: paths, files in the Dockerfile, and what is elsewhere.

RemoteNameError      a source that cannot be, in BuildKit's words; the planner adds where
"""

from __future__ import annotations

from collections.abc import Sequence

from builder.plan.remote_names import (
    Remote,
    RemoteFile,
    RemoteNameError,
    Repository,
    parse_remote,
    with_flags,
)
from grammar.nodes import Heredoc

Source = str | Heredoc | Remote


def refuse_remote(sources: Sequence[str | Heredoc]) -> None:
    """COPY takes nothing from elsewhere."""
    for source in sources:
        match parse_remote(source) if isinstance(source, str) else None:
            case RemoteFile():
                raise RemoteNameError("source can't be a URL for COPY")
            case Repository():
                raise RemoteNameError("source can't be a git ref for COPY")
            case None:
                pass


def added_sources(
    sources: Sequence[str | Heredoc],
    *,
    checksum: str | None,
    keep_git_dir: bool | None,
    unpack: bool | None,
) -> tuple[Source, ...]:
    """The sources of an ADD, with what its flags say of those that are elsewhere."""
    found: list[Source] = []
    for source in sources:
        remote = parse_remote(source) if isinstance(source, str) else None
        if remote is None:
            found.append(source)
            continue
        found.append(
            with_flags(remote, checksum=checksum, keep_git_dir=keep_git_dir, unpack=unpack)
        )
    if checksum is not None:
        if len(found) != 1:
            raise RemoteNameError("checksum can't be specified for multiple sources")
        if isinstance(found[0], str | Heredoc):
            raise RemoteNameError("checksum requires HTTP(S) or Git sources")
    if keep_git_dir and not any(isinstance(source, Repository) for source in found):
        raise RemoteNameError("keep-git-dir requires a Git source")
    return tuple(found)
