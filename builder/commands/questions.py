"""`lamina build` as a question: what is answered instead of building."""

from __future__ import annotations

from typing import Any

import click

import grammar
from builder.build import make_plan, plan_options
from builder.commands.calls import (
    Call,
    outline_json,
    outline_text,
    parse_call,
    plan_json,
    targets_json,
    targets_text,
)
from builder.commands.lint import check_build
from builder.commands.opened import opened_store
from builder.errors import OptionError
from builder.plan.describe import outline, targets
from builder.progress import Progress
from builder.request import BuildRequest


def answer(
    root: str, request: BuildRequest, progress: Progress, options: dict[str, Any]
) -> int | None:
    """Answer `--check`, `--plan` or `--call METHOD`: the exit status; `None` for a build."""
    call = parse_call(options["call"])
    if options["check"] and call.method not in ("build", "check"):
        raise OptionError(f"--check and --call {call.method} are different questions")
    if options["check"] or call.method == "check":
        return check_build(root, request, as_json=call.as_json)
    if options["plan"] or call.method in ("outline", "targets"):
        click.echo(_answer(root, call, request, progress))
        return 0
    return None


def _answer(root: str, call: Call, request: BuildRequest, progress: Progress) -> str:
    """What is said instead of building."""
    if call.method == "build":
        with opened_store(root) as store:
            return plan_json(make_plan(request, store, progress)[0])
    dockerfile = grammar.parse(request.source.data, request.source.name)
    if call.method == "targets":
        found = targets(dockerfile)
        return targets_json(found) if call.as_json else targets_text(found)
    told = outline(dockerfile, plan_options(request))
    return outline_json(told) if call.as_json else outline_text(told)
