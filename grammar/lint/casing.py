"""How keywords and stage names are written: StageNameCasing, FromAsCasing,
ConsistentInstructionCasing."""

from __future__ import annotations

from grammar.lint.findings import Report
from grammar.lint.rules import (
    CONSISTENT_INSTRUCTION_CASING,
    FROM_AS_CASING,
    STAGE_NAME_CASING,
)
from grammar.nodes import Dockerfile, From, Node


def keyword(node: Node) -> str:
    """The instruction's name as it is written."""
    return node.source.split(None, 1)[0]


def check_casing(dockerfile: Dockerfile, report: Report) -> None:
    """Look at every keyword and stage name."""
    for stage in dockerfile.stages:
        _stage_name(stage.base, report)
    _instructions(dockerfile, report)


def _stage_name(node: From, report: Report) -> None:
    written = node.written_name
    if written is None:
        return
    if not _is_lower(written):
        report.add(STAGE_NAME_CASING, f"Stage name '{written}' should be lowercase", node)
    first, second = keyword(node), node.source.split()[-2]
    fits = {"lower": _is_lower, "upper": _is_upper}.get(_case(first))
    if fits is not None and not fits(second):
        message = f"'{second}' and '{first}' keywords' casing do not match"
        report.add(FROM_AS_CASING, message, node)


def _instructions(dockerfile: Dockerfile, report: Report) -> None:
    """Hold each keyword against the majority; ARGs before the first FROM do not count."""
    nodes: list[Node] = []
    for stage in dockerfile.stages:
        nodes += [stage.base, *stage.instructions]
    cases = [_case(keyword(node)) for node in nodes]
    lower = cases.count("lower") > cases.count("upper")
    fits, majority = (_is_lower, "lowercase") if lower else (_is_upper, "uppercase")
    for node in nodes:
        word = keyword(node)
        if not fits(word):
            message = f"Command '{word}' should match the case of the command majority ({majority})"
            report.add(CONSISTENT_INSTRUCTION_CASING, message, node)


def _case(word: str) -> str:
    return "lower" if _is_lower(word) else "upper" if _is_upper(word) else "mixed"


def _is_lower(word: str) -> bool:
    return word == word.lower()


def _is_upper(word: str) -> bool:
    return word == word.upper()
