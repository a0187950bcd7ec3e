"""The linter: what in a Dockerfile is allowed and yet likely wrong.

    options = check_options(dockerfile, text)
    for finding in lint(dockerfile, options, Surroundings(...)):
        print(finding)

The 22 rules of BuildKit, under its names and in its words (dockerfile.md section 2). Pure: what
the text alone does not say is given as `Surroundings`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from grammar.lint.casing import check_casing
from grammar.lint.findings import Finding, Report
from grammar.lint.from_arguments import check_defaults
from grammar.lint.names import check_names
from grammar.lint.options import (
    BUILD_ARGUMENT,
    CheckOptions,
    InvalidCheck,
    check_options,
    parse_check,
)
from grammar.lint.rules import NO_EMPTY_CONTINUATION, RULES, Rule
from grammar.lint.stages import check_stages
from grammar.lint.surroundings import AUTOMATIC, BaseImage, Surroundings
from grammar.nodes import Dockerfile, Instruction

__all__ = [
    "AUTOMATIC",
    "BUILD_ARGUMENT",
    "RULES",
    "BaseImage",
    "CheckOptions",
    "Finding",
    "InvalidCheck",
    "Rule",
    "Surroundings",
    "check_options",
    "lint",
    "parse_check",
    "rules_broken",
]


def lint(
    dockerfile: Dockerfile,
    options: CheckOptions | None = None,
    surroundings: Surroundings | None = None,
    *,
    stages: Collection[int] | None = None,
) -> tuple[Finding, ...]:
    """What is found in a Dockerfile, in the order of its lines.

    The instructions of the stages with the numbers `stages` are looked at, of all by default;
    names, keywords and FROMs always are. Raises nothing for a Dockerfile that parses: what
    makes a build impossible is not the linter's business.
    """
    report = Report(CheckOptions() if options is None else options)
    around = Surroundings() if surroundings is None else surroundings
    _continuations(dockerfile, report)
    check_casing(dockerfile, report)
    check_names(dockerfile, report)
    check_defaults(dockerfile, around, report)
    check_stages(dockerfile, around, report, stages)
    return report.findings()


def rules_broken(findings: Iterable[Finding]) -> str:
    """The sentence BuildKit fails with under `error=true`."""
    names = sorted({finding.rule.name for finding in findings})
    return f"lint violation found for rules: {', '.join(names)}"


def _continuations(dockerfile: Dockerfile, report: Report) -> None:
    """Blank lines in continued ones, which the scan has seen."""
    for warning in dockerfile.warnings:
        if warning.rule == NO_EMPTY_CONTINUATION.name:
            line = warning.span.first
            near = [node for node in _nodes(dockerfile) if node.span.first <= line]
            node = next(node for node in reversed(near))
            report.add(NO_EMPTY_CONTINUATION, "Empty continuation line", node, span=warning.span)


def _nodes(dockerfile: Dockerfile) -> list[Instruction]:
    nodes: list[Instruction] = [*dockerfile.arguments]
    for stage in dockerfile.stages:
        nodes += [stage.base, *stage.instructions]
    return nodes
