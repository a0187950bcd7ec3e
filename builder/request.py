"""What is to be built, as a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from builder.events import Emit
from builder.execution.options import ExecuteOptions
from builder.fetching import OpenSession, PullPolicy
from builder.plan.named_contexts import NamedContexts
from builder.sources.source import Source
from runtime.image.digest import DiffID
from runtime.image.platform import Platform
from runtime.image.reference import Reference

if TYPE_CHECKING:  # Imported by the builds that need them.
    from builder.attest.options import AttestOptions
    from builder.exchange.options import CacheFrom, CacheTo
    from builder.output.annotations import Annotation
    from builder.output.outputs import Output


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """What to build, as the command line has it.

    `epoch` is SOURCE_DATE_EPOCH, where given; `platform` this machine's, where not. `layers`
    are the context's files if it was fetched, `committed` when its commit was made; else they are
    in the directory `context`. `contexts` are named ones. Without `registries` no image is
    fetched, whatever `pull` says. `cache_from` and `cache_to` are caches outside the store.
    """

    context: str
    source: Source
    layers: tuple[DiffID, ...] | None = None
    committed: int | None = None
    contexts: NamedContexts = field(default_factory=dict)
    names: tuple[Reference, ...] = ()
    build_args: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    outputs: tuple[Output, ...] = ()
    annotations: tuple[Annotation, ...] = ()
    platform: Platform | None = None
    epoch: int | None = None
    attest: AttestOptions | None = None
    execute: ExecuteOptions = field(default_factory=ExecuteOptions)
    pull: PullPolicy = "missing"
    registries: Callable[[Emit], OpenSession] | None = None
    cache_from: tuple[CacheFrom, ...] = ()
    cache_to: tuple[CacheTo, ...] = ()
