"""One reason for a step to run, and how its values are shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from builder.records.files import Comparison, FileChange
from runtime.image.model import rfc3339

MOST_NAMES = 5
_SHORT = 12
_MOST_VALUE = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One thing that made a step run. `kind` is a word for programs."""

    kind: str
    summary: str
    details: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)


FindListing = Callable[[str], bytes | None]
"""What is known of what is behind the key of a copy, by its digest."""


def changed_value(
    what: str, old: str | None, new: str | None, kind: str = "setting", name: str = ""
) -> Reason:
    """A value that changed, came (`old` is `None`) or went."""
    data = {"name": name or what, "old": old, "new": new}
    if old is None:
        text = f"{what} is new: {_shown(new)}"
    elif new is None:
        text = f"{what} is gone: it was {_shown(old)}"
    else:
        text = f"{what}: {around(_shown(old), _shown(new))} → {around(_shown(new), _shown(old))}"
    return Reason(kind=kind, summary=text, data=data)


def _shown(text: str | None) -> str:
    return repr(text) if not text or any(each.isspace() for each in text) else text


def changed_time(old: int, new: int) -> Reason:
    """The time of everything the build makes changed, in seconds since 1970."""
    return Reason(
        kind="time",
        summary=f"the build's time: {rfc3339(old)} → {rfc3339(new)}",
        details=("SOURCE_DATE_EPOCH, or else the time of the base image",),
        data={"old": old, "new": new},
    )


def changed_files(compared: Comparison) -> Reason:
    """What happened to files: `1 of 5,000 files changed: src/app.py`."""
    changes = compared.changes
    files = [each for each in changes if not each.directory]
    if not files:
        counted = f"{plural(len(changes), 'folder')} changed"
    elif all(each.fate == "changed" for each in files):
        counted = f"{len(files):,} of {plural(compared.files, 'file')} changed"
    else:
        counted = ", ".join(
            f"{count:,} {fate}"
            for fate in ("changed", "added", "removed")
            if (count := sum(each.fate == fate for each in files))
        )
        counted = f"{plural(compared.files, 'file')}, {counted}"
    named = files or list(changes)
    names = ", ".join(each.name for each in named[:MOST_NAMES])
    more = f" and {len(named) - MOST_NAMES:,} more" if len(named) > MOST_NAMES else ""
    return Reason(
        kind="files",
        summary=f"{counted}: {names}{more}",
        details=tuple(_detail(each) for each in changes),
        data={
            "files": compared.files,
            "changes": [
                {"path": each.name, "fate": each.fate, "how": list(each.how)} for each in changes
            ],
        },
    )


def _detail(change: FileChange) -> str:
    slash = "/" if change.directory else ""
    how = f" ({', '.join(change.how)})" if change.how else ""
    return f"{change.fate} {change.name}{slash}{how}"


def plural(count: int, noun: str) -> str:
    """`1 file`, `4,812 files`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def list_in(components: Mapping[str, str], name: str) -> list[Any]:
    """A component that is a list in JSON; empty where there is none."""
    found = json.loads(components.get(name, "[]"))
    return found if isinstance(found, list) else []


def short(digest: str) -> str:
    """A digest as it is shown in a line."""
    algorithm, colon, text = digest.partition(":")
    return f"{algorithm}{colon}{text[:_SHORT]}" if colon else digest or "none"


def around(text: str, other: str) -> str:
    """A long text cut to what is around its first difference from another."""
    if len(text) <= _MOST_VALUE:
        return text
    pairs = zip(text, other, strict=False)
    first = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(text), len(other)))
    start = max(0, min(first - _MOST_VALUE // 3, len(text) - _MOST_VALUE))
    end = start + _MOST_VALUE
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")
