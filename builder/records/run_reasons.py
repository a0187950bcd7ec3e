"""Why a RUN ran: its command, its environment, what is mounted, what it stands on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from builder.records.files import Names, compare
from builder.records.model import BuildRecord, StepRecord
from builder.records.nearest import Earlier
from builder.records.reason import (
    FindListing,
    Reason,
    around,
    changed_files,
    changed_time,
    changed_value,
    list_in,
    short,
)

_PLAIN = {
    "workdir": "working directory",
    "user": "user",
    "network": "network mode",
    "security": "security mode",
    "platform": "platform",
    "noise": "noise of package managers",
}


def run_reasons(
    build: BuildRecord, step: StepRecord, earlier: Earlier, find: FindListing
) -> Iterator[Reason]:
    """In what a RUN differs from an earlier one: what it does first, then what it stands on."""
    new, old = step.components, earlier.step.components
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if "command" in changed:
        yield _command(list_in(old, "command"), list_in(new, "command"))
    if "environment" in changed:
        yield from _environment(step, earlier.step)
    if "scripts" in changed:
        yield _scripts(list_in(old, "scripts"), list_in(new, "scripts"))
    if "parent" in changed:
        yield _parent(build, step, earlier)
    if "mounts" in changed:
        yield from _mounts(list_in(old, "mounts"), list_in(new, "mounts"), find)
    if "epoch" in changed:
        yield changed_time(int(old.get("epoch", 0)), int(new.get("epoch", 0)))
    told = {"command", "environment", "scripts", "parent", "mounts", "epoch"}
    for name in changed:
        if name not in told:
            what = _PLAIN.get(name, name)
            yield changed_value(what, old.get(name, ""), new.get(name, ""))


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
    before = dict(list_in(earlier.components, "environment"))
    after = dict(list_in(step.components, "environment"))
    arguments = {*list_in(step.facts, "arguments"), *list_in(earlier.facts, "arguments")}
    if before == after:
        yield Reason(kind="environment", summary="the order of its environment changed")
    for name in {**before, **after}:
        if name == "SOURCE_DATE_EPOCH" and name not in arguments:
            continue  # Told as the build's time.
        if before.get(name) != after.get(name):
            what = "argument" if name in arguments else "environment"
            word = f"{'ARG' if name in arguments else 'ENV'} {name}"
            yield changed_value(word, before.get(name), after.get(name), kind=what, name=name)


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
    return changed_files(compared) if compared.changes else None


def _by_target(texts: list[str]) -> dict[str, Any]:
    """Mounts' identities by target: a bind's is a list that ends in its content, others objects."""
    found = {}
    for text in texts:
        value = json.loads(text)
        target = value[1] if isinstance(value, list) else value.get("target") or value.get("id")
        found[str(target)] = value
    return found


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
    """A stage's base is another: by the digests that a registry gave it, where that is known."""
    pinned = bool(base.pinned and old.pinned and base.pinned != old.pinned)
    then, now = (old.pinned, base.pinned) if pinned else (old.image_id, base.image_id)
    if base.base != old.base:
        summary = f"base {old.base or old.text} → {base.base or base.text}"
    elif base.image_id != old.image_id:
        summary = f"base {base.base}: {short(then)} → {short(now)}"
    else:
        summary = f"{base.text}: other files"
    data = {"base": base.base, "old_base": old.base, "old": then, "new": now}
    details = (f"- {then}", f"+ {now}") if then != now else ()
    return Reason(kind="base", summary=summary, details=details, data=data)
