"""From lark's tree to the nodes: one method for each rule of the grammar.

What the grammar cannot say is checked here: flags, how many arguments there are, names that
must not be blank. Errors are raised with the place of the token they are about.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn, TypedDict, cast

from lark import Token, Transformer, v_args

from grammar.errors import DockerfileError, quoted
from grammar.flags import Flags, read_flags, split_flags
from grammar.healthcheck import read_interval, read_retries
from grammar.json_form import NotOnlyStrings, parse_array
from grammar.nodes import (
    Add,
    Arg,
    Cmd,
    Command,
    Copy,
    Dockerfile,
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
from grammar.scan import Scanned

_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*")

_RULES = (
    *("dockerfile", "stage", "instruction", "exec_form", "shell_form", "legacy_pair"),
    *("base", "add", "arg", "cmd", "copy", "entrypoint", "env", "expose", "healthcheck"),
    *("label", "maintainer", "onbuild", "run", "shell", "stopsignal", "user", "volume", "workdir"),
)

Pairs = tuple[tuple[str, str], ...]


class _Common(TypedDict):
    """The fields every node has."""

    source: str
    span: Span
    comments: tuple[str, ...]


class _LegacyPair(tuple[str, str]):
    """The one pair of `ENV NAME VALUE`."""


@v_args(inline=True)
class NodeTransformer(Transformer[Token, Dockerfile | Instruction]):
    """Makes nodes of the tree of one scanned text. Raises `DockerfileError`."""

    def __init__(self, scanned: Scanned, name: str) -> None:
        super().__init__(visit_tokens=False)
        self._scanned = scanned
        self._name = name
        # lark wraps a method each time it looks one up, which costs more than most methods do.
        for rule in _RULES:
            setattr(self, rule, getattr(self, rule))

    def __default__(self, data: str, children: list[Any], meta: Any) -> NoReturn:
        raise AssertionError(f"no method makes a node of the rule {data}")

    def dockerfile(self, *parts: Arg | tuple[From, tuple[Instruction, ...]]) -> Dockerfile:
        arguments = tuple(part for part in parts if isinstance(part, Arg))
        stages = [part for part in parts if not isinstance(part, Arg)]
        return Dockerfile(
            arguments=arguments,
            stages=tuple(
                Stage(index=index, base=base, instructions=instructions)
                for index, (base, instructions) in enumerate(stages)
            ),
            escape=self._scanned.escape,
            directives=self._scanned.directives,
            warnings=self._scanned.warnings,
        )

    def stage(self, base: From, *rest: Instruction) -> tuple[From, tuple[Instruction, ...]]:
        return base, rest

    def instruction(self, instruction: Instruction) -> Instruction:
        return instruction

    # ---- instructions ----

    def base(self, keyword: Token, flags: Token | None, image: Token, name: Token | None) -> From:
        lowered = None if name is None else name.lower()
        if name is not None and lowered is not None and not _STAGE_NAME.fullmatch(lowered):
            raise DockerfileError(
                f"invalid name for build stage: {quoted(name)}, "
                "name can't start with a number or contain symbols",
                self._place(name),
            )
        return From(
            **self._common(keyword),
            image=str(image),
            name=lowered,
            platform=self._flags(keyword, flags).one("platform"),
            written_name=None if name is None else str(name),
        )

    def arg(self, keyword: Token, flags: Token | None, *words: Token) -> Arg:
        self._flags(keyword, flags)
        pairs: list[tuple[str, str | None]] = []
        for word in words:
            key, equals, value = word.partition("=")
            if not key:
                raise DockerfileError("ARG names can not be blank", self._place(word))
            pairs.append((key, value if equals else None))
        return Arg(**self._common(keyword), pairs=tuple(pairs))

    def run(self, keyword: Token, flags: Token | None, command: Command) -> Run:
        if command == Exec(()):
            raise self._too_few(keyword)
        given = self._flags(keyword, flags)
        statement = self._scanned.statement(_start(keyword))
        return Run(
            **self._common(keyword),
            command=command,
            heredocs=tuple(heredoc for _, heredoc in statement.heredocs),
            mounts=given.all("mount"),
            network=given.one("network"),
            security=given.one("security"),
            devices=given.all("device"),
        )

    def copy(self, keyword: Token, flags: Token | None, *words: Token | Exec) -> Copy:
        given = self._flags(keyword, flags)
        sources, destination = self._sources_and_destination(keyword, words)
        return Copy(
            **self._common(keyword),
            sources=sources,
            destination=destination,
            from_=given.one("from"),
            chown=given.one("chown"),
            chmod=given.one("chmod"),
            link=given.true("link") is True,
            parents=given.true("parents") is True,
            exclude=given.all("exclude"),
        )

    def add(self, keyword: Token, flags: Token | None, *words: Token | Exec) -> Add:
        given = self._flags(keyword, flags)
        sources, destination = self._sources_and_destination(keyword, words)
        return Add(
            **self._common(keyword),
            sources=sources,
            destination=destination,
            chown=given.one("chown"),
            chmod=given.one("chmod"),
            link=given.true("link") is True,
            exclude=given.all("exclude"),
            checksum=given.one("checksum"),
            keep_git_dir=given.true("keep-git-dir"),
            unpack=given.true("unpack"),
        )

    def env(self, keyword: Token, flags: Token | None, *pairs: Token | _LegacyPair) -> Env:
        read, legacy = self._pairs(keyword, flags, pairs)
        return Env(**self._common(keyword), pairs=read, legacy=legacy)

    def label(self, keyword: Token, flags: Token | None, *pairs: Token | _LegacyPair) -> Label:
        read, legacy = self._pairs(keyword, flags, pairs)
        return Label(**self._common(keyword), pairs=read, legacy=legacy)

    def cmd(self, keyword: Token, flags: Token | None, command: Command) -> Cmd:
        self._flags(keyword, flags)
        return Cmd(**self._common(keyword), command=command)

    def entrypoint(self, keyword: Token, flags: Token | None, command: Command) -> Entrypoint:
        self._flags(keyword, flags)
        return Entrypoint(**self._common(keyword), command=command)

    def shell(self, keyword: Token, flags: Token | None, command: Exec) -> SetShell:
        self._flags(keyword, flags)
        if not command.argv:
            raise self._too_few(keyword)
        return SetShell(**self._common(keyword), argv=command.argv)

    def workdir(self, keyword: Token, flags: Token | None, path: Token) -> Workdir:
        self._flags(keyword, flags)
        return Workdir(**self._common(keyword), path=str(path))

    def user(self, keyword: Token, flags: Token | None, user: Token) -> User:
        self._flags(keyword, flags)
        return User(**self._common(keyword), user=str(user))

    def expose(self, keyword: Token, flags: Token | None, *ports: Token) -> Expose:
        self._flags(keyword, flags)
        return Expose(**self._common(keyword), ports=tuple(map(str, ports)))

    def volume(self, keyword: Token, flags: Token | None, *words: Token | Exec) -> Volume:
        self._flags(keyword, flags)
        paths = tuple(path.strip() for path in self._words(keyword, words))
        if not paths:
            raise self._too_few(keyword)
        if "" in paths:
            message = "VOLUME specified can not be an empty string"
            raise DockerfileError(message, self._place(keyword))
        return Volume(**self._common(keyword), paths=paths)

    def stopsignal(self, keyword: Token, flags: Token | None, signal: Token) -> StopSignal:
        self._flags(keyword, flags)
        return StopSignal(**self._common(keyword), signal=str(signal))

    def maintainer(self, keyword: Token, flags: Token | None, name: Token) -> Maintainer:
        self._flags(keyword, flags)
        return Maintainer(**self._common(keyword), name=str(name))

    def healthcheck(
        self, keyword: Token, flags: Token | None, command: Command | Token
    ) -> Healthcheck:
        given = self._flags(keyword, flags)
        if isinstance(command, Token):  # NONE
            return Healthcheck(**self._common(keyword), command=None)
        if command == Exec(()):
            message = "Missing command after HEALTHCHECK CMD"
            raise DockerfileError(message, self._place(keyword))
        place = self._place(keyword)
        return Healthcheck(
            **self._common(keyword),
            command=command,
            interval=read_interval(given, "interval", place),
            timeout=read_interval(given, "timeout", place),
            start_period=read_interval(given, "start-period", place),
            start_interval=read_interval(given, "start-interval", place),
            retries=read_retries(given, place),
        )

    def onbuild(self, keyword: Token, flags: Token | None, trigger: Instruction) -> Onbuild:
        self._flags(keyword, flags)
        statement = self._scanned.statement(_start(keyword))
        bodies = "".join(f"\n{heredoc.content}{heredoc.name}" for _, heredoc in statement.heredocs)
        return Onbuild(**self._common(keyword), text=trigger.source + bodies, trigger=trigger)

    # ---- arguments ----

    def exec_form(self, array: Token) -> Exec:
        return Exec(parse_array(array) or ())

    def shell_form(self, text: Token) -> Shell:
        self._refuse_other_arrays(text, text)
        return Shell(str(text))

    def legacy_pair(self, name: Token, value: Token) -> _LegacyPair:
        if "=" in name:
            message = (
                f"Syntax error - can't find = in {quoted(name)}. Must be of the form: name=value"
            )
            raise DockerfileError(message, self._place(name))
        return _LegacyPair((str(name), str(value)))

    # ---- helpers ----

    def _common(self, keyword: Token) -> _Common:
        """The fields of the node whose keyword this is, in ONBUILD from the trigger's on."""
        start = _start(keyword)
        statement = self._scanned.statement(start)
        if start == statement.offset:
            return {
                "source": statement.source,
                "span": statement.span,
                "comments": statement.comments,
            }
        line, column = self._scanned.locate(start)
        return {
            "source": statement.source[start - statement.offset :],
            "span": Span(self._name, line, statement.span.last, column),
            "comments": (),
        }

    def _place(self, token: Token) -> Span:
        line, column = self._scanned.locate(_start(token))
        return Span(self._name, line, line, column)

    def _too_few(self, keyword: Token) -> DockerfileError:
        message = f"{keyword.upper()} requires at least one argument"
        return DockerfileError(message, self._place(keyword))

    def _flags(self, keyword: Token, flags: Token | None) -> Flags:
        if flags is None:
            return Flags({})
        written, _ = split_flags(flags, self._scanned.escape)
        return read_flags(keyword.upper(), written, self._place(flags))

    def _refuse_other_arrays(self, text: str, token: Token) -> None:
        try:
            parse_array(text)
        except NotOnlyStrings as error:
            raise DockerfileError(str(error), self._place(token)) from error

    def _words(self, keyword: Token, words: tuple[Token | Exec, ...]) -> tuple[str, ...]:
        """Arguments that are an array or separated by blanks."""
        if words and isinstance(words[0], Exec):
            return words[0].argv
        tokens = cast(tuple[Token, ...], words)
        statement = self._scanned.statement(_start(keyword))
        rest = statement.source[_start(tokens[0]) - statement.offset :]
        self._refuse_other_arrays(rest, tokens[0])
        return tuple(map(str, tokens))

    def _pairs(
        self, keyword: Token, flags: Token | None, pairs: tuple[Token | _LegacyPair, ...]
    ) -> tuple[Pairs, bool]:
        self._flags(keyword, flags)
        if isinstance(pairs[0], _LegacyPair):
            return ((pairs[0][0], pairs[0][1]),), True
        read: list[tuple[str, str]] = []
        for token in cast(tuple[Token, ...], pairs):
            key, _, value = token.partition("=")
            if not key:
                message = f"{keyword.upper()} names can not be blank"
                raise DockerfileError(message, self._place(token))
            read.append((key, value))
        return tuple(read), False

    def _sources_and_destination(
        self, keyword: Token, words: tuple[Token | Exec, ...]
    ) -> tuple[tuple[str | Heredoc, ...], str]:
        if words and isinstance(words[0], Exec):
            arguments: tuple[str | Heredoc, ...] = words[0].argv
        else:
            self._words(keyword, words)
            arguments = self._paths_and_heredocs(keyword, cast(tuple[Token, ...], words))
        instruction = keyword.upper()
        if len(arguments) < 2:
            raise DockerfileError(
                f"{instruction} requires at least two arguments, but only one was provided. "
                "Destination could not be determined",
                self._place(keyword),
            )
        destination = arguments[-1]
        if isinstance(destination, Heredoc):
            message = f"{instruction} cannot accept a heredoc as a destination"
            raise DockerfileError(message, self._place(keyword))
        return arguments[:-1], destination

    def _paths_and_heredocs(
        self, keyword: Token, tokens: tuple[Token, ...]
    ) -> tuple[str | Heredoc, ...]:
        """The words of COPY and ADD; which of them are heredocs, the scan has decided."""
        statement = self._scanned.statement(_start(keyword))
        arguments: list[str | Heredoc] = []
        heredocs = {word.start: (word.end, heredoc) for word, heredoc in statement.heredocs}
        end = 0
        for token in tokens:
            at = _start(token) - statement.offset
            if at in heredocs:
                end, heredoc = heredocs[at]
                arguments.append(heredoc)
            elif at >= end:
                arguments += token.split()
        return tuple(arguments)


def _start(token: Token) -> int:
    start = token.start_pos
    assert start is not None  # every token is from the text
    return start


def transform(tree: Any, scanned: Scanned, name: str) -> Dockerfile | Instruction:
    """The nodes of a tree that lark made of `scanned.text`. Raises `DockerfileError`."""
    from lark.exceptions import VisitError

    try:
        return NodeTransformer(scanned, name).transform(tree)
    except VisitError as error:
        if isinstance(error.orig_exc, DockerfileError):
            raise error.orig_exc from None
        raise
