"""Which lines of an ignore file took files out of a copy, or gave them back."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from builder.records.files import FileChange
from builder.records.model import Ignored
from grammar.dockerignore import InvalidPattern, Pattern, Patterns, parse_patterns


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoreChange:
    """A line that came (`added`) or went, and how many files that took away or gave back."""

    file: str
    line: int
    pattern: str
    added: bool
    files: int


def ignored_otherwise(
    old: Ignored, new: Ignored, changes: Iterable[FileChange]
) -> Iterator[IgnoreChange]:
    """The lines that only one of the ignore files has, and that decide on changed files."""
    gone = [each.name for each in changes if each.fate == "removed" and not each.directory]
    come = [each.name for each in changes if each.fate == "added" and not each.directory]
    yield from _decided(new, old, gone, added=True)
    yield from _decided(old, new, come, added=False)


def _decided(
    deciding: Ignored, other: Ignored, names: list[str], *, added: bool
) -> Iterator[IgnoreChange]:
    """How many of the files each line of one ignore file leaves out that the other lacks."""
    patterns = _patterns(deciding)
    if patterns is None or not names:
        return
    others = {text for _, text in other.lines}
    decisions = (patterns.excludes(name) for name in names)
    counts: Counter[Pattern] = Counter(
        decision.pattern
        for decision in decisions
        if decision.excluded and decision.pattern is not None
    )
    for pattern, count in counts.items():
        if pattern.text not in others:
            yield IgnoreChange(
                file=os.path.basename(deciding.file),
                line=pattern.line or 0,
                pattern=pattern.text,
                added=added,
                files=count,
            )


def _patterns(ignored: Ignored) -> Patterns | None:
    """The patterns with the numbers that their lines have."""
    numbered = dict(ignored.lines)
    if not numbered:
        return None
    try:
        return parse_patterns("\n".join(numbered.get(n, "") for n in range(1, max(numbered) + 1)))
    except InvalidPattern:
        return None
