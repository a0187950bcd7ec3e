"""Where steps stand in a build: their numbers, and the labels that progress lines have."""

from __future__ import annotations

from builder.plan.steps import ConfigStep, Plan, PlannedStage


def places(plan: Plan) -> dict[tuple[int, int], tuple[int, str]]:
    """For each stage and step (-1 is its FROM): a number in the build, and `build 2/5`.

    As BuildKit counts: instructions that only change the config are not steps.
    """
    places: dict[tuple[int, int], tuple[int, str]] = {}
    number = 0
    for stage in plan.stages:
        positions = [-1]
        positions += [n for n, s in enumerate(stage.steps) if not isinstance(s.step, ConfigStep)]
        name = f"{stage.name} " if len(plan.stages) > 1 or not _unnamed(stage) else ""
        for count, position in enumerate(positions, 1):
            number += 1
            places[stage.index, position] = (number, f"{name}{count}/{len(positions)}")
    return places


def _unnamed(stage: PlannedStage) -> bool:
    return stage.name == f"stage-{stage.index}"
