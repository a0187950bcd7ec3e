"""The linter in a build: what it has to know of images and of the context, and what follows.

LintViolation      `error=true`, and something was found; in `builder.errors`' tree a BuildError
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from builder.errors import BuildError, OptionError, PlanError
from builder.events import Emit, Warned
from builder.plan.build_plan import Images, PlanOptions, plan, plan_every_stage
from builder.plan.named_contexts import NamedImage, find_named
from builder.plan.steps import Plan
from builder.plan.variables import platform_arguments
from grammar.dockerignore import Patterns
from grammar.lint import (
    BUILD_ARGUMENT,
    BaseImage,
    CheckOptions,
    Finding,
    InvalidCheck,
    Surroundings,
    check_options,
    lint,
    rules_broken,
)
from grammar.nodes import Dockerfile
from runtime.image.errors import ImageError


class LintViolation(BuildError):
    """Something was found, and `error=true` makes that an error."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        super().__init__(rules_broken(findings), span=findings[0].span)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a check without a build comes to; `error` is why it could not be built."""

    findings: tuple[Finding, ...]
    error: BuildError | None = None


def read_options(dockerfile: Dockerfile, text: str, options: PlanOptions) -> CheckOptions:
    """What `# check=` and the build argument ask for. `DockerfileError`, `OptionError`."""
    try:
        return check_options(dockerfile, text, options.build_args)
    except InvalidCheck as error:
        message = f"failed to parse check options: {error.reason}"
        raise OptionError(f"--build-arg {BUILD_ARGUMENT}: {message}") from error


def surroundings(
    options: PlanOptions, images: Images | None, ignored: Patterns | None
) -> Surroundings:
    """What the linter is to know; without `images`, nothing of base images."""
    target, build = options.platform, options.build_platform or options.platform

    def find_base(name: str) -> BaseImage | None:
        named = find_named(options.contexts, name, target)
        if named is not None:
            if not isinstance(named[1], NamedImage):
                return BaseImage()
            name = named[1].reference
        if images is None:
            return None
        try:
            config = images.find(name, target).config
        except ImageError:
            return None
        return BaseImage(
            env=config.config.env,
            shell=config.config.shell or (),
            on_build=config.config.on_build,
            platform=str(config.platform) if config.architecture else "",
        )

    return Surroundings(
        build_args=options.build_args,
        automatic=platform_arguments(
            target=(target.os, target.architecture, target.variant),
            build=(build.os, build.architecture, build.variant),
            stage=options.target or "default",
        ),
        find_base=find_base,
        ignored=ignored,
    )


def plan_checked(
    dockerfile: Dockerfile,
    text: str,
    options: PlanOptions,
    images: Images,
    known: Images,
    ignored: Patterns | None,
    emit: Emit,
) -> tuple[Plan, tuple[Finding, ...]]:
    """A plan, and what the linter finds in the stages that are built.

    The linter looks at no other images than `known` ones: none is fetched for its sake.

    `PlanError`, or `LintViolation` where findings are errors: both after telling what was found.
    """
    check = read_options(dockerfile, text, options)
    around = surroundings(options, known, ignored)
    try:
        planned = plan(dockerfile, options, images)
    except PlanError:
        # Which stages are needed is not known: names and FROMs can be looked at all the same.
        warn(lint(dockerfile, check, around, stages=()), emit)
        raise
    findings = lint(dockerfile, check, around, stages={stage.index for stage in planned.stages})
    if check.error and findings:
        warn(findings, emit)
        raise LintViolation(findings)
    return planned, findings


def warn(findings: Iterable[Finding], emit: Emit) -> None:
    """Tell what was found."""
    for finding in findings:
        emit(Warned(rule=finding.rule.name, message=finding.message, span=finding.span))


def check_only(
    dockerfile: Dockerfile,
    text: str,
    options: PlanOptions,
    images: Images,
    ignored: Patterns | None,
) -> Checked:
    """Check without building: the target and what it needs, or every stage.

    `DockerfileError` and `OptionError` for check options that cannot be read.
    """
    check = read_options(dockerfile, text, options)
    stages: frozenset[int] | None = None
    error: BuildError | None = None
    try:
        if options.target is None:
            plan_every_stage(dockerfile, options, images)
        else:
            planned = plan(dockerfile, options, images)
            stages = frozenset(stage.index for stage in planned.stages)
    except PlanError as raised:
        error = raised
    findings = lint(dockerfile, check, surroundings(options, images, ignored), stages=stages)
    if error is None and check.error and findings:
        error = LintViolation(findings)
    return Checked(findings=findings, error=error)
