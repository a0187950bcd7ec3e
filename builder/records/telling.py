"""A build's explanation, in lines for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from builder.records.model import BuildRecord, StepRecord
from builder.records.nearest import Earlier, nearest, nearest_base
from builder.records.reason import FindListing, Reason, short
from builder.records.reasons import reasons
from builder.records.run_reasons import base_reason
from grammar.errors import printable
from runtime.image.model import rfc3339

MOST_LINES = 20
"""A step's, unless more are asked for."""
_MOST_TEXT = 80
_MOST_SUMMARIES = 2
_WORDS = {
    "base": "base",
    "cached": "cached",
    "ran": "ran",
    "failed": "failed",
    "cancelled": "stopped",
    "running": "stopped",
    "keyed": "to run",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """A step and why it ran, if it did; `earlier` is what it was compared with."""

    step: StepRecord
    earlier: Earlier | None
    reasons: tuple[Reason, ...]


def explain_step(
    build: BuildRecord, step: StepRecord, earlier: Sequence[BuildRecord], find: FindListing
) -> Explained:
    """Explain a step by the builds before its own, nearest first."""
    if step.status == "base":
        found = nearest_base(build, step, earlier)
        changed = found is not None and (found.step.base, found.step.image_id) != (
            step.base, step.image_id,
        )  # fmt: skip
        why = (base_reason(step, found.step),) if found is not None and changed else ()
        return Explained(step=step, earlier=found, reasons=why)
    if step.status == "cached":
        return Explained(step=step, earlier=None, reasons=())
    found = nearest(build, step, earlier)
    return Explained(step=step, earlier=found, reasons=reasons(build, step, found, find))


def headline(explained: Explained) -> str:
    """A step in one line: `#3 ran     COPY . /app: 1 of 5,000 files changed: src/app.py`."""
    step = explained.step
    text = step.text if len(step.text) <= _MOST_TEXT else step.text[: _MOST_TEXT - 1] + "…"
    told = [reason.summary for reason in explained.reasons[:_MOST_SUMMARIES]]
    more = len(explained.reasons) - len(told)
    if more:
        told.append(f"{more} more")
    if step.status == "base" and not told and step.image_id:
        told.append(short(step.image_id))
    if step.source:
        told.append(f"from {step.source}")
    what = f": {'; '.join(told)}" if told else ""
    return printable(f"#{step.number} {_WORDS[step.status]:<7} {text}{what}")


def lines(explained: Explained, most: int | None = MOST_LINES) -> list[str]:
    """A step in at most that many lines."""
    told = [headline(explained), *(f"    {printable(line)}" for line in _details(explained))]
    if most is None or len(told) <= most:
        return told
    kept = told[: most - 1]
    return [*kept, f"    … and {len(told) - len(kept):,} lines more: -v shows them"]


def _details(explained: Explained) -> Iterator[str]:
    many = len(explained.reasons) > 1
    for reason in explained.reasons:
        if many:
            yield reason.summary
        for detail in reason.details:
            yield f"  {detail}" if many else detail


def step_lines(explained: Explained, build: BuildRecord, made: BuildRecord | None) -> list[str]:
    """What is known of a step besides why it ran; `made` is the build that ran it, if cached."""
    step, earlier = explained.step, explained.earlier
    found = [f"stage: {step.label}"]
    if step.seconds is not None:
        found.append(f"took: {step.seconds:.1f}s")
    if step.diff_id:
        found.append(f"layer: {step.diff_id}")
    if step.image_id:
        found.append(f"image: {step.image_id}")
    if step.key:
        found.append(f"key: {step.kind} {step.key}")
    if step.status == "cached":
        where = f"in build {made.id}" if made is not None else "before what is recorded"
        found.append(f"nothing that it sees has changed since it ran {where}")
    elif earlier is not None:
        found.append(f"compared with: #{earlier.step.number} of build {earlier.build.id}")
    return [f"    {printable(line)}" for line in found]


def component_lines(step: StepRecord) -> list[str]:
    """Everything that the step's key is made of."""
    return [f"    {printable(name)}: {printable(value)}" for name, value in step.components.items()]


def heading(build: BuildRecord, ago: str) -> str:
    """A build in one line."""
    names = ", ".join(build.names) or short(build.image_id)
    counts = {
        word: sum(_WORDS[step.status] == word for step in build.steps)
        for word in ("cached", "ran", "failed", "stopped", "to run")
    }
    steps = ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "no steps"
    what = {"done": "done in", "failed": "failed after", "interrupted": "interrupted after"}
    target = f" ({build.target})" if build.target else ""
    return printable(
        f"build {build.id}: {names} from {build.name}{target}, {ago},"
        f" {what[build.outcome]} {build.seconds:.1f}s: {steps}"
    )


def build_json(build: BuildRecord, steps: Iterable[Explained]) -> dict[str, Any]:
    """A build and its steps for programs."""
    return {
        "id": build.id,
        "created": rfc3339(int(build.created)),
        "answered": rfc3339(build.answered) if build.answered else None,
        "seconds": round(build.seconds, 3),
        "outcome": build.outcome,
        "message": build.message or None,
        "dockerfile": build.dockerfile,
        "context": build.context,
        "target": build.target or None,
        "names": list(build.names),
        "image": build.image_id or None,
        "steps": [_step_json(step) for step in steps],
    }


def _step_json(explained: Explained) -> dict[str, Any]:
    step, earlier = explained.step, explained.earlier
    compared = None if earlier is None else {"build": earlier.build.id, "step": earlier.step.number}
    return {
        "number": step.number,
        "stage": step.label,
        "text": step.text,
        "status": _WORDS[step.status],
        "seconds": None if step.seconds is None else round(step.seconds, 3),
        "layer": step.diff_id or None,
        "image": step.image_id or None,
        "source": step.source or None,
        "key": {"digest": step.key, "kind": step.kind, "components": dict(step.components)}
        if step.key
        else None,
        "compared_with": compared,
        "why": [
            {
                "kind": reason.kind,
                "summary": reason.summary,
                "details": list(reason.details),
                **reason.data,
            }
            for reason in explained.reasons
        ],
    }
