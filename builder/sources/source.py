"""Finding and reading a Dockerfile."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass

from builder.errors import ContextError
from builder.plan.remote_names import Remote, RemoteNameError, parse_remote

_MOST = 64 << 20
_STANDARD_INPUT = "-"
_GITHUB = "github.com/"


@dataclass(frozen=True, slots=True)
class Source:
    """A Dockerfile's text, where it lies, and the name that errors give it."""

    path: str
    name: str
    data: bytes

    @property
    def text(self) -> str:
        """The text, for excerpts."""
        return self.data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def candidates(context: str, file: str | None) -> tuple[str, str]:
    """Where the Dockerfile can be; the first that exists is taken."""
    if file is None:
        return os.path.join(context, "Dockerfile"), os.path.join(context, "dockerfile")
    return file, os.path.join(context, file)


def read_dockerfile(context: str, file: str | None) -> Source:
    """The Dockerfile of a build: `file`, or `Dockerfile` (or `dockerfile`) in the context.

    A relative `file` is looked for where we are and then in the context; `-` is standard input.
    `ContextError` if there is none.
    """
    if file == "-":
        return Source("-", "Dockerfile", sys.stdin.buffer.read(_MOST))
    for path in candidates(context, file):
        try:
            with open(path, "rb") as opened:
                data = opened.read(_MOST + 1)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise ContextError(f"failed to read dockerfile: {path}: {error.strerror}") from error
        if len(data) > _MOST:
            raise ContextError(f"failed to read dockerfile: {path} is longer than {_MOST} bytes")
        return Source(path, os.path.basename(path), data)
    if not os.path.exists(context):
        raise ContextError(f"unable to prepare context: path {context!r} not found")
    raise ContextError(
        f"failed to read dockerfile: open {file or 'Dockerfile'}: no such file or directory",
        hint=f"looked for {' and '.join(candidates(context, file))}; give another with --file",
    )


def is_directory_context(context: str) -> bool:
    """Whether CONTEXT is read where it is: a directory, or nothing that is known."""
    if context == _STANDARD_INPUT or remote_context(context) is not None:
        return False
    try:
        return not stat.S_ISREG(os.stat(context).st_mode)
    except OSError:
        return True


def remote_context(context: str) -> Remote | None:
    if os.path.isdir(context):
        return None
    if context.startswith(_GITHUB):
        path, hash_, fragment = context.partition("#")
        context = f"https://{path.removesuffix('.git')}.git{hash_}{fragment}"
    try:
        return parse_remote(context)
    except RemoteNameError as error:
        raise ContextError(f"unable to prepare context: {error}") from error
