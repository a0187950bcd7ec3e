"""Why a step ran: its key's components against those of the nearest earlier step.

Each `Reason` is one thing that differs. `summary` says it in a few words, `details` line by line,
`data` for programs. Values are shown as they are: secrets are in no key.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from builder.cache.keys import component_digests
from builder.records.files import Comparison, Names, compare
from builder.records.ignoring import ignored_otherwise
from builder.records.model import KNOWN, BuildRecord, StepRecord
from builder.records.nearest import Earlier
from builder.records.reason import (
    MOST_NAMES,
    FindListing,
    Reason,
    changed_files,
    changed_time,
    changed_value,
    list_in,
    plural,
    short,
)
from builder.records.run_reasons import run_reasons


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
        if "elsewhere" in step.facts:
            found.append(_unlike_elsewhere(step))
        elif not found:
            found.append(Reason(kind="new", summary="nothing like it is recorded"))
        return tuple(found)
    if earlier.step.key == step.key:
        return (*found, *_same_key(step, earlier))
    if step.kind == "run":
        found += run_reasons(build, step, earlier, find)
    else:
        found += _copy(build, step, earlier, find)
    if not found:
        what = "its key is made otherwise: nothing that is recorded of it has changed"
        found.append(Reason(kind="key", summary=what))
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


_COMPONENTS = {"entries": "its files", "parent": "the layers below", "epoch": "the build's time"}


def _unlike_elsewhere(step: StepRecord) -> Reason:
    """In what it differs from what an imported cache knows, which has but digests of it."""
    source, theirs = json.loads(step.facts["elsewhere"])
    ours = component_digests(step.components)
    arguments = list_in(step.facts, "arguments")
    names = []
    for name in {**theirs, **ours}:
        if theirs.get(name) != ours.get(name):
            kind, _, variable = name.partition(" ")
            if kind == "environment" and variable:
                names.append(f"{'ARG' if variable in arguments else 'ENV'} {variable}")
            else:
                names.append(_COMPONENTS.get(name, name))
    return Reason(
        kind="elsewhere",
        summary=f"not as in the cache {source}: {', '.join(names[:MOST_NAMES])}",
        details=tuple(f"{name} differs" for name in names),
        data={"source": source, "components": names},
    )


# ---- COPY, ADD, WORKDIR


def _copy(
    build: BuildRecord, step: StepRecord, earlier: Earlier, find: FindListing
) -> Iterator[Reason]:
    for name, what in (("sources", "sources"), ("destination", "destination")):
        old, new = earlier.step.facts.get(name, ""), step.facts.get(name, "")
        if old != new:
            yield changed_value(what, old, new, name=name)
    listings = find(earlier.step.key), find(step.key)
    if listings[0] is None or listings[1] is None:
        yield Reason(kind="files", summary="what it copies changed; which files is not recorded")
        return
    compared = compare(listings[0], listings[1], Names(step.facts))
    yield from _ignored(build, step, earlier, compared)
    if compared.changes:
        yield changed_files(compared)
    if compared.times is not None:
        yield changed_time(*compared.times)


def _ignored(
    build: BuildRecord, step: StepRecord, earlier: Earlier, compared: Comparison
) -> Iterator[Reason]:
    if '"FromContext"' not in step.facts.get("input", ""):
        return
    for each in ignored_otherwise(earlier.build.ignored, build.ignored, compared.changes):
        verb = "now leaves out" if each.added else "is gone, and no longer leaves out"
        files = plural(each.files, "file")
        yield Reason(
            kind="ignore",
            summary=f"{each.file} line {each.line} `{each.pattern}` {verb} {files}",
            data={
                "file": each.file, "line": each.line, "pattern": each.pattern,
                "added": each.added, "files": each.files,
            },
        )  # fmt: skip
