"""`lamina run` by a remembered start, and `exec` by what is kept beside its container: what of
their arguments is known ahead of the command line.

The options here are all pure: whatever they mean, it follows from their words alone, not from
files, variables, or what else there is at the time. So which of them were given is part of the
name under which a start is remembered, and what they mean is the ordinary command's to say. Any
other argument, and any other form of these, leaves the call to it.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from runtime.containers.quick_exec import Wanted as ExecWanted
    from runtime.containers.wanted import Wanted

FLAGS: Final = frozenset((
    "--init", "--interactive", "--no-healthcheck", "--quiet", "--read-only", "--rm", "-i", "-q",
))  # fmt: skip
VALUES: Final = frozenset((
    "--entrypoint", "--hostname", "--label", "--log-driver", "--log-opt", "--net",
    "--network", "--shm-size", "--stop-signal", "--stop-timeout", "--tmpfs", "--user", "--workdir",
    "-h", "-l", "-u", "-w",
))  # fmt: skip
"""Options with a value, as the next word, or after `=` if they are long."""
EXEC_FLAGS: Final = frozenset(("--interactive", "-i"))
EXEC_VALUES: Final = frozenset(("--env", "--user", "--workdir", "-e", "-u", "-w"))
_NETWORK: Final = ("--net", "--network")
_NETWORKS: Final = ("host", "none")
_VARIABLE: Final = ("-e", "--env")
_NAME: Final = "--name"


def wanted(arguments: Sequence[str]) -> Wanted | None:
    """What the words after `run` ask for; `None` if it is for the command line to say."""
    from runtime.containers.wanted import Wanted

    shape: list[str] = []
    name = None
    env: dict[str, str] = {}
    words = list(arguments)[::-1]
    while words and words[-1].startswith("-"):
        word = words.pop()
        option, equals, value = word.partition("=")
        if word in FLAGS:
            shape.append(word)
            continue
        if equals and not option.startswith("--"):
            return None
        if option not in VALUES and option not in _VARIABLE and option != _NAME:
            return None
        if not equals:
            if not words:
                return None
            value = words.pop()
        if option == _NAME:
            name = value
        elif option in _VARIABLE:
            variable, assigned, content = value.partition("=")
            if not variable or not assigned:
                return None
            env[variable] = content
        elif option in _NETWORK and value not in _NETWORKS:
            return None
        else:
            shape += (option, value)
    if not words or "--rm" not in shape or not set(_NETWORK).intersection(shape):
        return None
    image = words.pop()
    key = "\0".join(("run", str(os.geteuid()), image, *shape))
    return Wanted(key, name, tuple(words[::-1]), tuple(env.items()))


def key_of(arguments: Sequence[str]) -> str | None:
    """Under what the start is remembered that the words after `run` ask for, if it may be."""
    found = wanted(arguments)
    return found.key if found is not None else None


def answer(root: str, arguments: Sequence[str]) -> int | None:
    """Run what is asked for by a remembered start; its exit status, `None` if there is none."""
    asked = wanted(arguments)
    if asked is None:
        return None
    from runtime.containers import quick

    try:
        return quick.run(root, asked)
    except Exception as error:
        from builder.commands.failures import not_started, report
        from runtime.errors import ContainerError
        from runtime.image.errors import ImageError

        expected = isinstance(error, ContainerError | ImageError)
        return not_started(error) if expected else report(error)


def exec_wanted(arguments: Sequence[str]) -> tuple[str, ExecWanted] | None:
    """The container and the command that the words after `exec` name; `None` as `wanted`."""
    from runtime.containers.quick_exec import Wanted as ExecWanted

    asked = ExecWanted((), {})
    words = list(arguments)[::-1]
    while words and words[-1].startswith("-"):
        word = words.pop()
        if word in EXEC_FLAGS:
            asked.interactive = True
            continue
        option, equals, value = word.partition("=")
        if option not in EXEC_VALUES or (equals and not option.startswith("--")):
            return None
        if not equals:
            if not words:
                return None
            value = words.pop()
        if option in _VARIABLE:
            variable, assigned, content = value.partition("=")
            if not variable or not assigned:
                return None
            asked.env[variable] = content
        elif option in ("-w", "--workdir"):
            asked.cwd = value
        else:
            asked.user = value
    if len(words) < 2:
        return None
    name = words.pop()
    asked.command = tuple(words[::-1])
    return name, asked


def answer_exec(root: str, arguments: Sequence[str]) -> int | None:
    """Execute a command in a container that runs; its exit status, `None` as `answer`."""
    asked = exec_wanted(arguments)
    if asked is None:
        return None
    from runtime.containers.quick_exec import find
    from runtime.errors import CommandNotFound, ContainerError, SandboxUnavailable

    name, wanted = asked
    try:
        found = find(root, name)
        if found is None or not found.is_ready():
            return None
        return found.execute(wanted)
    except Exception as error:
        from builder.commands.failures import report

        status = report(error)
        if not isinstance(error, ContainerError) or isinstance(error, SandboxUnavailable):
            return status
        return 127 if isinstance(error, CommandNotFound) else 126
