"""What happens during a build, as values.

The engine emits these and never prints; progress renderers and the build record read them.
`number` is a step's position in the whole build, counted from 1 in the order of the Dockerfile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from grammar.nodes import Span
from runtime.image.digest import DiffID, Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseUsed:
    """A stage begins on its base."""

    number: int
    label: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted:
    """A step has to run: its result is not known. `label` is `build 2/5`."""

    number: int
    label: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutput:
    """A step's command wrote something, to standard output or error."""

    number: int
    data: bytes
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCached:
    """A step's result was known, and it did not run."""

    number: int
    label: str
    text: str
    diff_id: DiffID


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinished:
    """A step ran; `diff_id` is its layer."""

    number: int
    seconds: float
    diff_id: DiffID


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnded:
    """A step did not finish: it failed, or was stopped."""

    number: int
    seconds: float
    message: str
    cancelled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """Something the user should know of, though the build goes on."""

    message: str
    span: Span | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """The linter found something; nothing stops for it."""

    rule: str
    message: str
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """The image left the engine: to the store under a name, or to a file."""

    what: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFinished:
    """The build is done."""

    image_id: Digest
    seconds: float


Event = (
    BaseUsed
    | StepStarted
    | StepOutput
    | StepCached
    | StepFinished
    | StepEnded
    | Noticed
    | Warned
    | Exported
    | BuildFinished
)

Emit = Callable[[Event], None]
