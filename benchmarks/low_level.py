"""The runtimes below other tools: they run a bundle that was prepared."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tools import Tool, call


@dataclass(frozen=True, slots=True, kw_only=True)
class Runc(Tool):
    """The runtime that docker uses, on a bundle of what lamina would run.

    So with the same system call filter, which it compiles each time; without an overlay, and
    without control groups of the container's own.
    """

    name: str = "runc"
    programs: tuple[str, ...] = ("runc",)
    verbs: frozenset[str] = frozenset({"run"})

    def version(self) -> str:
        return call(self.name, "--version").splitlines()[0]

    def base(self, rootfs: Path) -> None:
        lamina = (Path(sys.executable).with_name("lamina"), "--root", self.folder / "store")
        call(*lamina, "import", rootfs, "base")
        bundle = self.folder / "bundle"
        call(*lamina, "bundle", "--network", "none", "base", bundle, "true")
        specification = json.loads((bundle / "config.json").read_text())
        assert specification["linux"]["seccomp"]["syscalls"]

    def run(self, *command: str) -> None:
        assert command == ("true",), "the bundle says what runs"
        state = ("--root", self.folder / "state")
        call(self.name, *state, "run", "--bundle", self.folder / "bundle", "benchmark")


@dataclass(frozen=True, slots=True, kw_only=True)
class Crun(Runc):
    """The runtime that podman uses, on the same bundle."""

    name: str = "crun"
    programs: tuple[str, ...] = ("crun",)

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """A mount namespace without the second cgroup hierarchy of hybrid machines.

        crun 1.8 refuses to start beside one, even where it is to use no cgroups at all.
        """
        hide = "umount /sys/fs/cgroup/unified 2>&1; echo ready; exec sleep infinity"
        command = ["unshare", "--mount", "sh", "-c", hide]
        with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as process:
            assert process.stdout is not None
            while process.stdout.readline() != "ready\n":
                continue
            (self.folder / "namespace").symlink_to(f"/proc/{process.pid}/ns/mnt")
            try:
                yield
            finally:
                process.kill()
                process.wait()

    def version(self) -> str:
        return call("crun", "--version").splitlines()[0] + " (entered with nsenter, about 1 ms)"

    def run(self, *command: str) -> None:
        assert command == ("true",), "the bundle says what runs"
        enter = ("nsenter", f"--mount={self.folder}/namespace")
        state = ("--root", self.folder / "state", "--cgroup-manager=disabled")
        call(*enter, "crun", *state, "run", "--bundle", self.folder / "bundle", "benchmark")
