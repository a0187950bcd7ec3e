"""`--parents`: which paths a pattern names, where `**` crosses directories."""

from __future__ import annotations

import re
from collections.abc import Iterator

from builder.execution.wildcard import compile_component, is_pattern
from builder.sources.trees import FileTree, join
from runtime.image.layer.entry import Kind


def matching_parents(tree: FileTree, root: bytes, pattern: bytes) -> Iterator[bytes]:
    """Paths below `root` that a pattern names; `InvalidPattern`. What is in one is not named."""
    if not is_pattern(pattern):
        path = join(root, pattern)
        if tree.lstat(path) is not None:
            yield path
        return
    expression = _expression(pattern)
    skip = len(root) + 1 if root else 0
    taken: bytes | None = None
    for entry in tree.walk(root):
        if taken is not None and entry.path.startswith(taken + b"/"):
            continue
        if entry.path[skip:] and expression.fullmatch(entry.path[skip:]):
            if entry.kind is Kind.DIRECTORY:
                taken = entry.path
            yield entry.path


def _expression(pattern: bytes) -> re.Pattern[bytes]:
    """A pattern as an expression: as .dockerignore's, `**` is any depth."""
    out = b""
    parts = pattern.split(b"/")
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == b"**":
            out += b".*" if last else b"(?:.*/)?"
        else:
            out += compile_component(part).pattern + (b"" if last else b"/")
    return re.compile(out, re.DOTALL)
