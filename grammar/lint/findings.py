"""What the linter found, and how it is collected."""

from __future__ import annotations

from dataclasses import dataclass

from grammar.lint.options import CheckOptions, comment_options
from grammar.lint.rules import Rule
from grammar.nodes import Node, Span


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule is broken at `span`; `message` says how, in BuildKit's words."""

    rule: Rule
    message: str
    span: Span

    def __str__(self) -> str:
        return f"{self.rule.name}: {self.message} (line {self.span.first})"


class Report:
    """Collects findings, less those that `# check=` skips and those already there."""

    def __init__(self, options: CheckOptions) -> None:
        self._options = options
        self._findings: dict[Finding, None] = {}

    def add(self, rule: Rule, message: str, *nodes: Node, span: Span | None = None) -> None:
        """A finding about the first node; the comments above any of them may skip it."""
        options = self._options
        for node in nodes:
            options = options.merged(comment_options(node.comments))
        if options.wants(rule):
            self._findings[Finding(rule, message, span or nodes[0].span)] = None

    def findings(self) -> tuple[Finding, ...]:
        """What was found, in the order of the lines."""
        return tuple(sorted(self._findings, key=lambda finding: finding.span.first))
