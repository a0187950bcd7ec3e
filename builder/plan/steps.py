"""What a build does, as values.

A step holds only what its result depends on, so that equal steps on equal inputs have equal
results; variables are expanded in it. Where it stands and how it is shown is beside it, in
`PlannedStep`. Doing it is `builder.execution.execute`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from builder.plan.remote_names import Remote
from grammar.nodes import Heredoc, Span
from runtime.image.digest import Digest
from runtime.image.model import ImageConfig

# ---- where the files of a COPY, an ADD or a mount come from


@dataclass(frozen=True, slots=True)
class FromContext:
    """The build context."""


@dataclass(frozen=True, slots=True)
class FromStage:
    """An earlier stage of the same Dockerfile, by index."""

    index: int


@dataclass(frozen=True, slots=True)
class FromImage:
    """Another image; resolved, so that the plan names its content."""

    reference: str
    image_id: Digest


@dataclass(frozen=True, slots=True)
class FromNothing:
    """An empty root: `--from=scratch`."""


@dataclass(frozen=True, slots=True)
class FromNamed:
    """A context that `--build-context` names, if it is no image."""

    name: str


Input = FromContext | FromStage | FromImage | FromNothing | FromNamed


def input_name(source: Input) -> str:
    """What an input is called in messages."""
    match source:
        case FromContext():
            return "context"
        case FromStage(index=index):
            return f"stage-{index}"
        case FromImage(reference=reference):
            return reference
        case FromNothing():
            return "scratch"
        case FromNamed(name=name):
            return name


# ---- mounts of a RUN


@dataclass(frozen=True, slots=True, kw_only=True)
class BindRequest:
    """`--mount=type=bind`: `source` of an input at `target`; writes are thrown away."""

    target: str
    source: str = "/"
    input: Input = field(default_factory=FromContext)
    read_write: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRequest:
    """`--mount=type=cache`: a directory that outlives the build."""

    target: str
    id: str
    read_only: bool = False
    sharing: Literal["shared", "private", "locked"] = "shared"
    input: Input | None = None
    source: str = "/"
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TmpfsRequest:
    """`--mount=type=tmpfs`; `size` in bytes."""

    target: str
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRequest:
    """`--mount=type=secret`: a file, an environment variable, or both."""

    id: str
    target: str | None
    env: str | None = None
    required: bool = False
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SshRequest:
    """`--mount=type=ssh`: the agent's socket."""

    id: str
    target: str
    required: bool = False
    mode: int = 0o600
    uid: int = 0
    gid: int = 0


MountRequest = BindRequest | CacheRequest | TmpfsRequest | SecretRequest | SshRequest

# ---- the steps


@dataclass(frozen=True, slots=True)
class Script:
    """A heredoc with an interpreter line, to be run as the file `path`."""

    path: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStep:
    """Run a command in a container on the stage's file system.

    `env` is what the process sees, in order; `proxies` it sees as well, but they are no part
    of what the result depends on. `arguments` are the names in `env` that ARGs gave.
    """

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    workdir: str
    user: str
    network: Literal["default", "none", "host"] = "default"
    security: Literal["sandbox", "insecure"] = "sandbox"
    mounts: tuple[MountRequest, ...] = ()
    scripts: tuple[Script, ...] = ()
    proxies: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    arguments: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyStep:
    """COPY and ADD.

    `sources` in the order written: patterns, files given in the Dockerfile itself, or what ADD
    takes from elsewhere.
    `destination` is absolute and keeps a trailing slash; `unpack` is `None` for COPY.
    """

    sources: tuple[str | Heredoc | Remote, ...]
    destination: str
    input: Input
    chown: str | None = None
    chmod: str | None = None
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    unpack: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkdirStep:
    """Make a directory, owned by the user, if it is not there."""

    path: str
    user: str


@dataclass(frozen=True, slots=True)
class ConfigStep:
    """Change the image's configuration only; the change itself is in the stage's config."""


Step = RunStep | CopyStep | WorkdirStep | ConfigStep


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """A step, where it was written, and how it is shown.

    `text` is the instruction for progress lines, `created_by` its line in the image's history.
    """

    step: Step
    span: Span
    text: str
    created_by: str


# ---- the stages


@dataclass(frozen=True, slots=True)
class ScratchBase:
    """`FROM scratch`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBase:
    """`FROM image`, resolved."""

    reference: str
    image_id: Digest
    config: ImageConfig


@dataclass(frozen=True, slots=True)
class StageBase:
    """`FROM stage`."""

    index: int


@dataclass(frozen=True, slots=True)
class NamedBase:
    """`FROM name` of a context that `--build-context` names, if it is no image: its files."""

    name: str


Base = ScratchBase | ImageBase | StageBase | NamedBase


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStage:
    """A stage: its base, its steps, and the config of the image it ends in.

    `config` has the runtime configuration of the whole stage, but the layers and the history
    of its base only; execution adds its own. `epoch` is seconds since 1970 (DESIGN §6), and
    `config.created` no earlier.
    """

    index: int
    name: str
    base: Base
    span: Span
    text: str
    steps: tuple[PlannedStep, ...]
    config: ImageConfig
    epoch: int
    needs: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The stages that the target needs, in the order of the Dockerfile; the target is last."""

    stages: tuple[PlannedStage, ...]

    @property
    def target(self) -> PlannedStage:
        """The stage whose image is the build's result."""
        return self.stages[-1]
