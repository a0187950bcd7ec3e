"""A container that is asked for, and where the start that it may be had by is remembered.

Imported ahead of every `lamina run`, before it is known whether there is one: it imports nothing.
"""

from __future__ import annotations

from binascii import crc32

TYPE_CHECKING = False
if TYPE_CHECKING:
    Pairs = tuple[tuple[str, str], ...]


class Wanted:
    """A container that is asked for: `key` says how, but for its name, words and variables."""

    __slots__ = ("command", "env", "key", "name")

    def __init__(self, key: str, name: str | None, command: tuple[str, ...], env: Pairs) -> None:
        self.key = key
        self.name = name
        self.command = command
        self.env = env


def start_path(containers: str, key: str) -> str:
    """Where the start that was asked for so is remembered, if it is."""
    data = key.encode("utf-8", "surrogateescape")
    return f"{containers}/starts/{crc32(data):08x}{len(data):x}"
