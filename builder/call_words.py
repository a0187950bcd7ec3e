"""What a call's first words say: where the store lies, and which command is asked for.

Imported ahead of every call, before it is known whether the command line is: it imports nothing.
"""

from __future__ import annotations

import os


def build_root(arguments: list[str]) -> str | None:
    """The store's root, if a build is asked for: `[--root DIRECTORY] build …`."""
    return _root_of("build", arguments)


def run_words(arguments: list[str]) -> tuple[str, list[str]] | None:
    """The store's root and the words after `run`, if a container is to be run."""
    return words_after("run", arguments)


def words_after(command: str, arguments: list[str]) -> tuple[str, list[str]] | None:
    """The store's root and the words after a command, if it is the one that is asked for."""
    root = _root_of(command, arguments)
    if root is None:
        return None
    before = 3 if arguments[0] == "--root" else 1 if arguments[0] == command else 2
    return root, arguments[before:]


def _root_of(command: str, arguments: list[str]) -> str | None:
    match arguments:
        case [first, *_] if first == command:
            return default_root()
        case ["--root", root, second, *_] if second == command:
            return root
        case [first, second, *_] if second == command and first.startswith("--root="):
            return first.removeprefix("--root=")
        case _:
            return None


def default_root() -> str:
    """Where the store lies (DESIGN §5): the system's for root, the user's own for others."""
    chosen = os.environ.get("LAMINA_ROOT")
    if chosen:
        return chosen
    if os.geteuid() == 0:
        return "/var/lib/lamina"
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(data, "lamina")
