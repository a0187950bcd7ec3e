"""What can go wrong with a build.

    BuildError                 the build cannot go on
      PlanError                a Dockerfile that parses, but cannot be built; carries where
      NotCached                a step would have to run, and must not; carries where
      StepFailed               a RUN's command ended with a status; carries where and its output
      CopyFailed               a COPY or ADD that cannot be done; carries where
      ContextError             the build context cannot be read
      OptionError              what was asked for on the command line makes no sense
      SettingsError            a configuration file that makes no sense; carries which and where

Each class takes the facts and makes its own sentence; `span` says where in the Dockerfile,
`hint` is one remedy. Only the command line catches them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `lamina run` has errors, too, and no grammar
    from grammar.nodes import Span


class BuildError(Exception):
    """The root: `message` says what and why, `span` where, `hint` what to do."""

    def __init__(self, message: str, *, span: Span | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.span = span
        self.hint = hint


class PlanError(BuildError):
    """A Dockerfile that parses, but cannot be built."""


class StepFailed(BuildError):
    """The command of a RUN step ended with a status other than 0."""

    def __init__(
        self,
        argv: tuple[str, ...],
        status: int,
        *,
        span: Span,
        output: bytes,
        hint: str | None = None,
    ) -> None:
        command = " ".join(argv)
        super().__init__(
            f'process "{command}" did not complete successfully: exit code: {status}',
            span=span,
            hint=hint,
        )
        self.argv = argv
        self.status = status
        self.output = output
        self.kept: str | None = None
        """The ID under which what the step has left is kept, if it is."""


class NotCached(BuildError):
    """A step whose result is not known, in a build that expects all of them to be."""

    def __init__(self, text: str, *, span: Span) -> None:
        super().__init__(
            f"not cached: {text}", span=span, hint="build without --expect-cached to run it"
        )


class CopyFailed(BuildError):
    """A COPY or ADD that cannot be done."""


class SettingsError(BuildError):
    """A configuration file that cannot be meant so."""

    def __init__(self, path: str, line: int, why: str, *, hint: str | None = None) -> None:
        super().__init__(f"{path}:{line}: {why}", hint=hint)


class ContextError(BuildError):
    """The build context cannot be read."""


class RemoteError(BuildError):
    """A file on a server, or a git repository, that cannot be had."""


class OptionError(BuildError):
    """What was asked for makes no sense; the command line exits with 2."""


class Cancelled(BuildError):
    """Another part of the build failed, or the user stopped it."""

    def __init__(self) -> None:
        super().__init__("cancelled")
