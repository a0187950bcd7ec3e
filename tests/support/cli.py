"""The command as its users have it: a process of its own, on a store of its own."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.bases import Base, root_file_system

LAMINA = Path(sys.executable).with_name("lamina")
_Argument = str | Path
# Settings of whoever runs the tests that would change what a build does, or how long it takes.
_OFFLINE = Path(__file__).with_name("offline.toml")
"""Settings under which no registry beyond loopback is asked."""
_NOT_PASSED_ON = (
    "SOURCE_DATE_EPOCH",
    "LAMINA_ROOT",
    "LAMINA_LOG",
    "LAMINA_PROGRESS",
    "PYTHONDONTWRITEBYTECODE",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a command did: its exit status and what it wrote."""

    command: str
    status: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """Everything it wrote, for tests that do not care where to."""
        return self.stdout + self.stderr


@dataclass(frozen=True, slots=True, kw_only=True)
class Lamina:
    """`lamina --root ROOT`, to be called with the rest of its arguments."""

    root: Path
    temporary: Path  # $TMPDIR of every command: must be empty after it

    def __call__(
        self,
        *arguments: _Argument,
        status: int | None = 0,
        stdin: str = "",
        timeout: float = 600,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Outcome:
        """Run to the end. A stack trace, or another exit status than `status`, fails the test."""
        process = subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            env=self.environment(environment),
            cwd=cwd,
        )
        outcome = Outcome(
            command=shlex.join(process.args),
            status=process.returncode,
            stdout=process.stdout,
            stderr=process.stderr,
        )
        return check(outcome, status)

    def start(self, *arguments: _Argument, merged: bool = False) -> subprocess.Popen[str]:
        """Start and leave running: use as a context manager, and reap it.

        With `merged` what it says on standard error comes on standard output too.
        """
        # Whoever runs the tests in the background has ^C ignored, which children inherit.
        return subprocess.Popen(
            ["env", "--default-signal=INT", *self.command(*arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            encoding="utf-8",
            env=self.environment(None),
        )

    def command(self, *arguments: _Argument) -> list[str]:
        """The argument vector."""
        return [str(LAMINA), "--root", str(self.root), *map(str, arguments)]

    def environment(self, more: Mapping[str, str] | None) -> dict[str, str]:
        """The test's own environment, less what would change a build."""
        kept = {k: v for k, v in os.environ.items() if k not in _NOT_PASSED_ON}
        own = {"TMPDIR": str(self.temporary), "LAMINA_REGISTRIES": str(_OFFLINE)}
        return kept | own | dict(more or {})

    def need(self, base: Base) -> None:
        """Import a base image, once a store, whoever asks."""
        self.root.parent.mkdir(parents=True, exist_ok=True)
        marker = self.root.with_name(f"{self.root.name}.{base.script}.imported")
        with marker.open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock.fileno()).st_size:
                return
            changes = [word for change in base.changes for word in ("--change", change)]
            self("import", *changes, root_file_system(base), base.name)
            lock.write("done\n")

    def build(
        self, context: Path, name: str, *options: _Argument, status: int | None = 0
    ) -> Outcome:
        """Build a context under a name; the log, plain, is the outcome's text."""
        return self("build", "--progress", "plain", "-t", name, *options, context, status=status)

    def inspect(self, name: str) -> dict[str, Any]:
        """The image's description, in the form docker gives it."""
        (document,) = json.loads(self("inspect", name).stdout)
        assert isinstance(document, dict)
        return document


def check(outcome: Outcome, status: int | None) -> Outcome:
    """The outcome again, if it is one a user should ever see."""
    told = f"$ {outcome.command}\n{outcome.stdout}\n{outcome.stderr}"
    assert "Traceback (most recent call last)" not in outcome.text, told
    assert "a defect in lamina" not in outcome.text, told
    assert status is None or outcome.status == status, f"exit status {outcome.status}: {told}"
    return outcome
