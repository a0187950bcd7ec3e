"""COPY and ADD of what the context leaves out: CopyIgnoredFile."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from grammar.dockerignore import Patterns
from grammar.errors import quoted
from grammar.lint.findings import Report
from grammar.lint.rules import COPY_IGNORED_FILE
from grammar.nodes import Add, Copy

_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|[^/]+@[^/]+:")


def check_ignored(
    sources: Iterable[str], node: Copy | Add, patterns: Patterns, report: Report
) -> None:
    """Hold expanded sources against the ignore file.

    Not where a pattern takes something back: then a folder may be excluded, and not what is
    copied of it.
    """
    if any(pattern.negated for pattern in patterns.patterns):
        return
    word = "Add" if isinstance(node, Add) else "Copy"
    for source in sources:
        if isinstance(node, Add) and _REMOTE.match(source):
            continue
        path = posixpath.normpath(source)
        if patterns.excludes(path).excluded:
            message = f"Attempting to {word} file {quoted(path)} that is excluded by .dockerignore"
            report.add(COPY_IGNORED_FILE, message, node)
