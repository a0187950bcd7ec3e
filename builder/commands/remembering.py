"""Remembering a build that can be answered by itself the next time (`builder.cache.replay`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping

import click

from builder.build import Built
from builder.cache.replay import (
    FOLLOWED,
    Stamp,
    call_text,
    conditions,
    is_settled,
    look,
    pack,
)
from builder.call_words import build_root
from builder.events import (
    BaseUsed,
    BuildFinished,
    ContextUsed,
    Emit,
    Event,
    Exported,
    Noticed,
    Recorded,
    StepCached,
    StepEnded,
    StepFinished,
    StepKeyed,
    StepOutput,
    StepStarted,
    Transferred,
    Warned,
)
from builder.progress import cached_lines, plain_lines
from builder.request import BuildRequest
from builder.sources.context import FileStamp, ignore_files
from builder.sources.git_head import find_head
from builder.sources.source import candidates
from runtime.image.errors import InvalidReference
from runtime.image.reference import Reference
from runtime.image.store.images import row_name
from runtime.image.store.replays import Remembered
from runtime.image.store.store import Store

_DECIDED_BY_ARGUMENTS = frozenset(
    (
        "build_args", "context", "file", "hosts", "jobs", "keep_noise", "labels", "network",
        "platforms", "shm_size", "tags", "target", "ulimits",
    )
)  # fmt: skip
"""Options that say all by themselves; with any other, a build is not remembered."""
_SHOWN_AS_LINES = ("auto", "plain")


class Notes:
    """Events on their way to a reader, and the lines they make when nothing had to run."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._events: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Pass an event on."""
        self._events.append(event)
        self._emit(event)

    def lines(self) -> tuple[str, ...]:
        """What the same build shows when all of it is known."""
        return tuple(line for event in self._events for line in _known_lines(event))


def _known_lines(event: Event) -> Iterator[str]:
    match event:
        case StepStarted() | StepCached():
            yield from cached_lines(event.number, event.label, event.text)
        case BaseUsed() | Noticed() | Warned() | Exported():
            yield from plain_lines(event)
        case ContextUsed() | StepKeyed() | StepOutput() | StepFinished() | StepEnded():
            pass
        case Transferred() | BuildFinished() | Recorded():
            pass


def is_replayable(ctx: click.Context) -> bool:
    """Whether the arguments, the environment and some files are all that decides this build."""
    options = ctx.params
    given = {
        name
        for name in options
        if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
    }
    if given - _DECIDED_BY_ARGUMENTS - {"progress", "quiet"}:
        return False
    shown = options["quiet"] or options["progress"] in _SHOWN_AS_LINES
    return shown and options["file"] != "-" and build_root(sys.argv[1:]) is not None


def remember(
    store: Store, request: BuildRequest, file: str | None, built: Built, notes: Notes, began: int,
    *, quiet: bool,
) -> None:  # fmt: skip
    """Remember a build that began at a time (ns since 1970), if its files were at rest by then."""
    if request.layers is not None:
        return  # The context was fetched: only fetching it again tells whether it has changed.
    bases = _bases(built)
    seen = {**_stamps(built.seen), **_files(request, file)}
    if bases is None or not is_settled(seen, began):
        return
    stamps, paths = pack(seen)
    store.remember(
        Remembered(
            call=call_text(sys.argv[1:]),
            conditions=conditions(),
            stamps=stamps,
            paths=paths,
            image=built.result.image_id,
            names=[row_name(name) for name in built.result.names],
            bases=bases,
            records=built.keys,
            lines=() if quiet else notes.lines(),
            quiet=quiet,
            build=built.record,
        )
    )


def _stamps(seen: Mapping[bytes, FileStamp | None]) -> dict[bytes, Stamp | None]:
    return {path: None if stamp is None else _numbers(stamp) for path, stamp in seen.items()}


def _numbers(stamp: FileStamp) -> Stamp:
    return (stamp.device, stamp.inode, stamp.size, stamp.mtime_ns, stamp.ctime_ns)


def _files(request: BuildRequest, file: str | None) -> dict[bytes, Stamp | None]:
    """What was read besides the context's files, and what was looked for in vain."""
    read = [request.context]
    for path in candidates(request.context, file):
        read.append(path)
        if path == request.source.path:
            break
    read += ignore_files(request.context, request.source.path)
    read += find_head(request.context).files
    followed = (FOLLOWED + os.fsencode(os.path.abspath(path)) for path in read)
    return {path: look(path) for path in followed}


def _bases(built: Built) -> list[tuple[str, str]] | None:
    """The names of the base images in the store; `None` if it has more than names of them."""
    if built.images is None:
        return None
    try:
        return [(row_name(Reference.parse(name)), image) for name, image in built.images]
    except InvalidReference:
        return None
