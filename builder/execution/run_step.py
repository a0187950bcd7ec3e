"""RUN: a command in a container, and what it changed as a layer.

The container's root is an overlay of the stage's layers; its upper directory becomes the new
layer's tree as it is. Nothing that is mounted is ever in it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import ExitStack
from typing import Literal

from builder.cache.keys import identity, run_key
from builder.cache.work import Work
from builder.errors import BuildError, Cancelled, PlanError, StepFailed
from builder.events import Emit, Noticed, StepOutput
from builder.execution.authorities import trusted
from builder.execution.kept_steps import (
    KeptStep,
    adopted,
    describe,
    find_kept,
    keep,
    kept_id,
    with_mounts,
    working_in,
)
from builder.execution.leftovers import Leftovers
from builder.execution.noise import is_noise
from builder.execution.options import ExecuteOptions
from builder.execution.owners import find_ids
from builder.execution.run_mounts import Made, RunMounts
from builder.execution.step_limits import StepLimits
from builder.plan.steps import RunStep
from builder.plan.variables import updated
from builder.sources.inputs import Inputs, LayersOf
from grammar.nodes import Span
from runtime.errors import CommandNotFound, CommandNotRunnable, ContainerError
from runtime.image.digest import DiffID, chain_id
from runtime.image.errors import ImageError
from runtime.image.layer.owners import Owners, RecordedOwners
from runtime.image.layer.pack import keep_everything, pack_tree
from runtime.image.layer.view import View
from runtime.image.store.store import Store
from runtime.rootfs import RootFiles, RootParts, prepare_root
from runtime.sandbox.capabilities import ALL_CAPABILITIES, DEFAULT_CAPABILITIES
from runtime.sandbox.seccomp import default_filter
from runtime.sandbox.server import Process, SandboxServer
from runtime.sandbox.spec import MASKED_PATHS, READ_ONLY_PATHS, SandboxSpec, merged_rlimits

_HOSTNAME = "buildkitsandbox"
"""BuildKit's: builds that write their host's name somewhere give the same with both."""
_OUT_OF_MEMORY = "a process of it was killed: it had no memory left; build with a larger --memory"
_TAIL = 64 << 10
_READ = 64 << 10


class RunRunner:
    """Runs the commands of RUN steps; at most `options.jobs` at once."""

    def __init__(
        self,
        *,
        store: Store,
        sandbox: SandboxServer,
        inputs: Inputs,
        options: ExecuteOptions,
        emit: Emit,
        leftovers: Leftovers,
        files: RootFiles,
        layers_of: LayersOf,
        stopped: threading.Event,
    ) -> None:
        self._limits = StepLimits(options.limits, options.cgroup_parent)
        self._leftovers = leftovers
        self._files = files
        self._store = store
        self._sandbox = sandbox
        self._inputs = inputs
        self._options = options
        self._emit = emit
        self._layers_of = layers_of
        self._stopped = stopped
        self._jobs = threading.BoundedSemaphore(options.jobs)
        self.mended: set[str] = set()
        """The keys of steps whose layers somebody has mended by hand."""
        self._running: set[Process] = set()
        self._guard = threading.Lock()

    def kill_all(self) -> None:
        """End every command that runs now."""
        with self._guard:
            for process in self._running:
                process.kill(signal.SIGKILL)

    def work(
        self,
        step: RunStep,
        layers: tuple[DiffID, ...],
        *,
        epoch: int,
        span: Span,
        number: int,
        platform: str,
    ) -> Work:
        """The step, ready to be looked up or done. `PlanError` for a mount that cannot be."""
        self._check_allowed(step, span)
        mounts = RunMounts(self._store, self._inputs, self._options, self._layers_of, span)
        identities = mounts.identities(step.mounts)
        key = run_key(
            step,
            parent=chain_id(layers),
            epoch=epoch,
            mounts=identities,
            platform=platform,
            noise=self._options.drop_noise,
        )

        def do() -> DiffID:
            with self._jobs, ExitStack() as stack:
                if self._stopped.is_set():
                    raise Cancelled
                kept = find_kept(self._store, kept_id(key.digest)) if self._options.resume else None
                if kept is not None:
                    return self._adopted(kept, step, epoch, layers, key.digest, span)
                diff_id = self._run(step, layers, epoch, span, number, mounts, stack, key.digest)
                # Undone while the next step runs: removing what a step leaves behind takes as
                # long as starting a container.
                self._leftovers.undo(stack.pop_all())
                return diff_id

        facts = {"arguments": identity(step.arguments)}
        return Work(key=key, do=do, facts=facts, listings=mounts.listings)

    def _check_allowed(self, step: RunStep, span: Span) -> None:
        if step.network == "host" and "network.host" not in self._options.allow:
            raise PlanError(
                "entitlement network.host is not allowed",
                span=span,
                hint="build with --allow network.host if you trust this Dockerfile",
            )
        if step.security == "insecure" and "security.insecure" not in self._options.allow:
            raise PlanError(
                "entitlement security.insecure is not allowed",
                span=span,
                hint="build with --allow security.insecure if you trust this Dockerfile",
            )

    def _run(
        self,
        step: RunStep,
        layers: tuple[DiffID, ...],
        epoch: int,
        span: Span,
        number: int,
        mounts: RunMounts,
        stack: ExitStack,
        key: str,
    ) -> DiffID:
        workspace = stack.enter_context(self._store.workspace())
        upper = os.path.join(workspace, "upper")
        os.mkdir(upper, 0o755)
        made = mounts.make(step, workspace, stack)
        view = self._store.view(layers)
        if self._options.authorities is not None:
            mount, names = trusted(view, step.env, self._options.authorities, workspace)
            made = Made((*made.mounts, mount), (*made.env, *names))
        root = prepare_root(
            view=view,
            trees=self._inputs.trees(layers),
            workspace=workspace,
            mounts=made.mounts,
            hostname=_HOSTNAME,
            network=self._network(step),
            extra_hosts=self._options.extra_hosts,
            files=self._files,
            owners=self._store.owners,
        )
        spec = self._spec(step, root, upper, made.env)
        try:
            with self._limits.around(spec) as limited:
                status, output = self._command(limited.spec, number, span)
                hint = _OUT_OF_MEMORY if limited.ran_out_of_memory else None
            if status != 0:
                raise StepFailed(step.argv, status, span=span, output=output, hint=hint)
        except StepFailed as error:
            self._keep(step, layers, key, made, upper, workspace, error)
            raise
        return self._packed(step, view, upper, epoch)

    def _packed(self, step: RunStep, view: View, upper: str, epoch: int) -> DiffID:
        """A tree as the step's layer."""
        drop = is_noise if self._options.drop_noise else keep_everything
        owners = self._owners(step, view)
        layer = pack_tree(upper, None, mtime=epoch, drop=drop, settle=True, owners=owners)
        self._store.add_tree(layer, upper)
        return layer.diff_id

    def _keep(
        self,
        step: RunStep,
        layers: tuple[DiffID, ...],
        key: str,
        made: Made,
        upper: str,
        workspace: str,
        error: StepFailed,
    ) -> None:
        """Keep what a step has left that failed, for who wants to see why."""
        kept = describe(
            step,
            " ".join(("RUN", *step.argv)),
            layers,
            key,
            host_network=self._network(step) == "host",
            extra_hosts=self._options.extra_hosts,
            shm_size=self._options.shm_size,
        )
        kept = with_mounts(self._store, kept, made.mounts, workspace)
        try:
            keep(self._store, kept, upper, workspace)
        except (BuildError, ImageError, OSError) as problem:
            # The step's own failure is what the build fails for.
            self._emit(Noticed(message=f"what {kept.text} has left is not kept: {problem}"))
        else:
            error.kept = kept.id

    def _adopted(
        self,
        kept: KeptStep,
        step: RunStep,
        epoch: int,
        layers: tuple[DiffID, ...],
        key: str,
        span: Span,
    ) -> DiffID:
        """The tree of a failed step, mended by hand, as the step's layer."""
        with working_in(self._store, kept) as upper:
            diff_id = DiffID(kept.adopted) if kept.adopted is not None else None
            if diff_id is None:
                diff_id = self._packed(step, self._store.view(layers), upper, epoch)
                adopted(self._store, kept, diff_id)
        self.mended.add(key)
        self._emit(
            Noticed(
                message=f"{kept.text}: its layer is a tree mended by hand, not what the command"
                " makes: no other build will give this image",
                span=span,
            )
        )
        return diff_id

    def _owners(self, step: RunStep, view: View) -> Owners:
        """How the owners of what the step has made are known: whoever has one id cannot become
        another user, so what a step makes would not be its user's."""
        owners = self._store.owners
        if not isinstance(owners, RecordedOwners):
            return owners
        ids = find_ids(view, step.user)
        return RecordedOwners(made_by=(ids.uid, ids.gid))

    def _spec(
        self, step: RunStep, root: RootParts, upper: str, env: tuple[tuple[str, str], ...]
    ) -> SandboxSpec:
        insecure = step.security == "insecure"
        return SandboxSpec(
            lower=root.lower,
            upper=upper,
            work=root.work,
            volatile=True,
            mounts=root.mounts,
            argv=step.argv,
            env=updated(step.env, (*step.proxies, *env)),
            cwd=step.workdir,
            user=step.user,
            hostname=_HOSTNAME,
            network=self._network(step),
            seccomp=None if insecure else default_filter(),
            capabilities=ALL_CAPABILITIES if insecure else DEFAULT_CAPABILITIES,
            masked_paths=() if insecure else MASKED_PATHS,
            read_only_paths=() if insecure else READ_ONLY_PATHS,
            shm_size=self._options.shm_size,
            rlimits=merged_rlimits(self._options.ulimits),
        )

    def _network(self, step: RunStep) -> Literal["none", "host"]:
        """A step's own choice, or the build's; without either it is the host's network."""
        chosen = step.network if step.network != "default" else self._options.network
        return "none" if chosen == "none" else "host"

    def _command(self, spec: SandboxSpec, number: int, span: Span) -> tuple[int, bytes]:
        """Run a command, passing on what it writes; its status, and the end of its output."""
        began = time.monotonic()
        tail = bytearray()
        read_end, write_end = os.pipe()
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            try:
                process = self._start(spec, null, write_end, span)
            finally:
                os.close(write_end)
                os.close(null)
            try:
                while data := os.read(read_end, _READ):
                    tail += data
                    del tail[:-_TAIL]
                    seconds = time.monotonic() - began
                    self._emit(StepOutput(number=number, data=data, seconds=seconds))
            finally:
                status = self._ended(process)
        finally:
            os.close(read_end)
        if self._stopped.is_set():
            raise Cancelled
        return status, bytes(tail)

    def _start(self, spec: SandboxSpec, stdin: int, output: int, span: Span) -> Process:
        try:
            process = self._sandbox.start(spec, stdin, output, output)
        except (CommandNotFound, CommandNotRunnable) as error:
            status = 127 if isinstance(error, CommandNotFound) else 126
            raise StepFailed(
                spec.argv, status, span=span, output=b"", hint=error.message
            ) from error
        except ContainerError as error:
            raise PlanError(error.message, span=span, hint=error.hint) from error
        with self._guard:
            self._running.add(process)
            if self._stopped.is_set():
                process.kill(signal.SIGKILL)
        return process

    def _ended(self, process: Process) -> int:
        """Wait for a process, which an interrupt must not leave running."""
        try:
            return process.wait()
        except BaseException:
            process.kill(signal.SIGKILL)
            process.wait()
            raise
        finally:
            with self._guard:
                self._running.discard(process)
