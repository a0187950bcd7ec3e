"""A command in the state that a step left, or failed in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from builder.errors import BuildError
from builder.execution.kept_steps import KeptStep, sandbox_mounts, working_in
from builder.plan.variables import updated
from runtime.image.digest import DiffID
from runtime.image.store.store import Store
from runtime.rootfs import prepare_root
from runtime.sandbox.capabilities import ALL_CAPABILITIES, DEFAULT_CAPABILITIES
from runtime.sandbox.seccomp import default_filter
from runtime.sandbox.spec import (
    MASKED_PATHS,
    READ_ONLY_PATHS,
    BindMount,
    Mount,
    SandboxSpec,
)

_HOSTNAME = "buildkitsandbox"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepState:
    """Where a command is to be run: layers, surroundings, and `kept`, what is on top of them."""

    text: str
    layers: tuple[DiffID, ...]
    env: tuple[tuple[str, str], ...] = ()
    workdir: str = "/"
    user: str = ""
    host_network: bool = True
    insecure: bool = False
    kept: KeptStep | None = None


def state_of(kept: KeptStep) -> StepState:
    """The state that a failed step has left."""
    layers = kept.diff_ids
    return StepState(
        text=kept.text,
        layers=layers if kept.adopted is None else (*layers, DiffID(kept.adopted)),
        env=kept.env,
        workdir=kept.workdir,
        user=kept.user,
        host_network=kept.host_network,
        insecure=kept.insecure,
        kept=kept if kept.adopted is None else None,
    )


@contextmanager
def sandbox_in(
    store: Store,
    state: StepState,
    argv: tuple[str, ...],
    *,
    env: tuple[tuple[str, str], ...] = (),
    secrets: dict[str, bytes] | None = None,
    user: str | None = None,
    terminal_size: tuple[int, int] | None = None,
    say: Say,
) -> Iterator[SandboxSpec]:
    """The sandbox for a command in a step's state; with a terminal if that has a size.

    What it changes is thrown away, unless the state is one that a failed step has left.
    """
    for layer in state.layers:
        if not store.has_layer(layer):
            raise BuildError(
                f"the layer {layer} of that step is no longer in the store",
                hint="build again, which makes it again",
            )
    with ExitStack() as stack:
        workspace = stack.enter_context(store.workspace())
        mounts: tuple[Mount, ...] = ()
        if state.kept is not None:
            upper = stack.enter_context(working_in(store, state.kept))
            mounts, missing = sandbox_mounts(store, state.kept)
            for target in missing:
                say(f"{target} is not mounted: what was there went with the build")
        else:
            upper = os.path.join(workspace, "upper")
            os.mkdir(upper, 0o755)
        mounts = (*mounts, *_secrets(secrets or {}, workspace))
        root = prepare_root(
            view=store.view(state.layers),
            trees=tuple(store.tree(layer) for layer in state.layers),
            workspace=workspace,
            mounts=mounts,
            hostname=_HOSTNAME,
            network="host" if state.host_network else "none",
            extra_hosts=state.kept.extra_hosts if state.kept is not None else (),
            owners=store.owners,
        )
        given = () if terminal_size is None else (("TERM", os.environ.get("TERM", "xterm")),)
        yield SandboxSpec(
            lower=root.lower,
            upper=upper,
            work=root.work,
            volatile=state.kept is None,
            mounts=root.mounts,
            argv=argv,
            env=updated(state.env, (*given, *env)),
            cwd=state.workdir,
            user=state.user if user is None else user,
            hostname=_HOSTNAME,
            network="host" if state.host_network else "none",
            seccomp=None if state.insecure else default_filter(),
            capabilities=ALL_CAPABILITIES if state.insecure else DEFAULT_CAPABILITIES,
            masked_paths=() if state.insecure else MASKED_PATHS,
            read_only_paths=() if state.insecure else READ_ONLY_PATHS,
            shm_size=state.kept.shm_size if state.kept is not None else None,
            terminal=terminal_size is not None,
            terminal_size=terminal_size or (0, 0),
        )


def _secrets(secrets: dict[str, bytes], workspace: str) -> Iterator[Mount]:
    """Secrets where a RUN has them unless it says otherwise."""
    for number, (name, value) in enumerate(secrets.items()):
        folder = os.path.join(workspace, f"secret-{number}")
        os.mkdir(folder, 0o700)
        path = os.path.join(folder, "secret")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
        with os.fdopen(fd, "wb") as file:
            file.write(value)
        yield BindMount(source=path, target=f"/run/secrets/{name}", read_only=True)
