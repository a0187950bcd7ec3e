"""`--call` and `--plan`: questions about a build, answered instead of building.

The answers have the form that buildx gives them, as text and as JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from builder.cache.keys import identity
from builder.commands.tables import table
from builder.errors import OptionError
from builder.plan.describe import Argument, Needed, Outline, Target
from builder.plan.steps import Plan
from grammar.nodes import Span

METHODS = ("build", "check", "outline", "targets")


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked for, and whether as JSON."""

    method: str
    as_json: bool = False


def parse_call(text: str) -> Call:
    """Read `--call METHOD[,format=text|json]`; `OptionError`."""
    method, *rest = text.split(",")
    if method not in METHODS:
        raise OptionError(f"unknown --call {method!r}", hint=", ".join(METHODS))
    as_json = False
    for field in rest:
        if field not in ("format=json", "format=text"):
            raise OptionError(f"--call {text}: unknown option {field!r}", hint="format=json")
        as_json = field == "format=json"
    return Call(method, as_json)


def targets_text(found: tuple[Target, ...]) -> str:
    """A table of the stages, the default marked."""
    rows = []
    for number, target in enumerate(found):
        name = target.name or ("" if target.default else f"(stage {number})")
        rows.append([f"{name} (default)".strip() if target.default else name, target.description])
    return table(["TARGET", "DESCRIPTION"], rows)


def targets_json(found: tuple[Target, ...]) -> str:
    """The stages as JSON; what is empty is left out."""
    return _json(
        {
            "targets": [
                _filled(
                    {
                        "name": target.name,
                        "default": target.default,
                        "description": target.description,
                        "base": target.base,
                        "platform": target.platform,
                        "location": _location(target.span),
                    }
                )
                for target in found
            ]
        }
    )


def outline_text(found: Outline) -> str:
    """The target, then a table each of arguments, secrets and agents, where there are any."""
    head = [["TARGET:", found.name or "(default)"]]
    if found.description:
        head.append(["DESCRIPTION:", found.description])
    parts = [table(head[0], head[1:])]
    if found.arguments:
        rows = [[a.name, a.value or "", a.description] for a in found.arguments]
        parts.append(table(["BUILD ARG", "VALUE", "DESCRIPTION"], rows))
    for title, needs in (("SECRET", found.secrets), ("SSH", found.agents)):
        if needs:
            rows = [[need.name, "true" if need.required else ""] for need in needs]
            parts.append(table([title, "REQUIRED"], rows))
    return "\n\n".join(parts)


def outline_json(found: Outline) -> str:
    """The outline as JSON; what is empty is left out."""
    return _json(
        _filled(
            {
                "name": found.name,
                "description": found.description,
                "args": [_argument(argument) for argument in found.arguments],
                "secrets": [_needed(need) for need in found.secrets],
                "ssh": [_needed(need) for need in found.agents],
            }
        )
    )


def plan_json(plan: Plan) -> str:
    """A plan, with everything in it: its types' names, and their fields."""
    return _json(json.loads(identity(plan)))


def _argument(argument: Argument) -> dict[str, Any]:
    members = {
        "name": argument.name,
        "description": argument.description,
        "value": argument.value,
        "location": _location(argument.span),
    }
    return _filled(members)


def _needed(need: Needed) -> dict[str, Any]:
    members = {"name": need.name, "required": need.required, "location": _location(need.span)}
    return _filled(members)


def _location(span: Span) -> dict[str, Any]:
    return {"ranges": [{"start": {"line": span.first}, "end": {"line": span.last}}]}


def _filled(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value}


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=True)
