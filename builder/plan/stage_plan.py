"""Planning one stage: instruction by instruction, from nodes to steps and a config.

`StagePlanner` holds what an instruction can change (`config`, `scope`); each kind of
instruction has a method that expands it, changes that, and adds a step.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, assert_never

from builder.errors import PlanError
from builder.plan import history
from builder.plan.add_sources import Source, added_sources, refuse_remote
from builder.plan.chmod import InvalidMode, parse_chmod
from builder.plan.health import health_of
from builder.plan.heredocs import heredoc_file, run_argv
from builder.plan.mounts import MountError, parse_mount
from builder.plan.paths import clean_path, destination_path
from builder.plan.ports import PortError, parse_ports
from builder.plan.remote_names import RemoteNameError
from builder.plan.run_modes import network_mode, security_mode
from builder.plan.signals import valid_signal
from builder.plan.steps import (
    Base,
    BindRequest,
    CacheRequest,
    ConfigStep,
    CopyStep,
    FromContext,
    FromStage,
    Input,
    MountRequest,
    PlannedStage,
    PlannedStep,
    RunStep,
    StageBase,
    Step,
    WorkdirStep,
)
from builder.plan.variables import Pairs, Scope, proxy_variables, updated
from grammar import parse_instruction
from grammar.errors import DockerfileError, WordError
from grammar.nodes import (
    Add,
    Arg,
    Cmd,
    Command,
    Copy,
    Entrypoint,
    Env,
    Exec,
    Expose,
    From,
    Healthcheck,
    Heredoc,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Run,
    SetShell,
    Shell,
    Span,
    Stage,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from grammar.words import expand, expand_words
from runtime.image.model import ImageConfig

DEFAULT_SHELL = ("/bin/sh", "-c")

FindInput = Callable[[str, Span, bool], Input]
"""From the name in a `--from`, where it stands, and whether a number is a stage's index."""


class StagePlanner:
    """Plans the instructions of one stage, in order."""

    def __init__(
        self,
        stage: Stage,
        *,
        config: ImageConfig,
        scope: Scope,
        escape: str,
        global_arguments: Mapping[str, str],
        build_args: Mapping[str, str],
        epoch: int,
        find_input: FindInput,
    ) -> None:
        self._stage = stage
        self._image = config
        self.scope = scope
        self._escape = escape
        self._globals = global_arguments
        self._build_args = build_args
        self._epoch = epoch
        self._find_input = find_input
        self._steps: list[PlannedStep] = []
        self._needs: set[int] = set()
        self._cmd_set = False
        self._onbuild = 0

    def finish(self, *, base: Base, name: str) -> PlannedStage:
        """Plan the triggers of the base and then the stage's own instructions."""
        if isinstance(base, StageBase):
            self._needs.add(base.index)
        for trigger in self._triggers():
            self._instruction(trigger)
        self._cmd_set = False
        for instruction in self._stage.instructions:
            self._instruction(instruction)
        node = self._stage.base
        return PlannedStage(
            index=self._stage.index,
            name=name,
            base=base,
            span=node.span,
            text=" ".join(node.source.split()),
            steps=tuple(self._steps),
            config=self._image,
            epoch=self._epoch,
            needs=tuple(sorted(self._needs)),
        )

    def _triggers(self) -> list[Instruction]:
        """The base's ONBUILD instructions; they fire once and are then gone."""
        texts = self._image.config.on_build
        self._configure(on_build=())
        try:
            return [
                replace(parse_instruction(text, "ONBUILD"), span=self._stage.base.span)
                for text in texts
            ]
        except DockerfileError as error:
            raise PlanError(
                f"the base image has an ONBUILD that cannot be read: {error.message}",
                span=self._stage.base.span,
            ) from error

    # ---- dispatch

    def _instruction(self, node: Instruction) -> None:
        match node:
            case Run():
                self._run(node)
            case Copy() | Add():
                self._copy(node)
            case Workdir():
                self._workdir(node)
            case Env():
                values = self._expanded_pairs(node.pairs, node)
                self.scope = self.scope.with_env(values)
                self._configure(env=updated(self._image.config.env, values))
                self._add(node, ConfigStep(), history.pairs("ENV", values))
            case Arg():
                self._argument(node)
            case Label():
                values = self._expanded_pairs(node.pairs, node)
                self._configure(labels=updated(self._image.config.labels, values))
                self._add(node, ConfigStep(), history.pairs("LABEL", values))
            case Cmd():
                argv = self._argv(node.command)
                self._cmd_set = True
                self._configure(cmd=argv, args_escaped=True)
                self._add(node, ConfigStep(), history.quoted("CMD", argv))
            case Entrypoint():
                argv = self._argv(node.command)
                kept = {} if self._cmd_set else {"cmd": None}
                self._configure(entrypoint=argv or None, **kept)
                self._add(node, ConfigStep(), history.quoted("ENTRYPOINT", argv))
            case SetShell():
                self._configure(shell=node.argv)
                self._add(node, ConfigStep(), history.listed("SHELL", node.argv))
            case User():
                user = self._expanded(node.user, node)
                self._configure(user=user)
                self._add(node, ConfigStep(), f"USER {user}")
            case Expose():
                self._expose(node)
            case Volume():
                self._volume(node)
            case StopSignal():
                self._stop_signal(node)
            case Maintainer():
                self._image = replace(self._image, author=node.name)
                self._add(node, ConfigStep(), f"MAINTAINER {node.name}")
            case Healthcheck():
                self._healthcheck(node)
            case Onbuild():
                self._configure(on_build=(*self._image.config.on_build, node.text))
            case From():
                raise PlanError("FROM isn't allowed as an ONBUILD trigger", span=node.span)
            case _:
                assert_never(node)

    # ---- instructions that make layers

    def _run(self, node: Run) -> None:
        argv, scripts = run_argv(node, self._shell())
        mounts = tuple(self._mount(text, number, node) for number, text in enumerate(node.mounts))
        if node.devices:
            raise PlanError("RUN --device is not supported yet", span=node.span)
        environment = self.scope.variables
        if "SOURCE_DATE_EPOCH" not in dict(environment):
            environment = (*environment, ("SOURCE_DATE_EPOCH", str(self._epoch)))
        step = RunStep(
            argv=argv,
            env=environment,
            workdir=self._image.config.working_dir or "/",
            user=self._image.config.user,
            network=network_mode(node),
            security=security_mode(node),
            mounts=mounts,
            scripts=scripts,
            proxies=proxy_variables(self._build_args, self.scope.arguments),
            arguments=tuple(name for name, _ in self.scope.arguments),
        )
        self._add(node, step, history.run(argv, self.scope.arguments))

    def _mount(self, text: str, number: int, node: Run) -> MountRequest:
        try:
            mount = parse_mount(
                text,
                workdir=self._image.config.working_dir or "/",
                number=number,
                expand=lambda word: self._expanded(word, node),
                find_input=lambda name: self._find_input(name, node.span, False),
            )
        except MountError as error:
            raise PlanError(str(error), span=node.span) from error
        if isinstance(mount, BindRequest | CacheRequest) and isinstance(mount.input, FromStage):
            self._needs.add(mount.input.index)
        return mount

    def _copy(self, node: Copy | Add) -> None:
        keyword = type(node).__name__.upper()
        named = tuple(self._source(source, node) for source in node.sources)
        sources = self._told_apart(node, named)
        written = self._expanded(node.destination, node)
        destination = destination_path(self._image.config.working_dir, written)
        chown = None if node.chown is None else self._expanded(node.chown, node)
        chmod = None if node.chmod is None else self._expanded(node.chmod, node)
        if chmod is not None:
            try:
                parse_chmod(chmod)
            except InvalidMode as error:
                raise PlanError(str(error), span=node.span) from error
        input_: Input = FromContext()
        parents = False
        unpack: bool | None = None
        if isinstance(node, Copy):
            parents = node.parents
            if node.from_ is not None:
                input_ = self._find_input(node.from_, node.span, True)
        else:
            unpack = node.unpack is not False
        if isinstance(input_, FromStage):
            self._needs.add(input_.index)
        step = CopyStep(
            sources=sources,
            destination=destination,
            input=input_,
            chown=chown,
            chmod=chmod,
            link=node.link,
            parents=parents,
            exclude=node.exclude,
            unpack=unpack,
        )
        created_by = history.copy(
            keyword, named, written, parents=parents, chown=chown, chmod=chmod
        )
        self._add(node, step, created_by)

    def _source(self, source: str | Heredoc, node: Copy | Add) -> str | Heredoc:
        if isinstance(source, str):
            return self._expanded(source, node)
        try:
            return heredoc_file(source, dict(self.scope.variables))
        except WordError as error:
            raise PlanError(str(error), span=node.span) from error

    def _told_apart(self, node: Copy | Add, named: tuple[str | Heredoc, ...]) -> tuple[Source, ...]:
        try:
            if isinstance(node, Copy):
                refuse_remote(named)
                return named
            checksum = None if node.checksum is None else self._expanded(node.checksum, node)
            return added_sources(
                named, checksum=checksum, keep_git_dir=node.keep_git_dir, unpack=node.unpack
            )
        except RemoteNameError as error:
            raise PlanError(str(error), span=node.span) from error

    def _workdir(self, node: Workdir) -> None:
        text = self._expanded(node.path, node)
        path = clean_path(posixpath.join(self._image.config.working_dir or "/", text))
        self._configure(working_dir=path)
        step: Step = ConfigStep()
        if path != "/":
            step = WorkdirStep(path=path, user=self._image.config.user)
        self._add(node, step, f"WORKDIR {path}")

    # ---- instructions that change the config

    def _argument(self, node: Arg) -> None:
        given: list[tuple[str, str | None]] = []
        before = self.scope
        for name, default in node.pairs:
            value: str | None = self._build_args.get(name)
            if value is None and default is not None:
                value = self._expand(default, dict(before.variables), node)
            if value is None:
                value = self._globals.get(name)
            self.scope = self.scope.with_argument(name, value)
            given.append((name, value))
        self._add(node, ConfigStep(), history.arguments(given))

    def _expose(self, node: Expose) -> None:
        words: list[str] = []
        for port in node.ports:
            try:
                words += expand_words(port, dict(self.scope.variables), escape=self._escape).words
            except WordError as error:
                raise PlanError(str(error), span=node.span) from error
        try:
            ports = parse_ports(tuple(words))
        except PortError as error:
            raise PlanError(str(error), span=node.span) from error
        known = dict.fromkeys((*self._image.config.exposed_ports, *ports))
        self._configure(exposed_ports=tuple(known))
        self._add(node, ConfigStep(), history.listed("EXPOSE", ports))

    def _volume(self, node: Volume) -> None:
        paths = tuple(self._expanded(path, node) for path in node.paths)
        if not all(path.strip() for path in paths):
            raise PlanError("VOLUME specified can not be an empty string", span=node.span)
        self._configure(volumes=tuple(dict.fromkeys((*self._image.config.volumes, *paths))))
        self._add(node, ConfigStep(), history.listed("VOLUME", paths))

    def _stop_signal(self, node: StopSignal) -> None:
        name = self._expanded(node.signal, node)
        if not valid_signal(name):
            raise PlanError(
                f"invalid signal: {name}", span=node.span, hint="a name like SIGTERM, or a number"
            )
        self._configure(stop_signal=name)
        self._add(node, ConfigStep(), f"STOPSIGNAL {name}")

    def _healthcheck(self, node: Healthcheck) -> None:
        health = health_of(node)
        self._configure(healthcheck=health)
        self._add(node, ConfigStep(), history.healthcheck(health))

    # ---- helpers

    def _add(self, node: Instruction, step: Step, created_by: str) -> None:
        text = " ".join(node.source.split())
        self._steps.append(PlannedStep(step=step, span=node.span, text=text, created_by=created_by))

    def _configure(self, **changes: Any) -> None:
        self._image = replace(self._image, config=replace(self._image.config, **changes))

    def _shell(self) -> tuple[str, ...]:
        return self._image.config.shell or DEFAULT_SHELL

    def _argv(self, command: Command) -> tuple[str, ...]:
        match command:
            case Shell(text):
                return (*self._shell(), text)
            case Exec(argv):
                return argv

    def _expanded(self, word: str, node: Instruction) -> str:
        return self._expand(word, dict(self.scope.variables), node)

    def _expand(self, word: str, variables: Mapping[str, str], node: Instruction) -> str:
        try:
            return expand(word, variables, escape=self._escape).text
        except WordError as error:
            raise PlanError(str(error), span=node.span) from error

    def _expanded_pairs(self, pairs: Pairs, node: Env | Label) -> Pairs:
        """Keys and values, all as they are before this instruction."""
        variables = dict(self.scope.variables)
        return tuple(
            (self._expand(key, variables, node), self._expand(value, variables, node))
            for key, value in pairs
        )
