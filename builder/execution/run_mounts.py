"""What a RUN has mounted: turning requests into directories and files that can be mounted.

Sources of bind mounts are trees of layers, never the context or a stage's files themselves: what
the ignore file excludes is not there, owners are as COPY would make them, and writes go to an
overlay that is thrown away.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import assert_never

from builder.cache.keys import Key, entries_key, identity
from builder.cache.layering import commit_entries
from builder.cache.listing import Listing
from builder.errors import PlanError
from builder.execution.copy import CopyProblem, CopyRules, copy_entries
from builder.execution.mounted import mounted_overlay, mounted_tmpfs
from builder.execution.options import ExecuteOptions
from builder.plan.steps import (
    BindRequest,
    CacheRequest,
    CopyStep,
    FromContext,
    FromNothing,
    Input,
    MountRequest,
    RunStep,
    SecretRequest,
    SshRequest,
    TmpfsRequest,
    input_name,
)
from builder.sources.inputs import Inputs, LayersOf
from builder.sources.trees import EmptyTree, TooManyLinks, resolve
from grammar.errors import quoted
from grammar.nodes import Span
from runtime.image.digest import DiffID, chain_id
from runtime.image.layer.decompression import open_decompressed
from runtime.image.layer.entry import Entry, Kind
from runtime.image.layer.extract import extract_layer
from runtime.image.layer.owners import give
from runtime.image.layer.writer import canonical_order, write_layer
from runtime.image.store.store import Store
from runtime.sandbox.spec import BindMount, Mount, TmpfsMount

_MOST_SECRET = 500 << 10
"""As BuildKit: a secret is a key or a token, not a file system."""


@dataclass(frozen=True, slots=True)
class Made:
    """The mounts of a step, and what its environment gets besides."""

    mounts: tuple[Mount, ...] = ()
    env: tuple[tuple[str, str], ...] = field(default=())


@dataclass(frozen=True, slots=True)
class _Selected:
    """A part of the context as a layer: its key, its entries, and where in it the part is."""

    key: Key
    entries: list[Entry]
    place: str


class RunMounts:
    """Makes the mounts of one step; `listings` are of what it binds of contexts, by key."""

    def __init__(
        self,
        store: Store,
        inputs: Inputs,
        options: ExecuteOptions,
        layers_of: LayersOf,
        span: Span,
    ) -> None:
        self._store = store
        self._inputs = inputs
        self._options = options
        self._layers_of = layers_of
        self._span = span
        self.listings: dict[str, Listing] = {}

    # ---- for the key

    def identities(self, requests: Iterable[MountRequest]) -> list[str]:
        """What each mount puts into a step's key: the content of what is bound, the rest's form."""
        return [self._identity(request) for request in requests]

    def _identity(self, request: MountRequest) -> str:
        if not isinstance(request, BindRequest):
            return identity(request)
        layers = self._inputs.layers(request.input, self._layers_of)
        if layers is None:
            key = self._selected(request.input, request.source).key
            content = key.digest
            if key.listing is not None:
                self.listings[content] = key.listing
        else:
            content = f"{chain_id(layers)} {request.source}"
        return identity(("bind", request.target, request.read_write, content))

    def _selected(self, input_: Input, source: str) -> _Selected:
        """A part of a context as a layer."""
        tree = self._inputs.tree(input_, self._layers_of)
        try:
            path = resolve(tree, source.encode("utf-8", "surrogateescape"))
            there = tree.lstat(path)
            folder = there is not None and there.kind is Kind.DIRECTORY
            place = "/" if folder else "/" + source.rstrip("/").rpartition("/")[2]
            step = CopyStep(sources=(source,), destination=place, input=input_)
            rules = CopyRules(owner=None, change_mode=None, mtime=0)
            entries = copy_entries(step, tree, EmptyTree(), rules, lambda entry: None)
        except (CopyProblem, TooManyLinks) as error:
            raise PlanError(str(error), span=self._span) from error
        ordered = canonical_order(entries)
        return _Selected(entries_key(ordered, self._inputs.place), ordered, place)

    # ---- for the container

    def make(self, step: RunStep, workspace: str, stack: ExitStack) -> Made:
        """Everything that `step` has mounted, until `stack` is closed."""
        mounts: list[Mount] = []
        env: list[tuple[str, str]] = []
        for number, request in enumerate(step.mounts):
            folder = os.path.join(workspace, f"mount-{number}")
            os.mkdir(folder, 0o755)
            match request:
                case BindRequest():
                    mounts.append(self._bind(request, folder, stack))
                case CacheRequest():
                    mounts.append(self._cache(request, stack))
                case TmpfsRequest():
                    mounts.append(TmpfsMount(target=request.target, size=request.size, mode=0o1777))
                case SecretRequest():
                    self._secret(request, folder, stack, mounts, env)
                case SshRequest():
                    self._ssh(request, mounts, env)
                case _:
                    assert_never(request)
        for number, script in enumerate(step.scripts):
            path = os.path.join(workspace, f"script-{number}")
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o755)
            with os.fdopen(fd, "wb") as file:
                os.fchmod(fd, 0o755)
                file.write(script.content.encode("utf-8", "surrogateescape"))
            mounts.append(BindMount(source=path, target=script.path, read_only=True))
        return Made(tuple(mounts), tuple(env))

    # ---- bind

    def _bind(self, request: BindRequest, folder: str, stack: ExitStack) -> Mount:
        layers, source = self._bound(request.input, request.source)
        view = self._store.view(layers)
        try:
            path = resolve(view, source.encode("utf-8", "surrogateescape"))
        except TooManyLinks as error:
            raise PlanError(str(error), span=self._span) from error
        if view.lstat(path) is None and path:
            raise PlanError(
                f"failed to calculate checksum of ref {input_name(request.input)}:"
                f" {quoted(request.source)}: not found",
                span=self._span,
            )
        root = self._root(layers, folder, stack, read_write=request.read_write)
        return BindMount(
            source=os.path.join(root, os.fsdecode(path)),
            target=request.target,
            read_only=not request.read_write,
        )

    def _bound(self, source: Input, path: str) -> tuple[tuple[DiffID, ...], str]:
        """The layers that hold a part of an input, and where in them it is."""
        layers = self._inputs.layers(source, self._layers_of)
        if layers is not None:
            return layers, path
        selected = self._selected(source, path)
        key = selected.key
        record = self._store.record(key.digest)
        if record is not None:
            return (record.diff_id,), selected.place
        diff_id = commit_entries(self._store, selected.entries)
        self._store.put_record(key.digest, key.kind, key.components, diff_id)
        return (diff_id,), selected.place

    def _root(
        self, layers: tuple[DiffID, ...], folder: str, stack: ExitStack, *, read_write: bool
    ) -> str:
        """A directory with what the layers hold; changes to it go with `stack`."""
        trees = list(reversed(self._inputs.trees(layers)))
        if len(trees) == 1 and not read_write:
            return trees[0]
        if not trees:
            trees = [os.path.join(folder, "empty")]
            os.mkdir(trees[0], 0o755)
        return stack.enter_context(mounted_overlay(trees, folder, read_write=read_write))

    # ---- cache

    def _cache(self, request: CacheRequest, stack: ExitStack) -> Mount:
        seed: tuple[tuple[DiffID, ...], str] | None = None
        if request.input is not None and not isinstance(request.input, FromNothing):
            seed = self._bound(request.input, request.source)
        name = identity(
            (request.id, request.mode, request.uid, request.gid, seed and chain_id(seed[0]))
        )
        base = hashlib.sha256(name.encode()).hexdigest()[:32]
        path = stack.enter_context(self._store.cache_directory(base, request.id, request.sharing))
        if not os.path.lexists(path):
            self._new_cache(request, path, seed)
        return BindMount(source=path, target=request.target, read_only=request.read_only)

    def _new_cache(
        self, request: CacheRequest, path: str, seed: tuple[tuple[DiffID, ...], str] | None
    ) -> None:
        """Make a cache's directory aside, with its owner, mode and first content."""
        with self._store.workspace() as workspace:
            made = os.path.join(workspace, "cache")
            if seed is None:
                os.mkdir(made)
            else:
                self._seeded(made, *seed)
            os.chmod(made, request.mode)
            give(self._store.owners, made, stat.S_IFDIR, request.uid, request.gid)
            try:
                os.rename(made, path)
            except OSError:
                # Another build may have been faster; then its directory is the cache.
                if not os.path.isdir(path):
                    raise

    def _seeded(self, made: str, layers: tuple[DiffID, ...], source: str) -> None:
        view = self._store.view(layers)
        step = CopyStep(sources=(source,), destination="/", input=FromContext())
        rules = CopyRules(owner=None, change_mode=None, mtime=0)
        try:
            found = copy_entries(step, view, EmptyTree(), rules, lambda entry: None)
        except (CopyProblem, TooManyLinks) as error:
            raise PlanError(str(error), span=self._span) from error
        os.mkdir(made)
        with self._store.workspace() as workspace:
            tar = os.path.join(workspace, "seed.tar")
            fd = os.open(tar, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                write_layer(canonical_order(found), fd)
            finally:
                os.close(fd)
            extract_layer(
                open_decompressed(tar),
                made,
                skip_devices_if_forbidden=True,
                owners=self._store.owners,
            )

    # ---- secrets and agents

    def _secret(
        self,
        request: SecretRequest,
        folder: str,
        stack: ExitStack,
        mounts: list[Mount],
        env: list[tuple[str, str]],
    ) -> None:
        value = self._options.secrets.get(request.id)
        if value is None:
            if request.required:
                raise PlanError(
                    f"secret {request.id}: not found",
                    span=self._span,
                    hint=f"build with --secret id={request.id},src=FILE",
                )
            return
        if len(value) > _MOST_SECRET:
            raise PlanError(
                f"secret {request.id} is longer than {_MOST_SECRET} bytes", span=self._span
            )
        if request.env is not None:
            env.append((request.env, value.decode("utf-8", "surrogateescape")))
        if request.target is not None:
            # In memory only: a file in the workspace would be on the disk.
            stack.enter_context(mounted_tmpfs(folder))
            path = os.path.join(folder, "secret")
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
            with os.fdopen(fd, "wb") as file:
                os.fchmod(fd, request.mode)
                give(self._store.owners, fd, stat.S_IFREG, request.uid, request.gid)
                file.write(value)
            mounts.append(BindMount(source=path, target=request.target, read_only=True))

    def _ssh(self, request: SshRequest, mounts: list[Mount], env: list[tuple[str, str]]) -> None:
        socket = self._options.ssh.get(request.id)
        if socket is None:
            if request.required:
                raise PlanError(
                    f"unset ssh forward key {request.id}",
                    span=self._span,
                    hint=f"build with --ssh {request.id}",
                )
            return
        mounts.append(BindMount(source=socket, target=request.target, read_only=True))
        if "SSH_AUTH_SOCK" not in dict(env):
            env.append(("SSH_AUTH_SOCK", request.target))
