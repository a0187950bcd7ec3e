"""Nodes back to the text of a Dockerfile.

What is printed parses to equal nodes. Layout is the printer's own: one line an instruction,
keywords in capitals, flags in a fixed order, comments kept above their instruction.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from grammar.blanks import BLANKS
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
    StopSignal,
    User,
    Volume,
    Workdir,
)

_PLAIN_PATH = re.compile(f"(?![0-9]*<<)[^\n{BLANKS}]+")
_UNITS = (("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000))
_SMALL_UNITS = (("ms", 1_000_000), ("us", 1_000), ("ns", 1))

Flag = tuple[str, str | int | bool | None]


def print_dockerfile(dockerfile: Dockerfile) -> str:
    """The text of a Dockerfile."""
    escape = dockerfile.escape
    directives = dict(dockerfile.directives)
    if directives.get("escape", "\\") != escape:
        directives["escape"] = escape
    paragraphs = ["".join(f"# {key}={value}\n" for key, value in directives.items())]
    paragraphs.append("".join(print_instruction(arg, escape) for arg in dockerfile.arguments))
    for stage in dockerfile.stages:
        instructions = (stage.base, *stage.instructions)
        paragraphs.append("".join(print_instruction(node, escape) for node in instructions))
    text = "\n".join(filter(None, paragraphs))
    # A comment at the very top could be read as a directive; a blank line ends their zone.
    return "\n" + text if text.startswith("#") and not directives else text


def print_instruction(node: Instruction, escape: str = "\\") -> str:
    """The text of one instruction, with its comments and heredocs, ended by a newline."""
    comments = "".join(f"# {comment}".rstrip() + "\n" for comment in node.comments)
    line, bodies = _instruction(node, escape)
    return f"{comments}{line}{_end(line, escape)}\n{bodies}"


def _instruction(node: Instruction, escape: str) -> tuple[str, str]:
    """The line of an instruction, and the heredoc bodies that follow it."""
    match node:
        case Onbuild(text=text):
            line, newline, bodies = text.partition("\n")
            return f"ONBUILD {line}", bodies + newline
        case Run(command=command, heredocs=heredocs):
            flags = [("mount", mount) for mount in node.mounts]
            settings: list[Flag] = [("network", node.network), ("security", node.security)]
            devices = [("device", device) for device in node.devices]
            line = _line("RUN", [*flags, *settings, *devices], _command(command), escape)
            return line, "".join(map(_body, heredocs))
        case Copy() | Add():
            heredocs = tuple(source for source in node.sources if isinstance(source, Heredoc))
            words = [*node.sources, node.destination]
            keyword = "COPY" if isinstance(node, Copy) else "ADD"
            line = _line(keyword, _copy_flags(node), _words(words), escape)
            return line, "".join(map(_body, heredocs))
        case _:
            return _simple(node, escape), ""


def _simple(
    node: From
    | Arg
    | Env
    | Label
    | Cmd
    | Entrypoint
    | SetShell
    | Workdir
    | User
    | Expose
    | Volume
    | StopSignal
    | Maintainer
    | Healthcheck,
    escape: str,
) -> str:
    """The line of an instruction that has no heredocs."""
    match node:
        case From(image=image, platform=platform):
            name = node.written_name or node.name
            rest = image if name is None else f"{image} AS {name}"
            return _line("FROM", [("platform", platform)], rest, escape)
        case Arg(pairs=arguments):
            words = (key if value is None else f"{key}={value}" for key, value in arguments)
            return _line("ARG", [], " ".join(words), escape)
        case Env(pairs=pairs, legacy=legacy):
            return _line("ENV", [], _pairs(pairs, legacy, escape), escape)
        case Label(pairs=pairs, legacy=legacy):
            return _line("LABEL", [], _pairs(pairs, legacy, escape), escape)
        case Cmd(command=command):
            return _line("CMD", [], _command(command), escape)
        case Entrypoint(command=command):
            return _line("ENTRYPOINT", [], _command(command), escape)
        case SetShell(argv=argv):
            return _line("SHELL", [], _array(argv), escape)
        case Workdir(path=path):
            return _line("WORKDIR", [], path, escape)
        case User(user=user):
            return _line("USER", [], user, escape)
        case Expose(ports=ports):
            return _line("EXPOSE", [], " ".join(ports), escape)
        case Volume(paths=paths):
            return _line("VOLUME", [], _words(paths), escape)
        case StopSignal(signal=signal):
            return _line("STOPSIGNAL", [], signal, escape)
        case Maintainer(name=author):
            return _line("MAINTAINER", [], author, escape)
        case Healthcheck(command=probe):
            if probe is None:
                return "HEALTHCHECK NONE"
            flags: list[Flag] = [
                ("interval", _duration(node.interval)),
                ("timeout", _duration(node.timeout)),
                ("start-period", _duration(node.start_period)),
                ("start-interval", _duration(node.start_interval)),
                ("retries", node.retries),
            ]
            return _line("HEALTHCHECK", flags, f"CMD {_command(probe)}", escape)


def _line(keyword: str, flags: Iterable[Flag], rest: str, escape: str) -> str:
    """An instruction with its flags; `None` and `False` are flags that were not given."""
    words = [keyword]
    for name, value in flags:
        if value is True:
            words.append(f"--{name}")
        elif value is not None and value is not False:
            words.append(f"--{name}={_escaped(str(value), escape)}")
    if rest.startswith("--"):
        words.append("--")
    return " ".join((*words, rest))


def _copy_flags(node: Copy | Add) -> list[Flag]:
    flags: list[Flag] = [("chown", node.chown), ("chmod", node.chmod), ("link", node.link)]
    match node:
        case Copy(from_=stage, parents=parents):
            flags = [("from", stage), *flags, ("parents", parents)]
        case Add(checksum=checksum):
            flags.append(("checksum", checksum))
            given = (("keep-git-dir", node.keep_git_dir), ("unpack", node.unpack))
            flags += [(name, str(is_on).lower()) for name, is_on in given if is_on is not None]
    return [*flags, *(("exclude", pattern) for pattern in node.exclude)]


def _escaped(value: str, escape: str) -> str:
    special = f"[{BLANKS}\"'{re.escape(escape)}]"
    return re.sub(special, lambda match: escape + match[0], value)


def _command(command: Command) -> str:
    match command:
        case Shell(text):
            return text
        case Exec(argv):
            return _array(argv)


def _array(strings: Iterable[str]) -> str:
    return json.dumps(list(strings), ensure_ascii=False)


def _words(words: Iterable[str | Heredoc]) -> str:
    """Paths and heredocs; as an array where blanks could not separate them."""
    given = list(words)
    paths = [word for word in given if isinstance(word, str)]
    plain = all(map(_PLAIN_PATH.fullmatch, paths)) and not paths[0].startswith("[")
    if not plain and len(paths) == len(given):
        return _array(paths)
    return " ".join(word if isinstance(word, str) else _announcement(word) for word in given)


def _announcement(heredoc: Heredoc) -> str:
    """The `<<NAME` of a heredoc."""
    name = heredoc.name
    if heredoc.expand:
        name = re.sub(f"[{BLANKS}\"'\\\\]", r"\\\g<0>", name)
    elif "'" in name:
        name = '"' + re.sub(r'["$\\]', r"\\\g<0>", name) + '"'
    else:
        name = f"'{name}'"
    return f"{heredoc.fd or ''}<<{'-' if heredoc.chomp else ''}{name}"


def _body(heredoc: Heredoc) -> str:
    return f"{heredoc.content}{heredoc.name}\n"


def _pairs(pairs: tuple[tuple[str, str], ...], legacy: bool, escape: str) -> str:
    if legacy:
        ((key, value),) = pairs
        return f"{key}{_end(key, escape)} {value}"
    return " ".join(f"{key}={value}" for key, value in pairs)


def _end(text: str, escape: str) -> str:
    """What must follow `text` lest an escape at its end reaches farther: a blank, or nothing.

    At the end of a line an escape would continue that, but for a form feed after it.
    """
    return "\f" if (len(text) - len(text.rstrip(escape))) % 2 else ""


def _duration(nanoseconds: int | None) -> str | None:
    """A duration in its largest whole unit, like `90s`; hours and minutes where they are whole."""
    if nanoseconds is None:
        return None
    for unit, size in (*_UNITS, *_SMALL_UNITS):
        if nanoseconds % size == 0 and (nanoseconds or unit == "s"):
            return f"{nanoseconds // size}{unit}"
    raise AssertionError("every number of nanoseconds is whole")
