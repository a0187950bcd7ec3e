"""Telling a user what went wrong: what, where, why, and what to do."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grammar.nodes import Span

_NOT_STARTED, _NOT_RUNNABLE, _NOT_FOUND = 125, 126, 127


def say(text: str) -> None:
    """Print lines to standard error; what would move a terminal's cursor is not."""
    lines = text.removesuffix("\n").split("\n")
    if not all(line.isprintable() for line in lines):
        # Only now: `lamina run` fails without a grammar.
        from grammar.errors import printable

        lines = [printable(line) for line in lines]
    sys.stderr.write("\n".join(lines) + "\n")
    sys.stderr.flush()


def report(error: Exception) -> int:
    """Print an error as a user should see it; the exit status that goes with it.

    What is not an error of ours is a defect: it is said to be one, and its trace goes to a file
    rather than to the terminal.
    """
    from builder.errors import BuildError, OptionError
    from runtime.errors import ContainerError
    from runtime.image.errors import ImageError

    if isinstance(error, BuildError):
        say(f"ERROR: {error.message}")
        _hint(error.hint)
        return 2 if isinstance(error, OptionError) else 1
    if isinstance(error, ContainerError | ImageError):
        say(f"ERROR: {error.message}")
        _hint(error.hint)
        return 1
    if isinstance(error, OSError):
        where = f": {os.fsdecode(error.filename)}" if error.filename else ""
        say(f"ERROR: {error.strerror or error}{where}")
        return 1
    if type(error).__module__ == "sqlite3":
        say(f"ERROR: the store's database cannot be used: {error}")
        return 1
    return _defect(error)


def not_started(error: Exception) -> int:
    """Report why a container could not be started; docker's exit status for it."""
    from runtime.errors import CommandNotFound, CommandNotRunnable

    report(error)
    if isinstance(error, CommandNotFound):
        return _NOT_FOUND
    return _NOT_RUNNABLE if isinstance(error, CommandNotRunnable) else _NOT_STARTED


def explain(message: str, *, text: str | None, span: Span | None, hint: str | None) -> None:
    """Print an error of a Dockerfile: an excerpt with a mark, the sentence, the remedy."""
    from grammar.errors import excerpt

    if span is not None and text is not None:
        say(excerpt(text, span))
    say(f"ERROR: failed to solve: {message}")
    _hint(hint)


def _hint(hint: str | None) -> None:
    if hint:
        say(f"hint: {hint}")


def _defect(error: Exception) -> int:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", prefix="lamina-defect-", suffix=".txt", delete=False
    ) as file:
        traceback.print_exception(error, file=file)
    say(f"ERROR: a defect in lamina: {type(error).__name__}: {error}")
    say(f"hint: please report it with {file.name}")
    return 1
