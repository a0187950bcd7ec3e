"""A whole build: from a request to an image in the store and wherever else it should go."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

import grammar
from builder.context import open_context
from builder.events import BuildFinished, Emit, Exported, Noticed
from builder.execute import Executor
from builder.inputs import Inputs
from builder.leftovers import Leftovers
from builder.options import ExecuteOptions
from builder.outputs import ArchiveOutput, ImageOutput, Output
from builder.plan import FoundImage, PlanOptions, plan
from builder.source import Source
from builder.steps import Plan
from builder.unpack import Unpacker
from runtime.image.archive import write_archive
from runtime.image.compression import Compression
from runtime.image.digest import Digest
from runtime.image.platform import default_platform
from runtime.image.reference import Reference
from runtime.image.store import Store
from runtime.sandbox.server import SandboxServer

_COMPRESSIONS = {
    "gzip": Compression.GZIP,
    "zstd": Compression.ZSTD,
    "uncompressed": Compression.UNCOMPRESSED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """What to build, as the command line has it; `epoch` is SOURCE_DATE_EPOCH, where given."""

    context: str
    source: Source
    names: tuple[Reference, ...] = ()
    build_args: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    outputs: tuple[Output, ...] = ()
    epoch: int | None = None
    execute: ExecuteOptions = field(default_factory=ExecuteOptions)


class StoredImages:
    """Base images: those in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, reference: str) -> FoundImage:
        """The image of that name in the store; `ImageError` where there is none."""
        image = self._store.image(reference)
        return FoundImage(reference=reference, image_id=image.id, config=image.config)


def make_plan(request: BuildRequest, store: Store, emit: Emit) -> Plan:
    """Parse and plan; nothing is run. `grammar.DockerfileError`, `builder.errors.BuildError`."""
    dockerfile = grammar.parse(request.source.data, request.source.name)
    for warning in dockerfile.warnings:
        emit(Noticed(message=warning.message, span=warning.span))
    options = PlanOptions(
        platform=default_platform(),
        build_args=request.build_args,
        target=request.target,
        labels=request.labels,
        epoch=request.epoch,
    )
    return plan(dockerfile, options, StoredImages(store))


def build(request: BuildRequest, store: Store, sandbox: SandboxServer, emit: Emit) -> Digest:
    """Build an image, store and name it, and write it out; its ID.

    On an error nothing is named or written; steps that were done stay in the cache.
    """
    began = time.monotonic()
    planned = make_plan(request, store, emit)
    with ExitStack() as stack:
        inputs = Inputs(store, open_context(request.context, request.source.path))
        stack.callback(inputs.save)
        executor = Executor(
            planned,
            store=store,
            sandbox=sandbox,
            inputs=inputs,
            unpacker=stack.enter_context(Unpacker(store)),
            leftovers=stack.enter_context(Leftovers()),
            options=request.execute,
            emit=emit,
        )
        config = executor.execute()
        image_id = store.put_image(config)
    _export(request, store, image_id, emit)
    emit(BuildFinished(image_id=image_id, seconds=time.monotonic() - began))
    return image_id


def _export(request: BuildRequest, store: Store, image_id: Digest, emit: Emit) -> None:
    names = list(request.names)
    for output in request.outputs:
        if isinstance(output, ImageOutput):
            names += [Reference.parse(name) for name in output.names]
    for name in names:
        store.tag(name, image_id)
        emit(Exported(what=f"naming to {name}", seconds=0.0))
    for output in request.outputs:
        if isinstance(output, ArchiveOutput):
            began = time.monotonic()
            out: str | int = 1 if output.destination == "-" else output.destination
            write_archive(
                store,
                store.image(image_id),
                names,
                out,
                compression=_COMPRESSIONS[output.compression],
                format=output.format,
            )
            where = "standard output" if out == 1 else output.destination
            emit(
                Exported(
                    what=f"exporting to {output.format} archive {where}",
                    seconds=time.monotonic() - began,
                )
            )
