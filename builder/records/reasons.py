"""Why a step ran: its key's components against those of the nearest earlier step.

Each `Reason` is one thing that differs. `summary` says it in a few words, `details` line by line,
`data` for programs. Values are shown as they are: secrets are in no key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from builder.records.files import Comparison, FileChange, Names, compare
from builder.records.ignoring import ignored_otherwise
from builder.records.model import KNOWN, BuildRecord, StepRecord
from builder.records.nearest import Earlier
from runtime.image.model import rfc3339

_MOST_NAMES = 5
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


def reasons(
    build: BuildRecord, step: StepRecord, earlier: Earlier | None, find: FindListing
) -> tuple[Reason, ...]:
    """Why a step ran, the most telling first; empty for one that did not."""
    if step.status in ("cached", "base"):
        return ()
    found: list[Reason] = []
    if not step.looked_up:
        flag = "--no-cache" if build.no_cache else "--no-cache-filter"
        found.append(Reason(kind="no-cache", summary=f"{flag} was given"))
    if earlier is None:
        if not found:
            found.append(Reason(kind="new", summary="nothing like it is recorded"))
        return tuple(found)
    if earlier.step.key == step.key:
        return (*found, *_same_key(step, earlier))
    if step.kind == "run":
        found += _run(build, step, earlier, find)
    else:
        found += _copy(build, step, earlier, find)
    return tuple(found)


def _same_key(step: StepRecord, earlier: Earlier) -> Iterator[Reason]:
    known = earlier.step
    if known.status not in KNOWN:
        yield Reason(
            kind="unfinished",
            summary=f"it did not finish in build {earlier.build.id}",
            data={"build": earlier.build.id},
        )
    elif step.looked_up:
        yield Reason(
            kind="gone",
            summary=f"its layer is no longer in the store ({short(known.diff_id)})",
            data={"layer": known.diff_id},
        )
    elif step.diff_id and step.diff_id != known.diff_id:
        yield Reason(
            kind="unlike",
            summary=f"gave another layer than in build {earlier.build.id}, from the same inputs",
            data={"build": earlier.build.id, "old": known.diff_id, "new": step.diff_id},
        )


# ---- RUN

_PLAIN = {
    "workdir": "working directory",
    "user": "user",
    "network": "network mode",
    "security": "security mode",
    "platform": "platform",
    "noise": "noise of package managers",
}


def _run(
    build: BuildRecord, step: StepRecord, earlier: Earlier, find: FindListing
) -> Iterator[Reason]:
    new, old = step.components, earlier.step.components
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if "command" in changed:
        yield _command(_list(old, "command"), _list(new, "command"))
    if "environment" in changed:
        yield from _environment(step, earlier.step)
    if "scripts" in changed:
        yield _scripts(_list(old, "scripts"), _list(new, "scripts"))
    if "parent" in changed:
        yield _parent(build, step, earlier)
    if "mounts" in changed:
        yield from _mounts(_list(old, "mounts"), _list(new, "mounts"), find)
    if "epoch" in changed:
        yield _epoch(int(old.get("epoch", 0)), int(new.get("epoch", 0)))
    told = {"command", "environment", "scripts", "parent", "mounts", "epoch"}
    for name in changed:
        if name not in told:
            what = _PLAIN.get(name, name)
            yield _change(what, old.get(name, ""), new.get(name, ""))


def _list(components: Mapping[str, str], name: str) -> list[Any]:
    found = json.loads(components.get(name, "[]"))
    return found if isinstance(found, list) else []


def _command(old: list[str], new: list[str]) -> Reason:
    before, after = " ".join(old), " ".join(new)
    if "\n" in before or "\n" in after:
        details = tuple(_changed_lines(before, after))
    else:
        details = (f"- {around(before, after)}", f"+ {around(after, before)}")
    data = {"old": old, "new": new}
    return Reason(kind="command", summary="its command changed", details=details, data=data)


def _changed_lines(before: str, after: str) -> Iterator[str]:
    from difflib import unified_diff

    for line in unified_diff(before.split("\n"), after.split("\n"), n=0, lineterm=""):
        if not line.startswith(("---", "+++", "@@")):
            yield f"{line[0]} {line[1:]}"


def _environment(step: StepRecord, earlier: StepRecord) -> Iterator[Reason]:
    before = dict(_list(earlier.components, "environment"))
    after = dict(_list(step.components, "environment"))
    arguments = {*_list(step.facts, "arguments"), *_list(earlier.facts, "arguments")}
    if before == after:
        yield Reason(kind="environment", summary="the order of its environment changed")
    for name in {**before, **after}:
        if name == "SOURCE_DATE_EPOCH" and name not in arguments:
            continue  # Told as the build's time.
        if before.get(name) != after.get(name):
            what = "argument" if name in arguments else "environment"
            word = f"{'ARG' if name in arguments else 'ENV'} {name}"
            yield _change(word, before.get(name), after.get(name), kind=what, name=name)


def _change(
    what: str, old: str | None, new: str | None, kind: str = "setting", name: str = ""
) -> Reason:
    data = {"name": name or what, "old": old, "new": new}
    if old is None:
        text = f"{what} is new: {_value(new)}"
    elif new is None:
        text = f"{what} is gone: it was {_value(old)}"
    else:
        text = f"{what}: {around(_value(old), _value(new))} → {around(_value(new), _value(old))}"
    return Reason(kind=kind, summary=text, data=data)


def _value(text: str | None) -> str:
    return repr(text) if not text or any(each.isspace() for each in text) else text


def _scripts(old: list[Any], new: list[Any]) -> Reason:
    before = "\n".join(str(each.get("content", "")) for each in old)
    after = "\n".join(str(each.get("content", "")) for each in new)
    return Reason(
        kind="command",
        summary="its script changed",
        details=tuple(_changed_lines(before, after)),
        data={"old": before, "new": after},
    )


def _mounts(old: list[str], new: list[str], find: FindListing) -> Iterator[Reason]:
    before, after = (_by_target(texts) for texts in (old, new))
    for target in {**before, **after}:
        if before.get(target) == after.get(target):
            continue
        details: tuple[str, ...] = ()
        if target not in before:
            what = f"mount {target} is new"
        elif target not in after:
            what = f"mount {target} is gone"
        else:
            what = f"what is mounted at {target} changed"
            files = _mounted_files(before[target], after[target], find)
            if files is not None:
                what, details = f"{what}: {files.summary}", files.details
        yield Reason(kind="mount", summary=what, details=details, data={"target": target})


def _mounted_files(old: Any, new: Any, find: FindListing) -> Reason | None:
    """How what is bound of a context changed; `None` where that is not known."""
    if not isinstance(old, list) or not isinstance(new, list):
        return None
    listings = find(old[-1]), find(new[-1])
    if listings[0] is None or listings[1] is None:
        return None
    compared = compare(listings[0], listings[1], Names({"sources": '["."]'}))
    return _files(compared) if compared.changes else None


def _by_target(texts: list[str]) -> dict[str, Any]:
    """Mounts' identities by target: a bind's is a list that ends in its content, others objects."""
    found = {}
    for text in texts:
        value = json.loads(text)
        target = value[1] if isinstance(value, list) else value.get("target") or value.get("id")
        found[str(target)] = value
    return found


def _epoch(old: int, new: int) -> Reason:
    return Reason(
        kind="time",
        summary=f"the build's time: {rfc3339(old)} → {rfc3339(new)}",
        details=("SOURCE_DATE_EPOCH, or else the time of the base image",),
        data={"old": old, "new": new},
    )


# ---- what it stands on


def _parent(build: BuildRecord, step: StepRecord, earlier: Earlier) -> Reason:
    base, steps = build.below(step)
    old_base, old_steps = earlier.build.below(earlier.step)
    if base is not None and old_base is not None:
        if (base.base, base.image_id, base.key) != (old_base.base, old_base.image_id, old_base.key):
            return base_reason(base, old_base)
        for now, then in zip(steps, old_steps, strict=False):
            if now.diff_id != then.diff_id:
                return _other_layer(now, then)
        if len(steps) > len(old_steps):
            return _other_layer(steps[len(old_steps)], None)
        if len(steps) < len(old_steps):
            gone = old_steps[len(steps)].text
            return Reason(kind="layer", summary=f"{gone} came before it, and is gone")
    return Reason(kind="layer", summary="the layers below it are others")


def _other_layer(now: StepRecord, then: StepRecord | None) -> Reason:
    if then is not None and then.text == now.text:
        summary = f"#{now.number} {now.text} gave another layer"
    else:
        summary = f"#{now.number} {now.text} comes before it now"
    data = {"step": now.number, "old": then.diff_id if then else None, "new": now.diff_id}
    return Reason(kind="layer", summary=summary, data=data)


def base_reason(base: StepRecord, old: StepRecord) -> Reason:
    """A stage's base is another."""
    if base.base != old.base:
        summary = f"base {old.base or old.text} → {base.base or base.text}"
    elif base.image_id != old.image_id:
        summary = f"base {base.base}: {short(old.image_id)} → {short(base.image_id)}"
    else:
        summary = f"{base.text}: other files"
    return Reason(
        kind="base",
        summary=summary,
        details=(f"- {old.image_id}", f"+ {base.image_id}"),
        data={
            "base": base.base, "old_base": old.base, "old": old.image_id, "new": base.image_id,
        },
    )  # fmt: skip


# ---- COPY, ADD, WORKDIR


def _copy(
    build: BuildRecord, step: StepRecord, earlier: Earlier, find: FindListing
) -> Iterator[Reason]:
    for name, what in (("sources", "sources"), ("destination", "destination")):
        old, new = earlier.step.facts.get(name, ""), step.facts.get(name, "")
        if old != new:
            yield _change(what, old, new, name=name)
    listings = find(earlier.step.key), find(step.key)
    if listings[0] is None or listings[1] is None:
        yield Reason(kind="files", summary="what it copies changed; which files is not recorded")
        return
    compared = compare(listings[0], listings[1], Names(step.facts))
    yield from _ignored(build, step, earlier, compared)
    if compared.changes:
        yield _files(compared)
    if compared.times is not None:
        yield _epoch(*compared.times)


def _ignored(
    build: BuildRecord, step: StepRecord, earlier: Earlier, compared: Comparison
) -> Iterator[Reason]:
    if '"FromContext"' not in step.facts.get("input", ""):
        return
    for each in ignored_otherwise(earlier.build.ignored, build.ignored, compared.changes):
        noun = f"{each.files:,} file{'' if each.files == 1 else 's'}"
        verb = "now leaves out" if each.added else "is gone, and no longer leaves out"
        yield Reason(
            kind="ignore",
            summary=f"{each.file} line {each.line} `{each.pattern}` {verb} {noun}",
            data={
                "file": each.file, "line": each.line, "pattern": each.pattern,
                "added": each.added, "files": each.files,
            },
        )  # fmt: skip


def _files(compared: Comparison) -> Reason:
    changes = compared.changes
    files = [each for each in changes if not each.directory]
    if not files:
        counted = f"{_plural(len(changes), 'folder')} changed"
    elif all(each.fate == "changed" for each in files):
        counted = f"{len(files):,} of {_plural(compared.files, 'file')} changed"
    else:
        counted = ", ".join(
            f"{count:,} {fate}"
            for fate in ("changed", "added", "removed")
            if (count := sum(each.fate == fate for each in files))
        )
        counted = f"{_plural(compared.files, 'file')}, {counted}"
    named = files or list(changes)
    names = ", ".join(each.name for each in named[:_MOST_NAMES])
    more = f" and {len(named) - _MOST_NAMES:,} more" if len(named) > _MOST_NAMES else ""
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


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


# ---- showing values


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
