"""Doing a plan: the only part of the builder that acts.

Each stage runs in a thread of its own and waits for another stage where a step needs it, so
that independent stages run at the same time. A step whose key is known is not run. The first
failure stops everything else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import assert_never

from builder.cache.keys import Key
from builder.cache.layering import EMPTY_LAYER
from builder.cache.work import Elsewhere, Turns, Work
from builder.errors import Cancelled, NotCached
from builder.events import (
    BaseUsed,
    Emit,
    Noticed,
    StepCached,
    StepEnded,
    StepFinished,
    StepStarted,
)
from builder.execution.copy_step import CopyRunner
from builder.execution.early_keys import EarlyKeys
from builder.execution.key_report import KeyReport
from builder.execution.leftovers import Leftovers
from builder.execution.options import ExecuteOptions
from builder.execution.places import places
from builder.execution.run_step import RunRunner
from builder.execution.workdir_step import WorkdirRunner
from builder.plan.steps import (
    ConfigStep,
    CopyStep,
    FromNamed,
    ImageBase,
    NamedBase,
    Plan,
    PlannedStage,
    PlannedStep,
    RunStep,
    ScratchBase,
    StageBase,
    WorkdirStep,
)
from builder.sources.inputs import Inputs
from builder.sources.unpack import Unpacker
from grammar.nodes import Span
from runtime.image.digest import DiffID
from runtime.image.model import History, ImageConfig, rfc3339
from runtime.image.store.store import Store
from runtime.rootfs import RootFiles
from runtime.sandbox.server import SandboxServer

_COMMENT = "lamina.dockerfile.v1"
MENDED = "a tree mended by hand"
"""The source of a layer that no command has made as it is."""

Layers = tuple[DiffID, ...]


@dataclass(frozen=True, slots=True)
class StepResult:
    """A step's layer, and whether it was known, by whom, and by which keys."""

    diff_id: DiffID
    cached: bool
    source: str = ""
    keys: tuple[Key, ...] = ()


class Executor:
    """Runs one plan, once. `cancel` may be called from a signal handler or another thread."""

    def __init__(
        self,
        plan: Plan,
        *,
        store: Store,
        sandbox: SandboxServer,
        inputs: Inputs,
        unpacker: Unpacker,
        leftovers: Leftovers,
        files: RootFiles,
        options: ExecuteOptions,
        emit: Emit,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._plan = plan
        self._elsewhere = elsewhere
        self._early = EarlyKeys(elsewhere, inputs, unpacker, self._layers_of) if elsewhere else None
        self._store = store
        self._options = options
        self._emit = emit
        self._stopped = threading.Event()
        self._turns = Turns()
        self._results: dict[int, Future[ImageConfig]] = {s.index: Future() for s in plan.stages}
        self._places = places(plan)
        self._keys: list[str] = []
        self._mended: set[tuple[int, int]] = set()
        self._run = RunRunner(
            store=store,
            sandbox=sandbox,
            inputs=inputs,
            options=options,
            emit=emit,
            leftovers=leftovers,
            files=files,
            layers_of=self._layers_of,
            stopped=self._stopped,
        )
        self._copy = CopyRunner(store, inputs, unpacker, self._layers_of, emit)
        self._workdir = WorkdirRunner(store, emit)

    def execute(self) -> ImageConfig:
        """Build every stage of the plan; the target's config, or the first failure."""
        stages = self._plan.stages
        if len(stages) == 1:
            self._stage(stages[0])
        else:
            with ThreadPoolExecutor(len(stages), thread_name_prefix="stage") as pool:
                try:
                    for future in [pool.submit(self._stage, stage) for stage in stages]:
                        future.result()
                except BaseException:
                    # Only an interrupt comes here: stages keep their errors to themselves.
                    self.cancel()
                    raise
        for result in self._results.values():
            failure = result.exception()
            if failure is not None and not isinstance(failure, Cancelled):
                raise failure
        if self._options.resume and not self._mended:
            self._emit(Noticed(message="--resume: no step of this build had failed before"))
        return self._results[self._plan.target.index].result()

    def keys(self) -> tuple[str, ...]:
        """The keys that steps were found by, or that they were remembered under."""
        return tuple(self._keys)

    def cancel(self) -> None:
        """Stop: running commands are killed, steps not yet begun are not."""
        self._stopped.set()
        self._run.kill_all()

    def _layers_of(self, index: int) -> Layers:
        """The layers of another stage, waiting for it to be built; `Cancelled` if it failed."""
        return self._stage_config(index).diff_ids

    def _stage_config(self, index: int) -> ImageConfig:
        try:
            return self._results[index].result()
        except BaseException as error:
            raise Cancelled from error

    # ---- a stage

    def _stage(self, stage: PlannedStage) -> None:
        result = self._results[stage.index]
        try:
            result.set_result(self._build(stage))
        except BaseException as error:
            # Kept rather than raised, whatever it is: other stages wait for this result, and
            # `execute` raises it in the caller's thread.
            result.set_exception(error)
            self.cancel()

    def _build(self, stage: PlannedStage) -> ImageConfig:
        made = self._start(stage)
        self._emit(self._base_used(stage))
        moment = rfc3339(stage.epoch)
        for position, planned in enumerate(stage.steps):
            history = History(created=moment, created_by=planned.created_by, comment=_COMMENT)
            diff_id = EMPTY_LAYER
            if not isinstance(planned.step, ConfigStep):
                diff_id = self._step(stage, position, planned, made.diff_ids)
            if (stage.index, position) in self._mended:
                history = replace(history, comment=f"{_COMMENT} ({MENDED})")
            if diff_id == EMPTY_LAYER:
                made = made.with_empty_layer(history)
            else:
                made = made.with_layer(diff_id, history)
        return replace(stage.config, diff_ids=made.diff_ids, history=made.history)

    def _start(self, stage: PlannedStage) -> ImageConfig:
        """Layers and history to begin with."""
        match stage.base:
            case ScratchBase():
                return replace(stage.config, diff_ids=(), history=())
            case ImageBase(config=config):
                return config
            case StageBase(index=index):
                return self._stage_config(index)
            case NamedBase(name=name):
                return self._named_base(stage, name)

    def _base_used(self, stage: PlannedStage) -> BaseUsed:
        number, label = self._places[stage.index, -1]
        used = BaseUsed(number=number, label=label, text=stage.text)
        match stage.base:
            case ImageBase(reference=reference, image_id=image_id):
                return replace(used, base=reference, image_id=image_id)
            case StageBase(index=index):
                return replace(used, on=self._places[index, -1][0])
            case ScratchBase() | NamedBase():
                return used

    def _named_base(self, stage: PlannedStage, name: str) -> ImageConfig:
        """The files of a named context as the first layer."""
        step = CopyStep(sources=("/",), destination="/", input=FromNamed(name), link=True)
        work = self._copy.work(step, (), epoch=stage.epoch, span=stage.span)
        keyed = self._keyed(stage, -1, stage.text, work)
        refuse = partial(self._refuse_to_run, stage.text, stage.span)
        result = self._do(work, True, keyed, refuse)
        self._made(stage.text, result)
        diff_id = result.diff_id
        start = replace(stage.config, diff_ids=(), history=())
        text = f"FROM {name} # build context"
        history = History(created=rfc3339(stage.epoch), created_by=text, comment=_COMMENT)
        if diff_id == EMPTY_LAYER:
            return start.with_empty_layer(history)
        return start.with_layer(diff_id, history)

    # ---- a step

    def _step(
        self, stage: PlannedStage, position: int, planned: PlannedStep, layers: Layers
    ) -> DiffID:
        number, label = self._places[stage.index, position]
        began = time.monotonic()
        started = False

        def start() -> None:
            nonlocal started
            self._refuse_to_run(planned.text, planned.span)
            started = True
            self._emit(StepStarted(number=number, label=label, text=planned.text))

        try:
            if self._stopped.is_set():
                raise Cancelled
            early = self._early.key(planned, layers, stage.epoch) if self._early else None
            result = self._found_early(stage, planned, layers, early)
            if result is None:
                work = self._work(stage, planned, layers, number)
                keyed = self._keyed(stage, position, planned.text, work)
                use_cache = self._options.uses_cache(stage.name)
                result = self._do(replace(work, early_key=early), use_cache, keyed, start)
            self._made(planned.text, result, early)
        except BaseException as error:
            cancelled = isinstance(error, Cancelled | KeyboardInterrupt)
            if not started and not cancelled and not self._options.expect_cached:
                start()
            if started:
                seconds = time.monotonic() - began
                self._emit(
                    StepEnded(
                        number=number, seconds=seconds, message=str(error), cancelled=cancelled
                    )
                )
            raise
        if result.cached:
            self._emit(
                StepCached(
                    number=number,
                    label=label,
                    text=planned.text,
                    diff_id=result.diff_id,
                    source=result.source,
                )
            )
        else:
            seconds = time.monotonic() - began
            self._emit(
                StepFinished(
                    number=number, seconds=seconds, diff_id=result.diff_id, source=result.source
                )
            )
            if result.source == MENDED:
                self._mended.add((stage.index, position))
        return result.diff_id

    def _found_early(
        self, stage: PlannedStage, planned: PlannedStep, layers: Layers, early: Key | None
    ) -> StepResult | None:
        """The result by the early key: only asked where the step's own key needs a fetch."""
        if early is None or self._early is None or not self._options.uses_cache(stage.name):
            return None
        return self._known(early) if self._early.needs_fetch(planned, layers) else None

    def _made(self, text: str, result: StepResult, early: Key | None = None) -> None:
        if self._elsewhere is not None and result.source != MENDED:
            keys = result.keys if early is None else (*result.keys, early)
            self._elsewhere.made(text, keys, result.diff_id)

    def _refuse_to_run(self, text: str, span: Span) -> None:
        """`NotCached` if every step is expected to be known."""
        if self._options.expect_cached:
            raise NotCached(text, span=span)

    def _work(self, stage: PlannedStage, planned: PlannedStep, layers: Layers, number: int) -> Work:
        step = planned.step
        match step:
            case RunStep():
                return self._run.work(
                    step,
                    layers,
                    epoch=stage.epoch,
                    span=planned.span,
                    number=number,
                    platform=str(stage.config.platform),
                )
            case CopyStep():
                return self._copy.work(step, layers, epoch=stage.epoch, span=planned.span)
            case WorkdirStep():
                return self._workdir.work(step, layers, epoch=stage.epoch, span=planned.span)
            case ConfigStep():
                raise AssertionError("a config step makes no layer")
            case _:
                assert_never(step)

    def _keyed(self, stage: PlannedStage, position: int, text: str, work: Work) -> KeyReport:
        number, label = self._places[stage.index, position]
        return KeyReport(self._emit, self._elsewhere, number, label, text, work)

    def _do(
        self, work: Work, use_cache: bool, keyed: KeyReport, start: Callable[[], None]
    ) -> StepResult:
        with self._turns.of(work.key.digest):
            keys = [work.key]
            keyed.known_by(work.key, use_cache)
            known = self._known(work.key) if use_cache else None
            if known is None and work.content_key is not None:
                keys.append(work.content_key())
                keyed.known_by(keys[-1], use_cache)
                known = self._known(keys[-1]) if use_cache else None
                if known is not None and self._store.has_layer(known.diff_id):
                    self._remember(work.key, known.diff_id)
            if known is None and use_cache and work.early_key is not None:
                known = self._known(work.early_key)
            self._keys += [key.digest for key in keys]
            if known is not None:
                return replace(known, keys=tuple(keys))
            if use_cache:
                keyed.unknown(keys[-1])
            start()
            began = time.monotonic()
            diff_id = work.do()
            seconds = time.monotonic() - began
            if work.key.digest in self._run.mended:
                # Not what the step makes: nobody else may take it for that.
                return StepResult(diff_id, cached=False, source=MENDED)
            for key in keys:
                self._remember(key, diff_id, seconds)
            return StepResult(diff_id, cached=False, keys=tuple(keys))

    def _known(self, key: Key) -> StepResult | None:
        """An earlier result of the same key: if its layer is still there, or can be fetched."""
        record = self._store.record(key.digest)
        if record is not None:
            return StepResult(record.diff_id, cached=True)
        found = None if self._elsewhere is None else self._elsewhere.find(key)
        return None if found is None else StepResult(found[0], cached=True, source=found[1])

    def _remember(self, key: Key, diff_id: DiffID, seconds: float = 0) -> None:
        self._store.put_record(key.digest, key.kind, key.components, diff_id, seconds)
