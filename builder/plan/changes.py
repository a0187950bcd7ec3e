"""`--change`: instructions applied to a config without building anything."""

from __future__ import annotations

from builder.errors import OptionError, PlanError
from builder.plan.stage_plan import StagePlanner
from builder.plan.steps import Input, ScratchBase
from builder.plan.variables import Scope
from grammar import parse_instruction
from grammar.errors import DockerfileError
from grammar.nodes import (
    Cmd,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Label,
    Onbuild,
    SetShell,
    Span,
    Stage,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from runtime.image.model import ImageConfig

_ALLOWED = (
    Cmd, Entrypoint, Env, Expose, Healthcheck, Label, Onbuild, SetShell, StopSignal, User, Volume,
    Workdir,
)  # fmt: skip


def apply_changes(config: ImageConfig, changes: tuple[str, ...]) -> ImageConfig:
    """A config with Dockerfile instructions applied; `OptionError` for one that cannot be."""
    span = Span("--change", 1, 1)
    try:
        nodes = tuple(parse_instruction(text, "--change", "\\") for text in changes)
        for node, text in zip(nodes, changes, strict=True):
            if not isinstance(node, _ALLOWED):
                raise OptionError(
                    f"{text.split()[0]} is not a valid change: it does more than set the config"
                )
        base = From(source="FROM scratch", span=span, image="scratch")
        planner = StagePlanner(
            Stage(index=0, base=base, instructions=nodes),
            config=config,
            scope=Scope(variables=config.config.env),
            escape="\\",
            global_arguments={},
            build_args={},
            epoch=0,
            find_input=_no_input,
        )
        return planner.finish(base=ScratchBase(), name="change").config
    except (DockerfileError, PlanError) as error:
        raise OptionError(f"--change: {error.message}", hint=error.hint) from error


def _no_input(name: str, span: Span, by_number: bool) -> Input:
    raise OptionError(f"--change: nothing can be copied from {name}")
