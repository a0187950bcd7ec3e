"""What happens during a build, as values.

The engine emits these and never prints; progress renderers and the build record read them.
`number` is a step's position in the whole build, counted from 1 in the order of the Dockerfile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from builder.cache.listing import Listing
from grammar.nodes import Span
from runtime.image.digest import DiffID, Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextUsed:
    """The build context, and what its ignore file leaves out: lines of it by number."""

    path: str
    ignore_file: str = ""
    ignored: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseUsed:
    """A stage begins on its base: the image `base` with that ID, or the stage whose FROM is `on`.

    `base` is empty for what is neither.
    """

    number: int
    label: str
    text: str
    base: str = ""
    image_id: Digest | None = None
    on: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepKeyed:
    """What decides a step's result is known, and by which name it is looked up, or would be.

    `facts` help to understand the key and are no part of it; `listings` say what is behind the
    digests of copies in it. A second one for the same step stands for the first.
    """

    number: int
    label: str
    text: str
    key: str
    kind: str
    components: Mapping[str, str]
    facts: Mapping[str, str]
    looked_up: bool
    listings: Mapping[str, Listing] = field(default_factory=dict, compare=False)


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
    """A step's result was known, and it did not run. `source` is an imported cache's name."""

    number: int
    label: str
    text: str
    diff_id: DiffID
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinished:
    """A step ran; `diff_id` is its layer. `source` says so if that is not what it made."""

    number: int
    seconds: float
    diff_id: DiffID
    source: str = ""


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
class Transferred:
    """Something of an image was fetched from a registry, or sent to one, or is about to be."""

    name: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFinished:
    """The build is done."""

    image_id: Digest
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What happened is in the store, under the ID of the build: the last event, if there is one."""

    id: str


Event = (
    ContextUsed
    | BaseUsed
    | StepKeyed
    | StepStarted
    | StepOutput
    | StepCached
    | StepFinished
    | StepEnded
    | Noticed
    | Warned
    | Exported
    | Transferred
    | BuildFinished
    | Recorded
)

Emit = Callable[[Event], None]
