"""A reader of a build's events that remembers what its steps were known by."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from builder.events import (
    BaseUsed,
    Emit,
    Event,
    StepCached,
    StepFinished,
    StepKeyed,
    StepStarted,
)


@dataclass(slots=True)
class SeenStep:
    """A step as it was told of; `network` is a RUN's, `layer` the diff ID of what it made."""

    label: str
    text: str
    kind: str = ""
    layer: str = ""
    network: str = ""
    reads_context: bool = False


class Witness:
    """Takes events down and passes them on; called from several threads."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._guard = threading.Lock()
        self._steps: dict[int, SeenStep] = {}

    def __call__(self, event: Event) -> None:
        """Take an event down and pass it on."""
        with self._guard:
            self._take(event)
        self._emit(event)

    def steps(self) -> list[SeenStep]:
        """The steps in the order of the Dockerfile."""
        return [self._steps[number] for number in sorted(self._steps)]

    def _take(self, event: Event) -> None:
        match event:
            case BaseUsed() | StepStarted():
                self._step(event)
            case StepKeyed():
                step = self._step(event)
                step.kind = event.kind
                step.network = event.components.get("network", "")
                # What comes from elsewhere, or stands in the Dockerfile, is no path.
                paths = event.facts.get("sources", "[]") != "[]"
                step.reads_context = paths and '"FromContext"' in event.facts.get("input", "")
            case StepCached():
                self._step(event).layer = event.diff_id
            case StepFinished():
                self._steps[event.number].layer = event.diff_id
            case _:
                pass

    def _step(self, event: BaseUsed | StepStarted | StepKeyed | StepCached) -> SeenStep:
        new = SeenStep(label=event.label, text=event.text)
        return self._steps.setdefault(event.number, new)
