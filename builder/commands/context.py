"""`lamina context ls`: what a build sees of its context, and why."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from builder.errors import ContextError
from builder.sources.context import Context, IgnoreFile, find_ignore_file
from builder.sources.source import is_directory_context, read_dockerfile
from builder.sources.trees import EmptyTree, FileTree
from runtime.image.layer.entry import Entry, Kind

_MISSING = " (there is no such file)"


@click.group("context", short_help="Look at build contexts.")
def context_command() -> None:
    """Look at what a build sees of its context."""


@context_command.command("ls", short_help="List what a build sees of its context.")
@click.option("-f", "--file", metavar="FILE", help="The Dockerfile, which may have an ignore file.")
@click.option("--why", metavar="PATH", help="Say which pattern of which file decides on a path.")
@click.option("--secret", "secrets", multiple=True, metavar="id=ID[,src=FILE|,env=NAME]")
@click.option("--ssh", "ssh", multiple=True, metavar="default|ID[=SOCKET]")
@click.option("--ca", "authorities", metavar="FILE", help="Certificates (PEM) to trust.")
@click.argument("context", type=click.Path(), default=".")
@click.pass_context
def list_command(ctx: click.Context, /, **options: Any) -> int:
    """List the files in CONTEXT that are not ignored: size and path, in order.

    CONTEXT is what it is to build: a directory, an archive, a git repository, a URL, or -.
    Folders end in a slash. With --why, say instead whether one path is ignored, and by what.
    """
    context, why = options["context"], options["why"]
    if not is_directory_context(context):
        _list_fetched(ctx.obj, options)
        return 0
    ignore = find_ignore_file(context, _dockerfile(context, options["file"]))
    seen = Context(context, None if ignore is None else ignore.patterns)
    if why is not None:
        click.echo(_reason(seen, ignore, why))
    else:
        _list(seen)
    return 0


def _list_fetched(root: str, options: dict[str, Any]) -> None:
    """Fetch a context and list it; ignore files are for directories only."""
    from builder.commands.credentials import credentials
    from builder.commands.opened import opened_store
    from builder.sources.fetcher import FetchedText, Fetcher
    from builder.sources.given_context import fetch_files

    context, why = options["context"], options["why"]
    with opened_store(root) as store:
        fetcher = Fetcher(store, credentials(options))
        found = fetch_files(context, fetcher=fetcher, stdin=sys.stdin.buffer)
        seen = EmptyTree() if isinstance(found, FetchedText) else store.view((found,))
        if why is None:
            _list(seen)
            return
        path = os.path.normpath("/" + why).strip("/")
        missing = "" if seen.lstat(os.fsencode(path)) is not None else _MISSING
        click.echo(
            f"{_shown(path) or '/'}: included{missing}: ignore files are for directories only"
        )


def _list(seen: FileTree) -> None:
    count = size = 0
    lines = []
    for entry in seen.walk(b""):
        if entry.path:
            lines.append(_line(entry))
            count += entry.kind is not Kind.DIRECTORY
            size += entry.size
    sys.stdout.write("".join(lines))
    sys.stdout.flush()
    click.echo(f"{count} files, {size} bytes", err=True)


def _dockerfile(context: str, file: str | None) -> str:
    """Where the Dockerfile is; a context without one can be listed all the same."""
    try:
        return read_dockerfile(context, file).path
    except ContextError:
        if file is not None:
            raise
        return os.path.join(context, "Dockerfile")


def _line(entry: Entry) -> str:
    size = str(entry.size) if entry.kind is Kind.REGULAR else "-"
    slash = "/" if entry.kind is Kind.DIRECTORY else ""
    return f"{size:>12}  {_shown(os.fsdecode(entry.path))}{slash}\n"


def _shown(path: str) -> str:
    """A path on one line, whatever is in it."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in path
    )


def _reason(seen: Context, ignore: IgnoreFile | None, why: str) -> str:
    path = os.path.normpath("/" + why).strip("/")
    name = _shown(path) or "/"
    there = os.path.lexists(os.path.join(seen.root, os.fsencode(path)))
    missing = "" if there else _MISSING
    if ignore is None:
        return f"{name}: included{missing}: there is no ignore file"
    decision = ignore.patterns.excludes(path)
    if decision.pattern is None:
        return f"{name}: included{missing}: no pattern of {ignore.path} matches"
    where = f"{_shown(decision.pattern.text)} ({ignore.path}, line {decision.pattern.line})"
    if not decision.excluded:
        return f"{name}: included{missing}: brought back by {where}"
    if there and seen.lstat(os.fsencode(path)) is not None:
        return f"{name}: excluded by {where}, but there for what is brought back below it"
    return f"{name}: excluded{missing} by {where}"
