"""crun and runc, as judges."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import probes
from support.cli import LAMINA

_UNIFIED = "/sys/fs/cgroup/unified"


@dataclass(frozen=True, slots=True)
class Runtime:
    """An OCI runtime: the words that run it."""

    name: str
    words: tuple[str, ...]
    state: Path

    def __call__(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        """Run to the end; standard output. Another exit status than 0 fails the test."""
        process = self.tried(*arguments, cwd=cwd)
        assert process.returncode == 0, f"{process.args}\n{process.stdout}\n{process.stderr}"
        return process.stdout

    def tried(
        self, *arguments: str | Path, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The same, whatever becomes of it."""
        # Files, not pipes: the container of `create` keeps its ends after it.
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = subprocess.run(
                [*self.words, "--root", str(self.state), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=cwd,
                timeout=60,
            )
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(
                process.args, process.returncode, out.read(), err.read()
            )

    def run(self, bundle: Path) -> str:
        """What the container of a bundle says."""
        return self("run", "--bundle", bundle, f"t{os.urandom(6).hex()}")


def crun(state: Path) -> Runtime:
    """crun, without the second cgroup hierarchy of hybrid machines: 1.8 refuses beside one."""
    path = probes.need_tool("crun")
    if not os.path.ismount(_UNIFIED):
        return Runtime("crun", (path, "--cgroup-manager=disabled"), state)
    if not probes.is_root():
        probes.unmet("crun refuses this machine's hybrid cgroups, which only root can hide from it")
    return Runtime("crun", ("sh", str(_wrapper(path, state)), "--cgroup-manager=disabled"), state)


def runc(state: Path) -> Runtime:
    return Runtime("runc", (probes.need_tool("runc"),), state)


def own(state: Path) -> Runtime:
    """lamina's own, as one of them."""
    return Runtime("lamina oci", (str(LAMINA), "oci"), state)


def own_program(folder: Path) -> Path:
    """A program that is lamina as a runtime, for who wants one path."""
    script = folder / "lamina-oci"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(str(LAMINA))} oci "$@"\n')
    script.chmod(0o755)
    return script


def crun_program(folder: Path) -> Path:
    """A program that is crun, for who wants one path."""
    return _wrapper(probes.need_tool("crun"), folder)


def _wrapper(path: str, folder: Path) -> Path:
    """A script that runs crun where there is but one hierarchy to see."""
    script = folder / "crun"
    inside = f'umount {_UNIFIED} 2>/dev/null; exec {shlex.quote(path)} "$@"'
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(f'#!/bin/sh\nexec unshare --mount sh -c {shlex.quote(inside)} crun "$@"\n')
    script.chmod(0o755)
    return script


def config_of(bundle: Path) -> dict[str, Any]:
    document = json.loads((bundle / "config.json").read_text())
    assert isinstance(document, dict)
    return document
