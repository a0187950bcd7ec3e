"""What a step that ran is compared with: the step most like it of an earlier build."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from builder.records.model import KNOWN, BuildRecord, StepRecord

_TELLING = ("command", "destination", "sources")


@dataclass(frozen=True, slots=True)
class Earlier:
    """A step of an earlier build."""

    build: BuildRecord
    step: StepRecord


def nearest(build: BuildRecord, step: StepRecord, earlier: Iterable[BuildRecord]) -> Earlier | None:
    """The step to compare with, of the `earlier` builds in their order; `None` if nothing is alike.

    The same key is nearest of all, then the same instruction of the same Dockerfile, then the same
    instruction of any; then, of the same Dockerfile, what stood in the same place. Of equals, the
    first build's; in it, the one that is as often repeated.
    """
    best: Earlier | None = None
    best_likeness = 0
    for other in earlier:
        for candidate in other.steps:
            likeness = _likeness(build, step, other, candidate)
            if likeness > best_likeness:
                best, best_likeness = Earlier(other, candidate), likeness
    return best


def _likeness(
    build: BuildRecord, step: StepRecord, other: BuildRecord, candidate: StepRecord
) -> int:
    if not candidate.key or candidate.kind != step.kind:
        return 0
    same_file = other.dockerfile == build.dockerfile
    same_place = candidate.label == step.label and other.target == build.target
    if candidate.key == step.key:
        return 64 + 32 * (candidate.status in KNOWN) + same_file
    if candidate.text == step.text:
        return 16 + 8 * same_file + 2 * same_place + _repeated(build, step, other, candidate)
    if not same_file or step.status == "base":
        return 0
    seen = {**step.components, **step.facts}
    alike = sum(seen.get(name) == _seen(candidate).get(name) for name in _TELLING if name in seen)
    return 4 * same_place + 2 * bool(alike)


def _repeated(
    build: BuildRecord, step: StepRecord, other: BuildRecord, candidate: StepRecord
) -> int:
    """1 where both are the first, or both the second, of the steps with their text."""
    return int(_count_before(build, step) == _count_before(other, candidate))


def _count_before(build: BuildRecord, step: StepRecord) -> int:
    return sum(each.text == step.text and each.number < step.number for each in build.steps)


def _seen(step: StepRecord) -> dict[str, str]:
    return {**step.components, **step.facts}


def nearest_base(
    build: BuildRecord, base: StepRecord, earlier: Iterable[BuildRecord]
) -> Earlier | None:
    """The same FROM in the nearest earlier build of the same Dockerfile."""
    for other in earlier:
        if other.dockerfile == build.dockerfile:
            froms = [each for each in other.steps if each.status == "base"]
            for candidate in froms:
                if (candidate.text, candidate.label) == (base.text, base.label):
                    return Earlier(other, candidate)
            same_text = [each for each in froms if each.text == base.text]
            if same_text:
                return Earlier(other, same_text[0])
    return None
