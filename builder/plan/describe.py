"""What a Dockerfile offers: `--call targets` and `--call outline`. Nothing is run or looked up.

Descriptions are comments directly above a FROM or an ARG that begin with the stage's or the
argument's name: `# version of Go to build with` above `ARG version` (dockerfile.md 1.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from builder.plan.build_plan import FoundImage, PlanOptions, plan
from builder.plan.steps import (
    PlannedStage,
    RunStep,
    SecretRequest,
    SshRequest,
    StageBase,
)
from builder.plan.variables import platform_arguments
from grammar.errors import WordError
from grammar.nodes import Arg, Dockerfile, Env, Span, Stage
from grammar.words import expand
from runtime.image.digest import sha256
from runtime.image.model import ImageConfig
from runtime.image.platform import Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A stage that can be built; `name` is empty where it has none."""

    name: str
    default: bool
    description: str
    base: str
    platform: str
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """An ARG: its value is the one given, or its default, expanded as far as it can be."""

    name: str
    description: str
    value: str | None
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """A secret or an agent that a RUN has mounted."""

    name: str
    required: bool
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What the build of one target takes."""

    name: str
    description: str
    arguments: tuple[Argument, ...]
    secrets: tuple[Needed, ...]
    agents: tuple[Needed, ...]


def targets(dockerfile: Dockerfile) -> tuple[Target, ...]:
    """Every stage, in order; the last is what is built by default."""
    last = dockerfile.stages[-1].index
    return tuple(
        Target(
            name=stage.base.written_name or stage.base.name or "",
            default=stage.index == last,
            description=_description(stage.base.comments, stage.base.name),
            base=stage.base.image,
            platform=stage.base.platform or "",
            span=stage.base.span,
        )
        for stage in dockerfile.stages
    )


def outline(dockerfile: Dockerfile, options: PlanOptions) -> Outline:
    """What the target, and every stage it needs, takes. `PlanError` as a build has it."""
    planned = plan(dockerfile, options, _AnyImage())
    stages = {stage.index: stage for stage in planned.stages}
    target = dockerfile.stages[planned.target.index]
    found: dict[str, Needed] = {}
    agents: dict[str, Needed] = {}
    for stage in planned.stages:
        for step in stage.steps:
            if isinstance(step.step, RunStep):
                for mount in step.step.mounts:
                    if isinstance(mount, SecretRequest):
                        _need(found, mount.id, mount.required, step.span)
                    elif isinstance(mount, SshRequest):
                        _need(agents, mount.id, mount.required, step.span)
    return Outline(
        name=target.base.name or "",
        description=_description(target.base.comments, target.base.name),
        arguments=_Arguments(dockerfile, options).of(stages),
        secrets=tuple(found.values()),
        agents=tuple(agents.values()),
    )


class _AnyImage:
    """An empty image of whatever name: an outline does not depend on what is in a base."""

    def find(self, reference: str, platform: Platform) -> FoundImage:
        return FoundImage(reference, sha256(b""), ImageConfig(architecture=""))


class _Arguments:
    """Follows ARG and ENV through the stages that are needed."""

    def __init__(self, dockerfile: Dockerfile, options: PlanOptions) -> None:
        self._dockerfile = dockerfile
        self._given = options.build_args
        self._found: dict[str, Argument] = {}
        self._variables: dict[int, dict[str, str]] = {}
        target = options.platform
        build = options.build_platform or target
        self._automatic = platform_arguments(
            target=(target.os, target.architecture, target.variant),
            build=(build.os, build.architecture, build.variant),
            stage=options.target or "default",
        )
        self._globals: dict[str, str] = dict(self._automatic)
        self._global_nodes: dict[str, Argument] = {}
        for node in dockerfile.arguments:
            for name, default in node.pairs:
                value = self._value(name, default, self._globals)
                if value is not None:
                    self._globals[name] = value
                self._global_nodes[name] = _argument(node, name, value)

    def of(self, stages: Mapping[int, PlannedStage]) -> tuple[Argument, ...]:
        """The arguments of these stages, and the global ones that they use."""
        for index in sorted(stages):
            self._stage(self._dockerfile.stages[index], stages[index])
        used = {name: node for name, node in self._global_nodes.items() if name in self._found}
        for index in stages:
            self._used_in_from(self._dockerfile.stages[index], used)
        # A stage's ARG without a default says less than the global one that gives it its value.
        rest = {
            name: node
            for name, node in self._found.items()
            if name not in used and name not in self._automatic
        }
        return (*used.values(), *rest.values())

    def _used_in_from(self, stage: Stage, used: dict[str, Argument]) -> None:
        written = f"{stage.base.image} {stage.base.platform or ''}"
        waiting = [name for name in self._global_nodes if _mentions(written, name)]
        while waiting:
            name = waiting.pop()
            used.setdefault(name, self._global_nodes[name])
            for node in self._dockerfile.arguments:
                for other, default in node.pairs:
                    if other == name and default:
                        waiting += [
                            each
                            for each in self._global_nodes
                            if each not in used and _mentions(default, each)
                        ]

    def _stage(self, stage: Stage, planned: PlannedStage) -> None:
        base = planned.base
        variables = dict(self._variables[base.index]) if isinstance(base, StageBase) else {}
        for node in stage.instructions:
            if isinstance(node, Env):
                before = dict(variables)
                for name, word in node.pairs:
                    variables[name] = self._expanded(word, before)
            elif isinstance(node, Arg):
                for name, default in node.pairs:
                    value = self._value(name, default, variables)
                    if value is None:
                        value = self._globals.get(name)
                    if value is not None:
                        variables[name] = value
                    self._found.setdefault(name, _argument(node, name, value))
        self._variables[stage.index] = variables

    def _value(self, name: str, default: str | None, variables: Mapping[str, str]) -> str | None:
        if name in self._given:
            return self._given[name]
        return None if default is None else self._expanded(default, variables)

    def _expanded(self, word: str, variables: Mapping[str, str]) -> str:
        try:
            return expand(word, variables, escape=self._dockerfile.escape).text
        except WordError:
            return word


def _need(found: dict[str, Needed], name: str, required: bool, span: Span) -> None:
    """Note a need; it is required if any step requires it."""
    known = found.get(name)
    found[name] = Needed(
        name=name,
        required=required or (known is not None and known.required),
        span=known.span if known is not None else span,
    )


def _argument(node: Arg, name: str, value: str | None) -> Argument:
    return Argument(
        name=name, description=_description(node.comments, name), value=value, span=node.span
    )


def _description(comments: tuple[str, ...], name: str | None) -> str:
    if not name:
        return ""
    for line in comments:
        first, _, rest = line.strip().partition(" ")
        if first.lower() == name.lower():
            return rest.strip()
    return ""


def _mentions(text: str, name: str) -> bool:
    """Whether a word names a variable, in `$NAME` or in `${NAME…}`."""
    import re

    escaped = re.escape(name)  # an ARG may have any name, also one that no word can refer to
    pattern = rf"\$(?:{escaped}(?!\w)|\{{{escaped}\W)"
    return re.search(pattern, text, re.ASCII) is not None
