"""The tools that are installed here, each made ready in a folder of its own."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.layer_tools import TarPipeline, Umoci
from benchmarks.low_level import Crun, Runc
from benchmarks.tools import SEARCH_PATH, Buildah, Docker, Lamina, Podman, Tool

MAKERS: dict[str, Callable[[Path], Tool]] = {
    "lamina": lambda folder: Lamina(folder=folder),
    "buildah": lambda folder: Buildah(folder=folder),
    "podman": lambda folder: Podman(folder=folder),
    "docker": lambda folder: Docker(folder=folder),
    "runc": lambda folder: Runc(folder=folder),
    "crun": lambda folder: Crun(folder=folder),
    "tar": lambda folder: TarPipeline(folder=folder),
    "umoci": lambda folder: Umoci(folder=folder),
}


@dataclass(frozen=True, slots=True)
class Installed:
    """The tools found here, ready to be measured, and the names of those that were not."""

    tools: tuple[Tool, ...]
    missing: tuple[str, ...]


@contextlib.contextmanager
def installed(folder: Path, wanted: tuple[str, ...]) -> Iterator[Installed]:
    """Start what there is of the wanted tools, each in a folder of its own below `folder`."""
    tools: list[Tool] = []
    missing: list[str] = []
    with contextlib.ExitStack() as stack:
        for name in wanted:
            tool = MAKERS[name](folder / name)
            if all(shutil.which(program, path=SEARCH_PATH) for program in tool.programs):
                tool.folder.mkdir()
                stack.enter_context(tool.ready())
                tools.append(tool)
            else:
                missing.append(name)
        yield Installed(tuple(tools), tuple(missing))
