"""What is found by following a Dockerfile stage by stage, as a build would.

A stage inherits from the stage it is FROM: variables, whether a shell and a WORKDIR were set,
and ONBUILD triggers, which fire at the FROM. JSONArgsRecommended, MaintainerDeprecated,
WorkdirRelativePath, MultipleInstructionsDisallowed, LegacyKeyValueFormat; others have modules
of their own.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from grammar.errors import DockerfileError, WordError, quoted
from grammar.lint.casing import keyword
from grammar.lint.findings import Report
from grammar.lint.from_arguments import (
    Globals,
    check_from,
    check_platform,
    global_arguments,
)
from grammar.lint.ignored import check_ignored
from grammar.lint.mounts import mount_source
from grammar.lint.options import CheckOptions
from grammar.lint.ports import check_ports
from grammar.lint.rules import (
    JSON_ARGS_RECOMMENDED,
    LEGACY_KEY_VALUE_FORMAT,
    MAINTAINER_DEPRECATED,
    MULTIPLE_INSTRUCTIONS_DISALLOWED,
    WORKDIR_RELATIVE_PATH,
)
from grammar.lint.secrets import check_secret
from grammar.lint.surroundings import BaseImage, Surroundings
from grammar.lint.variables import Variables, plain_words
from grammar.nodes import (
    Add,
    Arg,
    Cmd,
    Copy,
    Dockerfile,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Run,
    SetShell,
    Shell,
    Stage,
    Workdir,
)
from grammar.parser import parse_instruction

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOWHERE = CheckOptions(skip=frozenset({"all"}))


@dataclass(frozen=True, slots=True)
class _End:
    """What a stage hands on to those that start from it."""

    variables: Variables
    shell: bool
    workdir: bool
    triggers: tuple[Instruction, ...]


def check_stages(
    dockerfile: Dockerfile,
    surroundings: Surroundings,
    report: Report,
    stages: Collection[int] | None,
) -> None:
    """Look at every FROM, and at the instructions of the stages with these numbers, or of all."""
    _maintainers(dockerfile, report)
    try:
        arguments = global_arguments(dockerfile, surroundings, surroundings.build_args)
    except WordError:
        return
    follower = _Follower(dockerfile, surroundings, arguments)
    for stage in dockerfile.stages:
        name = check_from(stage.base, arguments, dockerfile.escape, report)
        wanted = stages is None or stage.index in stages
        follower.follow(stage, name, report if wanted else Report(_NOWHERE))


def _maintainers(dockerfile: Dockerfile, report: Report) -> None:
    for stage in dockerfile.stages:
        for node in stage.instructions:
            if isinstance(node, Maintainer):
                message = "Maintainer instruction is deprecated in favor of using label"
                report.add(MAINTAINER_DEPRECATED, message, node)


class _Follower:
    """Follows the stages, in order; `_ends` holds where each got to."""

    def __init__(
        self, dockerfile: Dockerfile, surroundings: Surroundings, arguments: Globals
    ) -> None:
        self._dockerfile = dockerfile
        self._surroundings = surroundings
        self._globals = arguments
        self._ends: list[_End] = []
        self._names: dict[str, int] = {}
        self._elsewhere = frozenset(arguments.values) | _defined(dockerfile)

    def follow(self, stage: Stage, base: str | None, report: Report) -> None:
        """Follow the next stage; `base` is its expanded base, `None` where it is not known."""
        start = self._start(stage.base, base, report)
        walk = _Walk(start, self._surroundings, self._globals, self._image, report)
        for trigger in start.triggers:
            span, comments = stage.base.span, stage.base.comments
            walk.instruction(replace(trigger, span=span, comments=comments))
        for node in stage.instructions:
            walk.instruction(node)
        self._ends.append(walk.end())
        if stage.base.name is not None:
            self._names[stage.base.name] = stage.index

    def _image(self, name: str) -> BaseImage | None:
        """What is known of the image that a `from` names; `None` where it names something else."""
        other = name.isdigit() or name in ("scratch", "context") or name.lower() in self._names
        return None if other else self._surroundings.find_base(name)

    def _start(self, node: From, base: str | None, report: Report) -> _End:
        if base in self._names:
            end = self._ends[self._names[base]]
            return replace(end, variables=end.variables.copy())
        escape = self._dockerfile.escape
        variables = Variables({"PATH": _DEFAULT_PATH}, escape, self._elsewhere)
        if base == "scratch":
            return _End(variables, False, False, ())
        image = self._surroundings.find_base(base) if base is not None else None
        if image is None or base is None:
            variables.known = False
            return _End(variables, False, False, ())
        check_platform(node, base, image, self._globals, escape, report)
        variables.values.update(image.env)
        triggers = tuple(
            trigger for text in image.on_build if (trigger := _parsed(text, node)) is not None
        )
        return _End(variables, bool(image.shell), False, triggers)


class _Walk:
    """One stage, instruction by instruction."""

    def __init__(
        self,
        start: _End,
        surroundings: Surroundings,
        arguments: Globals,
        find_image: Callable[[str], BaseImage | None],
        report: Report,
    ) -> None:
        self._find_image = find_image
        self._variables = start.variables
        self._shell = start.shell
        self._workdir = start.workdir
        self._triggers: list[Instruction] = []
        self._surroundings = surroundings
        self._globals = arguments
        self._report = report
        self._once: dict[type[Instruction], Instruction] = {}

    def end(self) -> _End:
        """Where the stage got to."""
        triggers = tuple(self._triggers)
        return _End(self._variables, self._shell, self._workdir, triggers)

    def instruction(self, node: Instruction) -> None:
        """Look at the next instruction."""
        match node:
            case Arg():
                self._argument(node)
            case Env():
                self._env(node)
            case Workdir():
                self._work(node)
            case Expose():
                words = [
                    word
                    for port in sorted(node.ports)
                    for word in self._variables.expanded_words(port)
                ]
                check_ports(words, node, self._report)
            case Onbuild():
                self._triggers.append(node.trigger)
            case _:
                self._other(node)

    def _other(self, node: Instruction) -> None:
        for word in plain_words(node):
            self._variables.expanded(word, node, self._report)
        match node:
            case Copy() | Add():
                self._sources(node)
                if isinstance(node, Copy) and node.from_ is not None:
                    self._taken_from(node.from_, node)
            case Run():
                for name in filter(None, map(mount_source, node.mounts)):
                    self._taken_from(name, node)
            case Label():
                self._legacy(node)
            case SetShell():
                self._shell = True
            case Cmd() | Entrypoint():
                self._only_one(node)
                if isinstance(node.command, Shell) and not self._shell:
                    message = (
                        f"JSON arguments recommended for {keyword(node)} to prevent unintended"
                        " behavior related to OS signals"
                    )
                    self._report.add(JSON_ARGS_RECOMMENDED, message, node)
            case Healthcheck():
                self._only_one(node)
            case _:
                pass

    def _argument(self, node: Arg) -> None:
        for name, default in node.pairs:
            check_secret(name, node, self._report)
            value = self._surroundings.build_args.get(name)
            if value is None and default is not None:
                value = self._variables.expanded(default, node, self._report)
            if value is None:
                value = self._globals.values.get(name)
            if value is not None:
                self._variables.values[name] = value
            self._variables.declared.add(name)

    def _env(self, node: Env) -> None:
        """Every word sees the variables as they were before the instruction."""
        self._legacy(node)
        pairs = [
            (
                self._variables.expanded(key, node, self._report),
                self._variables.expanded(value, node, self._report),
            )
            for key, value in node.pairs
        ]
        for key, value in pairs:
            check_secret(key, node, self._report)
            self._variables.values[key] = value

    def _work(self, node: Workdir) -> None:
        """The first WORKDIR counts: mending it mends those that follow."""
        path = self._variables.expanded(node.path, node, self._report)
        if not self._workdir and not posixpath.isabs(path):
            message = (
                f"Relative workdir {quoted(path)} can have unexpected results if the base image"
                " changes"
            )
            self._report.add(WORKDIR_RELATIVE_PATH, message, node)
        self._workdir = True

    def _sources(self, node: Copy | Add) -> None:
        sources: list[str] = []
        for source in node.sources:
            if isinstance(source, str):
                sources.append(self._variables.expanded(source, node, self._report))
            else:
                self._variables.check_heredoc(source, node, self._report)
        patterns = self._surroundings.ignored
        if patterns is not None and not (isinstance(node, Copy) and node.from_ is not None):
            check_ignored(sources, node, patterns, self._report)

    def _taken_from(self, name: str, node: Copy | Run) -> None:
        image = self._find_image(name)
        if image is not None:
            escape = self._variables.escape
            check_platform(node, name, image, self._globals, escape, self._report)

    def _legacy(self, node: Env | Label) -> None:
        if node.legacy:
            word = keyword(node)
            message = (
                f'"{word} key=value" should be used instead of legacy "{word} key value" format'
            )
            self._report.add(LEGACY_KEY_VALUE_FORMAT, message, node)

    def _only_one(self, node: Cmd | Entrypoint | Healthcheck) -> None:
        """The earlier one is what has no effect."""
        earlier = self._once.get(type(node))
        if earlier is not None:
            message = (
                f"Multiple {keyword(node)} instructions should not be used in the same stage"
                " because only the last one will be used"
            )
            self._report.add(MULTIPLE_INSTRUCTIONS_DISALLOWED, message, earlier, node)
        self._once[type(node)] = node


def _defined(dockerfile: Dockerfile) -> frozenset[str]:
    """The names that an ARG or ENV defines anywhere."""
    nodes = [node for stage in dockerfile.stages for node in stage.instructions]
    pairs = [node.pairs for node in (*dockerfile.arguments, *nodes) if isinstance(node, Arg | Env)]
    return frozenset(pair[0] for group in pairs for pair in group)


def _parsed(text: str, base: From) -> Instruction | None:
    """A trigger of an image; what cannot be read is an error of the build."""
    try:
        return parse_instruction(text, base.span.file)
    except DockerfileError:
        return None
