"""The tree a Dockerfile parses to: frozen values, no behaviour.

Nothing here is expanded: every `$NAME` stands as it was written, and quotes and
escapes are still in the words they are removed from by `grammar.words`. Where a thing was
written (`source`, `span`, `comments`) is no part of what it is, and does not take part in
comparison: equal instructions on different lines are equal.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Span:
    """Where a thing stands: lines `first` to `last` of `file`, one-based and inclusive.

    `column` is where it starts on its first line, one-based.
    """

    file: str
    first: int
    last: int
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.first}"


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A here-document: `<<NAME`, its lines, and its end.

    `content` keeps the body's line ends; with `chomp` (`<<-`) the leading tabs of its lines
    are still in it. `expand` is false where any part of the delimiter was quoted.
    """

    name: str
    content: str
    expand: bool = True
    chomp: bool = False
    fd: int = 0


@dataclass(frozen=True, slots=True)
class Shell:
    """A command line for the image's shell, as written."""

    text: str


@dataclass(frozen=True, slots=True)
class Exec:
    """An argument vector, run without a shell."""

    argv: tuple[str, ...]


Command = Shell | Exec


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What every instruction has: the text as written, where it stands, what is said above it.

    `source` is the logical line (continuations joined, without heredoc bodies); `comments`
    are the lines of the comment block directly above, without their `#`.
    """

    source: str = field(compare=False)
    span: Span = field(compare=False)
    comments: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class From(Node):
    """`FROM [--platform=P] IMAGE [AS NAME]`; `name` is lower-cased, `written_name` is not."""

    image: str
    name: str | None = None
    platform: str | None = None
    written_name: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg(Node):
    """`ARG NAME[=DEFAULT]…`; no default is `None`, an empty one `""`."""

    pairs: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Node):
    """`RUN [--mount=…] [--network=…] [--security=…] [--device=…] COMMAND`.

    `mounts` and `devices` are the flags' raw values: variables in them are expanded before
    they can be read.
    """

    command: Command
    heredocs: tuple[Heredoc, ...] = ()
    mounts: tuple[str, ...] = ()
    network: str | None = None
    security: str | None = None
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Node):
    """`COPY [flags] SOURCE… DESTINATION`; a source is a path or a heredoc."""

    sources: tuple[str | Heredoc, ...]
    destination: str
    from_: str | None = None
    chown: str | None = None
    chmod: str | None = None
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Node):
    """`ADD [flags] SOURCE… DESTINATION`; a source is a path, a URL or a heredoc.

    `unpack` and `keep_git_dir` are `None` where the flag was not given.
    """

    sources: tuple[str | Heredoc, ...]
    destination: str
    chown: str | None = None
    chmod: str | None = None
    link: bool = False
    exclude: tuple[str, ...] = ()
    checksum: str | None = None
    keep_git_dir: bool | None = None
    unpack: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Env(Node):
    """`ENV K=V…`, or the legacy form `ENV K REST` (one pair, `legacy` set)."""

    pairs: tuple[tuple[str, str], ...]
    legacy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Node):
    """`LABEL K=V…`, or the legacy form `LABEL K REST`."""

    pairs: tuple[tuple[str, str], ...]
    legacy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(Node):
    """`CMD COMMAND`."""

    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(Node):
    """`ENTRYPOINT COMMAND`."""

    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class SetShell(Node):
    """`SHELL ["executable", "parameter"…]`."""

    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir(Node):
    """`WORKDIR PATH`."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Node):
    """`USER NAME[:GROUP]`."""

    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose(Node):
    """`EXPOSE PORT[/PROTOCOL]…`."""

    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(Node):
    """`VOLUME PATH…`."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSignal(Node):
    """`STOPSIGNAL SIGNAL`."""

    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer(Node):
    """`MAINTAINER NAME` (deprecated in the language)."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck(Node):
    """`HEALTHCHECK NONE` (`command` is `None`) or `HEALTHCHECK [options] CMD COMMAND`.

    Times are in nanoseconds, as the image's config holds them; `None` where not given.
    """

    command: Command | None
    interval: int | None = None
    timeout: int | None = None
    start_period: int | None = None
    start_interval: int | None = None
    retries: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Onbuild(Node):
    """`ONBUILD INSTRUCTION`; `text` is what the image's config stores, heredocs re-appended."""

    text: str
    trigger: Instruction


Instruction = (
    From
    | Arg
    | Run
    | Copy
    | Add
    | Env
    | Label
    | Cmd
    | Entrypoint
    | SetShell
    | Workdir
    | User
    | Expose
    | Volume
    | StopSignal
    | Maintainer
    | Healthcheck
    | Onbuild
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One `FROM` and what follows it; `index` counts from 0."""

    index: int
    base: From
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class ParseWarning:
    """Something the parser accepted, but a reader should know of."""

    rule: str
    message: str
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """A whole Dockerfile. `directives` holds `syntax`, `escape` and `check` as written."""

    arguments: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    escape: str = "\\"
    directives: tuple[tuple[str, str], ...] = ()
    warnings: tuple[ParseWarning, ...] = field(default=(), compare=False)
