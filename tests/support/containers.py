"""Containers of a test: named apart from those of others, and removed whatever happens."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from support.cli import Lamina, Outcome


@dataclass(frozen=True, slots=True)
class Containers:
    """Containers in a store that others use too."""

    lamina: Lamina
    prefix: str = field(default_factory=lambda: f"t{os.urandom(4).hex()}")

    def name(self, name: str) -> str:
        """A name that no other test has."""
        return f"{self.prefix}-{name}"

    def detached(self, name: str, *words: str, image: str = "busybox") -> str:
        """Run in the background; `words` are options up to `--`, if that is there, then the
        command. Gives the whole name."""
        options, command = _split(words)
        self.lamina("run", "-d", "--name", self.name(name), *options, image, *command)
        return self.name(name)

    def sh(self, name: str, script: str, *options: str) -> str:
        """Run a script in the background."""
        return self.detached(name, *options, "--", "sh", "-c", script)

    def inspect(self, name: str) -> dict[str, Any]:
        (document,) = json.loads(self.lamina("inspect", "--type", "container", name).stdout)
        assert isinstance(document, dict)
        return document

    def state(self, name: str) -> dict[str, Any]:
        state = self.inspect(name)["State"]
        assert isinstance(state, dict)
        return state

    def listed(self, *options: str) -> list[str]:
        """The names that `ps` shows of ours."""
        words = ("ps", "--filter", f"name={self.prefix}", "--format", "{{.Names}}", *options)
        return self.lamina(*words).stdout.split()

    def logs(self, name: str, *options: str) -> str:
        return self.lamina("logs", *options, name).stdout

    def remove_all(self) -> None:
        names = self.listed("-a")
        if names:
            self.lamina("rm", "-f", "-v", *names)

    def ended(self, name: str) -> Outcome:
        """Wait until it has ended."""
        return self.lamina("wait", name, timeout=60)


def _split(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if "--" not in words:
        return (), words
    place = words.index("--")
    return words[:place], words[place + 1 :]


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    """Return when something has become true; fail if it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)
