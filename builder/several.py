"""A build for several platforms: one after the other, and what comes of them together.

What does not depend on the platform, such as a stage on `$BUILDPLATFORM`, is done once: the
second finds it in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from builder.build import build
from builder.events import (
    BaseUsed,
    Emit,
    Event,
    StepCached,
    StepEnded,
    StepFinished,
    StepKeyed,
    StepOutput,
    StepStarted,
)
from builder.output.result import Result
from builder.output.several import export_several
from builder.request import BuildRequest
from runtime.image.digest import Digest
from runtime.image.platform import Platform
from runtime.image.store.store import Image, Store
from runtime.sandbox.server import SandboxServer


def build_several(
    request: BuildRequest,
    platforms: Sequence[Platform],
    store: Store,
    sandbox: SandboxServer,
    emit: Emit,
) -> Result:
    """Build an image for each platform, then name and write out all of them.

    On an error nothing is named or written. Caches outside the store can only be read.
    """
    images: list[Image] = []
    bases: list[tuple[str, Digest]] = []
    shown = _Shifted(emit)
    for platform in platforms:
        shown.begin(platform)
        one = replace(request, platform=platform, names=(), outputs=(), annotations=())
        built = build(one, store, sandbox, shown)
        images.append(store.image(built.result.image_id))
        bases += built.result.bases
    result = export_several(
        store,
        images,
        names=request.names,
        outputs=request.outputs,
        annotations=request.annotations,
        open_session=None if request.registries is None else request.registries(emit),
        attestations=[store.statements.of(i.id) if request.attest else () for i in images],
        attestation_form=request.attest.form if request.attest else "referrers",
        emit=emit,
    )
    return replace(result, bases=tuple(dict.fromkeys(bases)))


_NUMBERED = (BaseUsed, StepKeyed, StepStarted, StepOutput, StepCached, StepFinished, StepEnded)


class _Shifted:
    """Passes on the events of several builds as those of one: no number comes twice."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._platform = ""
        self._before = self._last = 0

    def begin(self, platform: Platform) -> None:
        """From now on it is the build for that platform."""
        self._platform = str(platform)
        self._before = self._last

    def __call__(self, event: Event) -> None:
        """Pass an event on, with its number in the whole and the platform it is of."""
        if isinstance(event, _NUMBERED):
            number = event.number + self._before
            self._last = max(self._last, number)
            event = replace(event, number=number)
        if isinstance(event, BaseUsed) and event.on is not None:
            event = replace(event, on=event.on + self._before)
        if isinstance(event, BaseUsed | StepStarted | StepCached | StepKeyed):
            event = replace(event, label=f"{self._platform} {event.label}")
        self._emit(event)
