"""`lamina debug`, and `lamina build --on-fail shell`."""

from __future__ import annotations

import json
import os

import click

from builder.commands.credentials import secrets
from builder.commands.explain import find_build
from builder.commands.failures import report, say
from builder.commands.opened import Engine, opened_engine
from builder.commands.relay import Detached, terminal_size
from builder.commands.sessions import Shown, sit
from builder.commands.values import variables
from builder.errors import OptionError
from builder.execution.debug_shell import StepState, sandbox_in, state_of
from builder.execution.kept_steps import find_kept, kept_id, kept_steps
from builder.records.model import BuildRecord, StepRecord, read_build
from runtime.containers.forwarding import Forwarding
from runtime.containers.terminal_side import TerminalSide
from runtime.errors import CommandNotFound, CommandNotRunnable, ContainerError
from runtime.image.digest import DiffID
from runtime.image.errors import ImageNotFound
from runtime.image.store.store import Store
from runtime.sandbox.spec import SandboxSpec

_SHELL = ("/bin/sh",)
_COMMAND = "lamina.debug.command"


class _WithCommand(click.Command):
    """What comes after `--` is a command of its own, not more arguments."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            place = args.index("--")
            args, ctx.meta[_COMMAND] = args[:place], tuple(args[place + 1 :])
        return super().parse_args(ctx, args)


@click.command(
    "debug",
    cls=_WithCommand,
    short_help="Open a shell in what a step of a build has left.",
    options_metavar="[OPTIONS]",
    # `-2` is a build, not an option.
    context_settings={"ignore_unknown_options": True},
)
@click.option("-e", "--env", "env", multiple=True, metavar="NAME[=VALUE]")
@click.option("-u", "--user", metavar="USER[:GROUP]", help="[default: the step's]")
@click.option("--secret", "secrets_given", multiple=True, metavar="id=ID[,src=FILE|,env=NAME]",
              help="To be in /run/secrets: those of the build are not kept.")  # fmt: skip
@click.option("--list", "listing", is_flag=True, help="List the failed steps that are kept.")
@click.argument("build", required=False, metavar="[BUILD[@STEP]] [-- COMMAND...]")
@click.pass_context
def debug_command(
    ctx: click.Context,
    /,
    env: tuple[str, ...],
    user: str | None,
    secrets_given: tuple[str, ...],
    listing: bool,
    build: str | None,
) -> int:
    """Run COMMAND (or a shell) in the state that a step of a build has left.

    BUILD[@STEP] names them as `lamina explain` does: -1 is the last build, @3 step 3 of it. Without
    STEP it is the step that failed. What is changed where a step failed is kept, and `lamina build
    --resume` goes on from there; anywhere else it is thrown away.
    """
    if build is not None and build.startswith("-") and not build[1:].partition("@")[0].isdigit():
        raise OptionError(f"no such option: {build}")
    command: tuple[str, ...] = ctx.meta.get(_COMMAND, ())
    with opened_engine(ctx.obj) as engine:
        if listing:
            for kept in kept_steps(engine.store):
                click.echo(f"{kept.id[:12]}  {kept.text}")
            return 0
        state = _state(engine.store, build)
        return run_in(
            engine,
            state,
            command,
            env=variables(env, ()),
            user=user,
            secrets_given=dict(secrets(secrets_given)),
        )


def open_shell(root: str, step_id: str) -> int:
    """A shell in what a step has left that has just failed."""
    with opened_engine(root) as engine:
        kept = find_kept(engine.store, step_id)
        if kept is None:
            raise OptionError("what the step has left is not there any more")
        return run_in(engine, state_of(kept), ())


def run_in(
    engine: Engine,
    state: StepState,
    command: tuple[str, ...],
    *,
    env: tuple[tuple[str, str], ...] = (),
    user: str | None = None,
    secrets_given: dict[str, bytes] | None = None,
) -> int:
    """Run a command in a state, in front of the user; its exit status, or 126, 127, 125."""
    terminal = os.isatty(0) and os.isatty(1)
    if not command:
        kept = state.kept is not None
        after = "what you change is kept: lamina build --resume goes on from it" if kept else (
            "what you change is thrown away"
        )  # fmt: skip
        say(f"in {'the failed step' if kept else 'the state after'} {state.text}; {after}")
    try:
        with sandbox_in(
            engine.store,
            state,
            command or _SHELL,
            env=env,
            secrets=secrets_given,
            user=user,
            terminal_size=terminal_size() if terminal else None,
            say=say,
        ) as spec:
            return _in_terminal(engine, spec) if terminal else _direct(engine, spec)
    except ContainerError as error:
        report(error)
        if isinstance(error, CommandNotFound):
            return 127
        return 126 if isinstance(error, CommandNotRunnable) else 125


def _direct(engine: Engine, spec: SandboxSpec) -> int:
    with Forwarding() as forwarding:
        return forwarding.attend(engine.sandbox.start(spec, 0, 1, 2))


def _in_terminal(engine: Engine, spec: SandboxSpec) -> int:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    process = engine.sandbox.start(spec, null, null, null)
    os.close(null)
    assert process.terminal is not None
    side = TerminalSide(process, process.terminal)
    try:
        status = sit(side, shown=Shown(stdin=True), terminal=True, keys=b"", on_signal=process.kill)
    except Detached:
        return 0
    finally:
        side.close()
    return 0 if status is None else status


def _state(store: Store, wanted: str | None) -> StepState:
    """The state that is meant by `BUILD[@STEP]`; `OptionError`."""
    name, at, number = (wanted or "").partition("@")
    if not wanted:
        kept = kept_steps(store)
        if not kept:
            raise OptionError(
                "no failed step is kept",
                hint="lamina debug BUILD@STEP, as lamina explain shows them",
            )
        return state_of(kept[0])
    build = read_build(find_build(store, name or None))
    if build is None:
        raise OptionError("the record of that build is of another version of lamina")
    step = _step(build, number if at else None)
    if step.status == "failed":
        kept_step = find_kept(store, kept_id(step.key))
        if kept_step is None:
            raise OptionError(
                f"what step {step.number} has left is not kept any more",
                hint=f"lamina debug {build.id}@{step.number - 1} is the state before it",
            )
        return state_of(kept_step)
    return _state_after(store, build, step)


def _step(build: BuildRecord, number: str | None) -> StepRecord:
    if number is None:
        failed = [step for step in build.steps if step.status == "failed"]
        if failed or build.steps:
            return failed[0] if failed else build.steps[-1]
        raise OptionError(f"build {build.id} has no steps")
    step = build.step(int(number)) if number.isascii() and number.isdigit() else None
    if step is None:
        last = build.steps[-1].number if build.steps else 0
        raise OptionError(f"build {build.id} has no step {number}", hint=f"they are 1 to {last}")
    return step


def _state_after(store: Store, build: BuildRecord, step: StepRecord) -> StepState:
    """The state after a step that has a layer, or after a FROM."""
    if step.status not in ("base", "cached", "ran"):
        raise OptionError(f"step {step.number} of build {build.id} was not done")
    own, steps = (step, ()) if step.status == "base" else build.below(step)
    if step.status == "base" and step.on is not None:
        own, steps = build.below(StepRecord(
            number=step.number + 1, label=step.label, text="", status="keyed",
        ))  # fmt: skip
    base, env, workdir, user = _base(store, own)
    layers = [*base, *(DiffID(each.diff_id) for each in steps)]
    if step.diff_id and not step.changes_nothing:
        layers.append(DiffID(step.diff_id))
    near = next((each for each in (step, *reversed(steps)) if each.kind == "run"), None)
    host, insecure = True, False
    if near is not None:
        parts = near.components
        env = tuple((name, value) for name, value in json.loads(parts["environment"]))
        workdir, user = parts["workdir"], parts["user"]
        host, insecure = parts["network"] != "none", parts["security"] == "insecure"
    return StepState(
        text=f"#{step.number} {step.text}",
        layers=tuple(layers),
        env=env,
        workdir=workdir,
        user=user,
        host_network=host,
        insecure=insecure,
    )


def _base(
    store: Store, step: StepRecord | None
) -> tuple[tuple[DiffID, ...], tuple[tuple[str, str], ...], str, str]:
    """Layers, environment, directory and user of a stage's base."""
    if step is None or not step.image_id:
        return (), (), "/", ""
    try:
        config = store.image(step.image_id).config
    except ImageNotFound:
        raise OptionError(
            f"the base image {step.base or step.image_id} is no longer in the store",
            hint="build again, which fetches it again",
        ) from None
    own = config.config
    return config.diff_ids, own.env, own.working_dir or "/", own.user
