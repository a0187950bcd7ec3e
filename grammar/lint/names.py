"""Names of stages, and what comments say of them: DuplicateStageName, ReservedStageName,
InvalidDefinitionDescription."""

from __future__ import annotations

from grammar.errors import quoted
from grammar.lint.findings import Report
from grammar.lint.options import described_by, is_check
from grammar.lint.rules import (
    DUPLICATE_STAGE_NAME,
    INVALID_DEFINITION_DESCRIPTION,
    RESERVED_STAGE_NAME,
)
from grammar.nodes import Arg, Dockerfile, Node

_RESERVED = ("context", "scratch")


def check_names(dockerfile: Dockerfile, report: Report) -> None:
    """Look at the names of stages and at the descriptions of stages and arguments."""
    seen: set[str] = set()
    for stage in dockerfile.stages:
        name = stage.base.name
        if name is None:
            continue
        if name in _RESERVED:
            message = f"Stage name should not use the same name as reserved stage {quoted(name)}"
            report.add(RESERVED_STAGE_NAME, message, stage.base)
        if name in seen:
            message = f"Duplicate stage name {quoted(name)}, stage names should be unique"
            report.add(DUPLICATE_STAGE_NAME, message, stage.base)
        seen.add(name)
    _descriptions(dockerfile, report)


def _descriptions(dockerfile: Dockerfile, report: Report) -> None:
    for argument in dockerfile.arguments:
        _description("ARG", _keys(argument), argument, report)
    for stage in dockerfile.stages:
        base = stage.base
        if base.name is not None and base.written_name is not None:
            _description("FROM", (base.name, base.written_name), base, report, base.name)
        for node in stage.instructions:
            if isinstance(node, Arg):
                _description("ARG", _keys(node), node, report)


def _keys(node: Arg) -> tuple[str, ...]:
    return tuple(key for key, _ in node.pairs)


def _description(
    instruction: str, names: tuple[str, ...], node: Node, report: Report, example: str | None = None
) -> None:
    """The last comment has to begin with one of the names that are defined."""
    comments = [text for text in described_by(node.comments) if not is_check(text)]
    if not comments or comments[-1].split(" ")[0] in names:
        return
    example = example or (names[0] if len(names) == 1 else "<arg_key>")
    message = f"Comment for {instruction} should follow the format: `# {example} <description>`"
    report.add(INVALID_DEFINITION_DESCRIPTION, message, node)
