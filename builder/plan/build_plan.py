"""From a tree to a plan: what has to be done, with everything expanded.

Nothing is done here: images are looked up through `Images`, and what comes out is a value that
can be printed (`build --plan`), compared and tested. Stages that the target does not need are
not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Protocol, assert_never

from builder.errors import PlanError
from builder.plan.epoch import EPOCH_ARGUMENT, SCRATCH_EPOCH, created_time, given_epoch
from builder.plan.named_contexts import (
    NamedContext,
    NamedContexts,
    NamedImage,
    find_named,
)
from builder.plan.stage_plan import StagePlanner
from builder.plan.steps import (
    Base,
    FromContext,
    FromImage,
    FromNamed,
    FromNothing,
    FromStage,
    ImageBase,
    Input,
    NamedBase,
    Plan,
    PlannedStage,
    ScratchBase,
    StageBase,
)
from builder.plan.unresolved import unresolved
from builder.plan.variables import (
    DEFAULT_PATH,
    Pairs,
    Scope,
    platform_arguments,
    updated,
)
from grammar.errors import WordError
from grammar.nodes import Arg, Dockerfile, From, Span, Stage
from grammar.words import expand
from runtime.image.digest import Digest
from runtime.image.errors import ImageError, InvalidPlatform
from runtime.image.model import ImageConfig, RuntimeConfig, rfc3339
from runtime.image.platform import Platform


@dataclass(frozen=True, slots=True)
class FoundImage:
    """What the planner needs to know of an image that a Dockerfile names."""

    reference: str
    image_id: Digest
    config: ImageConfig


class Images(Protocol):
    """Where base images are found."""

    def find(self, reference: str, platform: Platform) -> FoundImage:
        """The image of that name for a platform; `ImageError` where there is none.

        It may be one for another platform, if that is all there is.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What the command line adds to the Dockerfile.

    `epoch` is the time of everything the build makes, where the environment gives it
    (SOURCE_DATE_EPOCH); `committed` when the commit was made that the context is of.
    `platform` is what the image is for, `build_platform` this machine's, where that is another.
    """

    platform: Platform
    build_platform: Platform | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    labels: Pairs = ()
    epoch: int | None = None
    committed: int | None = None
    contexts: NamedContexts = field(default_factory=dict)


def plan(dockerfile: Dockerfile, options: PlanOptions, images: Images) -> Plan:
    """Plan the build of the target stage; `PlanError` says what cannot be, and where."""
    return _Planner(dockerfile, options, images).plan()


def plan_every_stage(dockerfile: Dockerfile, options: PlanOptions, images: Images) -> None:
    """Plan every stage, needed or not; `PlanError` for the first that could not be built."""
    _Planner(dockerfile, options, images).plan_every_stage()


class _Planner:
    """One run of `plan`: the stages already planned, and who needs whom."""

    def __init__(self, dockerfile: Dockerfile, options: PlanOptions, images: Images) -> None:
        self._dockerfile = dockerfile
        self._options = options
        self._images = images
        self._planned: dict[int, PlannedStage] = {}
        self._scopes: dict[int, Scope] = {}
        self._platforms: dict[int, Platform] = {}
        self._build_args = dict(options.build_args)
        self._globals = self._global_arguments()
        self._given_epoch = self._find_given_epoch()

    def plan(self) -> Plan:
        target = self._target()
        self._stage(target)
        needed = sorted(self._needed(target))
        stages = [self._planned[index] for index in needed if index != target]
        last = self._planned[target]
        labels = updated(last.config.config.labels, self._options.labels)
        config = replace(last.config, config=replace(last.config.config, labels=labels))
        return Plan(stages=(*stages, replace(last, config=config)))

    def plan_every_stage(self) -> None:
        for stage in self._dockerfile.stages:
            self._stage(stage.index)

    def _needed(self, target: int) -> set[int]:
        found: set[int] = set()
        waiting = [target]
        while waiting:
            index = waiting.pop()
            if index not in found:
                found.add(index)
                waiting += self._planned[index].needs
        return found

    # ---- the global scope

    def _global_arguments(self) -> dict[str, str]:
        target = self._options.platform
        build = self._options.build_platform or target
        values = platform_arguments(
            target=(target.os, target.architecture, target.variant),
            build=(build.os, build.architecture, build.variant),
            stage=self._options.target or "default",
        )
        values.update((k, v) for k, v in self._build_args.items() if k in values)
        for argument in self._dockerfile.arguments:
            for name, default in argument.pairs:
                if name in self._build_args:
                    values[name] = self._build_args[name]
                elif default is not None:
                    values[name] = self._expanded(default, values, argument)
        return values

    def _expanded(self, word: str, values: Mapping[str, str], node: Arg | From) -> str:
        try:
            return expand(word, values, escape=self._dockerfile.escape).text
        except WordError as error:
            raise PlanError(str(error), span=node.span) from error

    # ---- stages by name

    def _target(self) -> int:
        if self._options.target is None:
            return len(self._dockerfile.stages) - 1
        wanted = self._options.target.lower()
        index = self._named(wanted, len(self._dockerfile.stages))
        if index is not None:
            return index
        names = [stage.base.name for stage in self._dockerfile.stages if stage.base.name]
        near = get_close_matches(wanted, names, 1)
        raise PlanError(
            f'target stage "{self._options.target}" could not be found'
            + (f" (did you mean {near[0]}?)" if near else ""),
            hint="stages are: " + ", ".join(names) if names else "no stage has a name",
        )

    def _named(self, name: str, before: int) -> int | None:
        """The last stage of that name among the first `before`."""
        for stage in reversed(self._dockerfile.stages[:before]):
            if stage.base.name == name:
                return stage.index
        return None

    def _stage(self, index: int) -> PlannedStage:
        """The plan of a stage and, before it, of every stage that it needs."""
        if index not in self._planned:
            stage = self._dockerfile.stages[index]
            base = self._replaced(stage)
            if base is None:
                base = self._base(stage)
            else:
                stage = replace(stage, instructions=())
            planner = StagePlanner(
                stage,
                config=self._start_config(base, self._platforms[index]),
                scope=self._start_scope(base, self._platforms[index]),
                escape=self._dockerfile.escape,
                global_arguments=self._globals,
                build_args=self._build_args,
                epoch=self._epoch(base),
                find_input=lambda name, span, by_number: self._input(
                    name, stage, span, by_number=by_number
                ),
            )
            planned = planner.finish(base=base, name=stage.base.name or f"stage-{index}")
            created = rfc3339(self._created(planned.epoch))
            config = replace(planned.config, created=created)
            self._planned[index] = replace(planned, config=config)
            self._scopes[index] = planner.scope
        return self._planned[index]

    def _base(self, stage: Stage) -> Base:
        node = stage.base
        name = self._expanded(node.image, self._globals, node)
        if not name:
            raise PlanError(
                f"base name ({node.image}) should not be blank",
                span=node.span,
                hint="only ARGs before the first FROM, and --build-arg, can be used in FROM",
            )
        platform = self._platforms[stage.index] = self._platform(node)
        if name == "scratch":
            return ScratchBase()
        named = self._named_base(name, platform, stage)
        if named is not None:
            return named
        index = self._named(name, stage.index)
        if index is not None:
            self._stage(index)
            self._platforms[stage.index] = self._platforms[index]
            return StageBase(index)
        found = self._find_image(name, platform, node.span, stage.index)
        return ImageBase(reference=found.reference, image_id=found.image_id, config=found.config)

    def _replaced(self, stage: Stage) -> Base | None:
        """What a named context puts in the place of a whole stage of that name."""
        if not stage.base.name:
            return None
        platform = self._platforms[stage.index] = self._options.platform
        return self._named_base(stage.base.name, platform, stage)

    def _named_base(self, name: str, platform: Platform, stage: Stage) -> Base | None:
        found = find_named(self._options.contexts, name, platform)
        if found is None:
            return None
        key, context = found
        if not isinstance(context, NamedImage):
            return NamedBase(key)
        span = stage.base.span
        image = self._find_image(context.reference, platform, span, stage.index)
        return ImageBase(reference=image.reference, image_id=image.image_id, config=image.config)

    def _platform(self, node: From) -> Platform:
        """What a stage is for: its own `--platform`, or the build's."""
        if node.platform is None:
            return self._options.platform
        text = self._expanded(node.platform, self._globals, node)
        if not text:
            raise PlanError(f"empty platform value from expression {node.platform}", span=node.span)
        try:
            return Platform.parse(text)
        except InvalidPlatform as error:
            raise PlanError(error.message, span=node.span) from error

    def _find_image(
        self, name: str, platform: Platform, span: Span, stage_index: int
    ) -> FoundImage:
        try:
            return self._images.find(name, platform)
        except ImageError as error:
            hint = self._stage_hint(name, stage_index)
            raise unresolved(name, error, span=span, hint=hint) from error

    def _stage_hint(self, name: str, stage_index: int) -> str | None:
        """Which stage may have been meant by a name that is no image's."""
        stages = self._dockerfile.stages
        for stage in stages[stage_index:]:
            if stage.base.name == name:
                return f"stage {name} is defined at {stage.base.span}: move it up"
        names = [stage.base.name for stage in stages[:stage_index] if stage.base.name]
        near = get_close_matches(name, names, 1)
        return f"did you mean the stage {near[0]}?" if near else None

    def _input(self, name: str, stage: Stage, span: Span, *, by_number: bool) -> Input:
        """What `--from=name` in a stage refers to."""
        if "$" in name:
            raise PlanError(
                "variable expansion is not supported for --from, define a new stage with FROM"
                " using ARG from global scope as a workaround",
                span=span,
            )
        if name == "scratch":
            return FromNothing()
        if name == "context":
            return FromContext()
        if by_number and name.isascii() and name.isdigit():
            index = int(name)
            if index >= stage.index:
                raise PlanError(f"invalid stage index {index}", span=span)
            self._stage(index)
            return FromStage(index)
        named = find_named(self._options.contexts, name, self._platforms[stage.index])
        if named is not None:
            return self._named_input(*named, stage, span)
        found = self._named(name.lower(), stage.index)
        if found is not None:
            self._stage(found)
            return FromStage(found)
        if name.lower() == stage.base.name:
            raise PlanError(f"circular dependency detected on stage: {name.lower()}", span=span)
        if self._named(name.lower(), len(self._dockerfile.stages)) is not None:
            what = (
                f'cannot copy from stage "{name}", it needs to be defined before current stage'
                f' "{stage.base.name or stage.index}"'
                if by_number
                else f'cannot mount from stage "{name}", stage needs to be defined before'
                " current command"
            )
            raise PlanError(what, span=span, hint="move that stage up")
        return self._image_input(name, stage, span)

    def _named_input(self, key: str, context: NamedContext, stage: Stage, span: Span) -> Input:
        if isinstance(context, NamedImage):
            return self._image_input(context.reference, stage, span)
        return FromNamed(key)

    def _image_input(self, name: str, stage: Stage, span: Span) -> Input:
        image = self._find_image(name, self._platforms[stage.index], span, stage.index)
        return FromImage(reference=image.reference, image_id=image.image_id)

    # ---- what a stage starts with

    def _find_given_epoch(self) -> int | None:
        """SOURCE_DATE_EPOCH: a build argument, in the environment, or an ARG before FROM."""
        given = self._build_args.pop(EPOCH_ARGUMENT, None)
        if given is None and self._options.epoch is not None:
            given = str(self._options.epoch)
        declared = [a.span for a in self._dockerfile.arguments if EPOCH_ARGUMENT in dict(a.pairs)]
        default = self._globals.pop(EPOCH_ARGUMENT, "")
        span = declared[-1] if declared else None
        text = default if given is None else given
        epoch = given_epoch(text, self._options.committed, span)
        if epoch is not None:
            # What ARGs get is the time, however it was said.
            if declared:
                self._globals[EPOCH_ARGUMENT] = str(epoch)
            if given is not None:
                self._build_args[EPOCH_ARGUMENT] = str(epoch)
        return epoch

    def _created(self, epoch: int) -> int:
        """When the image of a stage is created."""
        if self._given_epoch is not None or self._options.committed is None:
            return epoch
        return max(epoch, self._options.committed)

    def _epoch(self, base: Base) -> int:
        if self._given_epoch is not None:
            return self._given_epoch
        match base:
            case ScratchBase() | NamedBase():
                return SCRATCH_EPOCH
            case ImageBase():
                return created_time(base.config)
            case StageBase():
                return self._planned[base.index].epoch

    def _start_config(self, base: Base, here: Platform) -> ImageConfig:
        match base:
            case ScratchBase() | NamedBase():
                start = ImageConfig(
                    architecture=here.architecture,
                    os=here.os,
                    variant=here.variant,
                    config=RuntimeConfig(working_dir="/"),
                )
            case ImageBase():
                start = base.config
            case StageBase():
                return self._planned[base.index].config
            case _:
                assert_never(base)
        if "PATH" in dict(start.config.env):
            return start
        env = (*start.config.env, ("PATH", DEFAULT_PATH))
        return replace(start, config=replace(start.config, env=env))

    def _start_scope(self, base: Base, here: Platform) -> Scope:
        if isinstance(base, StageBase):
            return self._scopes[base.index]
        return Scope(variables=self._start_config(base, here).config.env)
