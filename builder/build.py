"""A whole build: from a request to an image in the store and wherever else it should go."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import grammar
from builder.bases import FetchedImages, StoredImages, pinned
from builder.cache.dependencies import Images, images_used
from builder.events import BuildFinished, ContextUsed, Emit, Noticed
from builder.execution.execute import Executor
from builder.execution.leftovers import Leftovers
from builder.execution.options import ExecuteOptions
from builder.output.result import Result, name_image
from builder.plan.build_plan import PlanOptions
from builder.plan.checks import Checked, check_only, plan_checked, warn
from builder.plan.frontend import foreign_syntax
from builder.plan.platforms import check_runnable
from builder.plan.steps import Plan
from builder.records.recorder import recorded
from builder.request import BuildRequest
from builder.sources.context import Context, FileStamp, find_ignore_file, open_context
from builder.sources.downloads import Credentials
from builder.sources.fetcher import Fetcher
from builder.sources.git_head import find_head
from builder.sources.inputs import Inputs
from builder.sources.unpack import Unpacker
from grammar.dockerignore import Patterns
from grammar.lint import Finding
from runtime.image.digest import Digest
from runtime.image.model import ImageConfig
from runtime.image.platform import default_platform
from runtime.image.store.store import Store
from runtime.rootfs import RootFiles
from runtime.sandbox.server import SandboxServer

if TYPE_CHECKING:  # Imported by the builds that need them.
    from builder.attest.witness import Witness
    from builder.cache.work import Elsewhere
    from builder.output.annotations import Annotation
    from runtime.image.attestations import Attestation


def credentials(options: ExecuteOptions) -> Credentials:
    """What of the options servers may ask for."""
    return Credentials(
        secrets=options.secrets, authorities=options.authorities, agent=options.ssh.get("default")
    )


def plan_options(request: BuildRequest) -> PlanOptions:
    """What of a request decides the plan."""
    own = default_platform()
    fetched = request.layers is not None
    return PlanOptions(
        platform=request.platform or own,
        build_platform=own,
        build_args=request.build_args,
        target=request.target,
        labels=request.labels,
        epoch=request.epoch,
        committed=request.committed if fetched else find_head(request.context).time,
        contexts=request.contexts,
    )


def make_plan(request: BuildRequest, store: Store, emit: Emit) -> tuple[Plan, tuple[Finding, ...]]:
    """Parse, plan and lint; nothing is run. `grammar.DockerfileError`, `BuildError`."""
    dockerfile = grammar.parse(request.source.data, request.source.name)
    foreign = foreign_syntax(dockerfile, request.build_args)
    if foreign is not None:
        emit(Noticed(message=f"the frontend {foreign} is not fetched: the language is built in"))
    return plan_checked(
        dockerfile,
        request.source.text,
        plan_options(request),
        _images(request, store, emit),
        StoredImages(store),
        ignored(request),
        emit,
    )


def _images(request: BuildRequest, store: Store, emit: Emit) -> StoredImages | FetchedImages:
    if request.registries is None or request.pull == "never":
        return StoredImages(store)
    return FetchedImages(store, request.pull, request.registries(emit))


def check(request: BuildRequest, store: Store) -> Checked:
    """What is found in the target, or in every stage; nothing is run. `DockerfileError`."""
    return check_only(
        grammar.parse(request.source.data, request.source.name),
        request.source.text,
        plan_options(request),
        StoredImages(store),
        ignored(request),
    )


def ignored(request: BuildRequest) -> Patterns | None:
    """What the context leaves out; only one in a directory has an ignore file."""
    if request.layers is not None:
        return None
    found = find_ignore_file(request.context, request.source.path)
    return None if found is None else found.patterns


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A build's result, and what it came from.

    `seen` is every file of the contexts that was looked at, by its full path; `images` those the
    plan stands on (`None`: there is more than files and images); `keys` those of the steps;
    `record` is the ID under which what happened is kept.
    """

    result: Result
    seen: Mapping[bytes, FileStamp | None]
    images: Images | None
    keys: tuple[str, ...]
    record: str = ""


def build(request: BuildRequest, store: Store, sandbox: SandboxServer, emit: Emit) -> Built:
    """Build an image, store and name it, and write it out.

    On an error nothing is named or written; steps that were done stay in the cache.
    """
    began = time.monotonic()
    planned, findings = make_plan(request, store, emit)
    try:
        bases = pinned(store, planned)
        with recorded(store, _about(request) | {"bases": dict(bases)}, emit) as recorder:
            built = _carry_out(planned, request, store, sandbox, recorder)
            seconds = time.monotonic() - began
            recorder(BuildFinished(image_id=built.result.image_id, seconds=seconds))
    finally:
        warn(findings, emit)
    return replace(built, record=recorder.id, result=replace(built.result, bases=bases))


def _about(request: BuildRequest) -> dict[str, Any]:
    """What a build's record says of the request."""
    path = request.source.path
    return {
        "dockerfile": path if path == "-" else os.path.abspath(path),
        "name": request.source.name,
        "context": request.context,
        "target": request.target,
        "names": [name.familiar() for name in request.names],
        "no_cache": not request.execute.use_cache,
    }


def _carry_out(
    planned: Plan, request: BuildRequest, store: Store, sandbox: SandboxServer, emit: Emit
) -> Built:
    check_runnable(planned, default_platform())
    with ExitStack() as stack:
        context = (
            open_context(request.context, request.source.path)
            if request.layers is None
            else request.layers
        )
        if isinstance(context, Context):
            emit(
                ContextUsed(
                    path=request.context,
                    ignore_file=context.ignore_file,
                    ignored=context.ignored(),
                )
            )
        inputs = Inputs(
            store,
            context,
            Fetcher(store, credentials(request.execute)),
            request.contexts,
        )
        stack.callback(inputs.save)
        unpacker = stack.enter_context(Unpacker(store))
        files = RootFiles(stack.enter_context(store.workspace()), store.owners)
        leftovers = stack.enter_context(Leftovers())
        witness = _witness(request, emit)

        def execute(elsewhere: Elsewhere | None) -> tuple[Executor, ImageConfig]:
            executor = Executor(
                planned,
                store=store,
                sandbox=sandbox,
                inputs=inputs,
                unpacker=unpacker,
                files=files,
                leftovers=leftovers,
                options=request.execute,
                emit=witness or emit,
                elsewhere=elsewhere,
            )
            return executor, executor.execute()

        def result_of(config: ImageConfig, annotations: Sequence[Annotation] = ()) -> Result:
            image_id = store.put_image(config)
            said: tuple[Attestation, ...] = ()
            if witness is not None:
                from builder.attest.attesting import attest

                said = attest(
                    store, image_id, plan=planned, request=request, inputs=inputs,
                    witness=witness, emit=emit,
                )  # fmt: skip
            annotated = replace(request, annotations=(*request.annotations, *annotations))
            return _result(annotated, store, image_id, said, emit)

        if not request.cache_from and not request.cache_to:
            executor, config = execute(None)
            result = result_of(config)
        else:
            from builder.exchange.exporting import export_caches, with_inline
            from builder.exchange.session import opened_exchange
            from builder.output.annotations import MANIFEST, Annotation

            sessions = None if request.registries is None else request.registries(emit)
            exchange = stack.enter_context(
                opened_exchange(store, request.cache_from, sessions, emit)
            )
            executor, config = exchange.executed(execute, emit)
            inline = with_inline(exchange, request.cache_to, emit)
            said = tuple(Annotation(MANIFEST, key, value) for key, value in inline)
            result = result_of(config, said)
            export_caches(exchange, request.cache_to, config.diff_ids, sessions, emit)
    return Built(
        result=result, seen=inputs.seen(), images=images_used(planned), keys=executor.keys()
    )


def _witness(request: BuildRequest, emit: Emit) -> Witness | None:
    """A reader of the build's events, where something is to be said of the build."""
    if request.attest is None:
        return None
    from builder.attest.witness import Witness

    return Witness(emit)


def _result(
    request: BuildRequest,
    store: Store,
    image_id: Digest,
    said: tuple[Attestation, ...],
    emit: Emit,
) -> Result:
    if not request.outputs:
        names = tuple(dict.fromkeys(request.names))
        name_image(store, image_id, names, emit)
        return Result(image_id=image_id, names=names)
    from builder.output.export import export

    return export(
        store,
        image_id,
        names=request.names,
        outputs=request.outputs,
        annotations=request.annotations,
        open_session=None if request.registries is None else request.registries(emit),
        attestations=said,
        attestation_form=request.attest.form if request.attest else "referrers",
        emit=emit,
    )
