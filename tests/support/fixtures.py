"""The folders under fixtures/Dockerfiles, read into values."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.bases import REPOSITORY

FOLDER = REPOSITORY / "fixtures" / "Dockerfiles"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedImage:
    """An image to build: its name, the stage it is, what its config must say.

    `options` go to the build, `{folder}` in them is the fixture's. `tree`, where it is given,
    is every path of the image: a letter for its kind, mode, owner, and content or target.
    """

    name: str
    options: tuple[str, ...] = ()
    tree: dict[str, str] | None = None
    target: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    layers: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedRun:
    """A container to start: `lamina run OPTIONS IMAGE COMMAND`, and what comes of it.

    With `signal_after`, `signal` is sent when a line of its output is that.
    """

    image: str
    options: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    stdout: str = ""
    status: int = 0
    signal_after: str | None = None
    signal: str = "SIGTERM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixture:
    """One folder: a context with its Dockerfile, and what is expected of it."""

    path: Path
    images: tuple[ExpectedImage, ...]
    runs: tuple[ExpectedRun, ...]

    @property
    def needs_debian(self) -> bool:
        return "FROM debian" in (self.path / "Dockerfile").read_text()


def _run(
    *, options: list[str] | None = None, command: list[str] | None = None, **rest: Any
) -> ExpectedRun:
    return ExpectedRun(options=tuple(options or ()), command=tuple(command or ()), **rest)


def load(path: Path) -> Fixture:
    """The fixture a folder holds."""
    document = json.loads((path / "expected.json").read_text())
    return Fixture(
        path=path,
        images=tuple(ExpectedImage(**image) for image in document["images"]),
        runs=tuple(_run(**run) for run in document["runs"]),
    )


def valid() -> list[Fixture]:
    """Those that build."""
    return [load(path.parent) for path in sorted(FOLDER.glob("*/expected.json"))]


def invalid() -> list[Path]:
    """Those that do not: each has a `message`, a fragment of what is said to a line."""
    return [path.parent for path in sorted(FOLDER.glob("invalid/*/message"))]
