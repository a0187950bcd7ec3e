"""What the linter found, for people and for programs.

text      as `docker build --check` prints it
json      the object of BuildKit's lint request; with several files each is a source
sarif     SARIF 2.1.0, for code hosts and editors
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from grammar.errors import excerpt
from grammar.lint import RULES, Finding
from grammar.nodes import Span

FORMATS = ("text", "json", "sarif")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a Dockerfile cannot be built."""

    message: str
    span: Span | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LintedFile:
    """One Dockerfile: its path as it was given, its text, what was found."""

    path: str
    text: str
    findings: tuple[Finding, ...] = ()
    problem: Problem | None = None


def in_format(name: str, files: Sequence[LintedFile], version: str) -> str:
    """The findings in one of `FORMATS`."""
    if name == "sarif":
        return _dumped(_sarif(files, version))
    return _dumped(_json(files)) if name == "json" else _text(files)


# ---- text


def _text(files: Sequence[LintedFile]) -> str:
    findings = [finding for file in files for finding in file.findings]
    undecided = not findings and any(file.problem is not None for file in files)
    parts = [] if undecided else [_complete(len(findings))]
    parts += [_told(finding, file.text) for file in files for finding in file.findings]
    return "\n\n".join(parts)


def _complete(count: int) -> str:
    if not count:
        return "Check complete, no warnings found."
    has = "1 warning has" if count == 1 else f"{count} warnings have"
    return f"Check complete, {has} been found!"


def _told(finding: Finding, text: str) -> str:
    lines = [f"WARNING: {finding.rule.name}", finding.rule.description, finding.message]
    return "\n".join((*lines, excerpt(text, finding.span).rstrip("\n")))


# ---- JSON


def _json(files: Sequence[LintedFile]) -> dict[str, Any]:
    document: dict[str, Any] = {
        "warnings": [
            _warning(finding, index)
            for index, file in enumerate(files)
            for finding in file.findings
        ],
        "sources": [_source(file) for file in files],
    }
    errors = [
        _error(file.problem, index) for index, file in enumerate(files) if file.problem is not None
    ]
    if errors:
        document["buildError"] = errors[0]
    if len(errors) > 1:
        document["buildErrors"] = errors
    return document


def _warning(finding: Finding, source: int) -> dict[str, Any]:
    members: dict[str, Any] = {
        "ruleName": finding.rule.name,
        "description": finding.rule.description,
        "detail": finding.message,
        "location": _location(finding.span, source),
    }
    if finding.rule.path is not None:
        members["path"] = finding.rule.path
    return members


def _source(file: LintedFile) -> dict[str, str]:
    data = base64.b64encode(file.text.encode("utf-8", "surrogateescape")).decode("ascii")
    return {"filename": file.path, "language": "Dockerfile", "data": data}


def _error(problem: Problem, source: int) -> dict[str, Any]:
    members: dict[str, Any] = {"message": problem.message}
    if problem.span is not None:
        members["location"] = _location(problem.span, source)
    return members


def _location(span: Span, source: int) -> dict[str, Any]:
    lines = {"start": {"line": span.first}, "end": {"line": span.last}}
    return {"sourceIndex": source, "ranges": [lines]}


# ---- SARIF


def _sarif(files: Sequence[LintedFile], version: str) -> dict[str, Any]:
    numbers = {rule.name: number for number, rule in enumerate(RULES)}
    problems = [(file, file.problem) for file in files if file.problem is not None]
    driver = {
        "name": "lamina",
        "version": version,
        "rules": [
            {
                "id": rule.name,
                "name": rule.name,
                "shortDescription": {"text": rule.description},
                "defaultConfiguration": {"level": "warning", "enabled": not rule.experimental},
            }
            for rule in RULES
        ],
    }
    results = [
        {
            "ruleId": finding.rule.name,
            "ruleIndex": numbers[finding.rule.name],
            "level": "warning",
            "message": {"text": finding.message},
            "locations": [_place(file, finding.span)],
        }
        for file in files
        for finding in file.findings
    ]
    invocation: dict[str, Any] = {
        "executionSuccessful": not problems,
        "toolExecutionNotifications": [_notification(file, told) for file, told in problems],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "artifacts": [{"location": {"uri": _uri(file.path)}} for file in files],
        "invocations": [invocation],
        "results": results,
    }
    return {"version": "2.1.0", "runs": [run]}


def _notification(file: LintedFile, problem: Problem) -> dict[str, Any]:
    members: dict[str, Any] = {"level": "error", "message": {"text": problem.message}}
    if problem.span is not None:
        members["locations"] = [_place(file, problem.span)]
    return members


def _place(file: LintedFile, span: Span) -> dict[str, Any]:
    region = {"startLine": span.first, "startColumn": span.column, "endLine": span.last}
    if span.first == span.last and span.column == 1:
        del region["startColumn"]
    return {"physicalLocation": {"artifactLocation": {"uri": _uri(file.path)}, "region": region}}


def _uri(path: str) -> str:
    """A path as a relative reference, as SARIF has them; a colon would make it look absolute."""
    from urllib.parse import quote

    return quote(path, errors="surrogateescape")


def _dumped(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=True)


def counted(files: Iterable[LintedFile]) -> int:
    """How many findings there are."""
    return sum(len(file.findings) for file in files)
