"""The tools that are measured, each behind the same few verbs.

A tool works in a folder of its own and leaves nothing outside it: its own store, its own
daemon. It is there where its programs are installed; nothing is skipped silently, the report
names the tools that were not.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SEARCH_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class CommandFailed(Exception):
    """A tool did not do what it was told: a figure made of that would mean nothing."""

    def __init__(self, command: list[str], output: str) -> None:
        super().__init__(f"{' '.join(command)}\n{output}")


def call(*words: str | Path, environment: dict[str, str] | None = None) -> str:
    """Run to the end and give standard output."""
    command = [str(word) for word in words]
    process = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=os.environ | (environment or {}),
    )
    if process.returncode != 0:
        raise CommandFailed(command, process.stdout + process.stderr)
    return process.stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """What a workload asks of a tool; `verbs` says which of these it has."""

    folder: Path
    name: str
    programs: tuple[str, ...]
    verbs: frozenset[str] = frozenset({"build", "run"})
    from_line: str = "FROM base"
    image: str = "base"
    options: tuple[str, ...] = ("--network", "none")  # of `run`

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Whatever must go on while the tool is used."""
        yield

    def version(self) -> str:
        """One line that says which program this is."""
        raise NotImplementedError

    def base(self, rootfs: Path) -> None:
        """Make the base image of a root file system's tar."""
        raise NotImplementedError

    def build(self, context: Path, tag: str, *, cached: bool) -> None:
        """Build a context; without `cached`, run every step."""
        raise NotImplementedError

    def archive(self, context: Path, destination: Path) -> None:
        """Build a context with what is cached, and write the image as an OCI archive."""
        raise NotImplementedError

    def pack(self, tree: Path, folder: Path) -> None:
        """Make a layer of a tree in an empty folder: a gzip blob, its digest, its diff ID."""
        raise NotImplementedError

    def unpack(self, layout: Path, folder: Path) -> None:
        """Make a tree, in an empty folder, of the one layer of the image in a layout."""
        raise NotImplementedError

    def run(self, *command: str) -> None:
        """Start a container of the base image, without network, and wait for it."""
        raise NotImplementedError

    def detach(self, number: int) -> None:
        """Start so many containers in the background at once, without network."""
        words = self.command("run", "-d", *self.options, self.image, "sleep", "1000")
        processes = [
            subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                env=os.environ | self.variables(),
            )
            for _ in range(number)
        ]
        said = [process.communicate()[1] for process in processes]
        failed = [said[n] for n, process in enumerate(processes) if process.returncode]
        if failed:
            raise CommandFailed(words, f"{len(failed)} of {number} failed: {failed[0]}")

    def remove_all(self) -> None:
        """Remove every container there is."""
        words = self.command("ps", "-aq")
        found = call(*words, environment=self.variables()).split()
        if found:
            call(*self.command("rm", "-f", *found), environment=self.variables())

    def command(self, *words: str | Path) -> list[str]:
        """The whole command line of one of the tool's commands."""
        raise NotImplementedError

    def variables(self) -> dict[str, str]:
        """What its commands need in their environment."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lamina(Tool):
    """This project, as installed in the interpreter that runs the benchmark."""

    name: str = "lamina"
    programs: tuple[str, ...] = ()
    verbs: frozenset[str] = frozenset({"build", "run", "detach", "archive", "pack", "unpack"})

    def command(self, *words: str | Path) -> list[str]:
        program = Path(sys.executable).with_name("lamina")
        return [str(word) for word in (program, "--root", self.folder / "store", *words)]

    def _call(self, *words: str | Path) -> str:
        return call(*self.command(*words))

    def version(self) -> str:
        return self._call("--version").strip()

    def base(self, rootfs: Path) -> None:
        self._call("import", "--change", 'CMD ["sh"]', rootfs, "base")

    def build(self, context: Path, tag: str, *, cached: bool) -> None:
        self._call("build", "-t", tag, *([] if cached else ["--no-cache"]), context)

    def archive(self, context: Path, destination: Path) -> None:
        self._call("build", "--output", f"type=oci,dest={destination}", context)

    def pack(self, tree: Path, folder: Path) -> None:
        call(sys.executable, "-m", "benchmarks.layer_jobs", "pack", tree, folder / "blob")

    def unpack(self, layout: Path, folder: Path) -> None:
        call(sys.executable, "-m", "benchmarks.layer_jobs", "unpack", layout, folder)

    def run(self, *command: str) -> None:
        self._call("run", "--rm", "--network", "none", "base", *command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Buildah(Tool):
    """`buildah build --isolation chroot --layers`: its lightest isolation, with its cache."""

    name: str = "buildah"
    programs: tuple[str, ...] = ("buildah",)
    verbs: frozenset[str] = frozenset({"build", "archive", "pack"})
    from_line: str = "FROM localhost/base"
    image: str = "localhost/base"

    def command(self, *words: str | Path) -> list[str]:
        stores: tuple[str | Path, ...] = ("--root", self.folder / "root")
        stores += ("--runroot", self.folder / "run")
        return [str(word) for word in (self.name, *stores, "--storage-driver", "overlay", *words)]

    def _call(self, *words: str | Path) -> str:
        return call(*self.command(*words))

    def version(self) -> str:
        return call(self.name, "--version").strip()

    def base(self, rootfs: Path) -> None:
        context = self.folder / "base"
        context.mkdir()
        shutil.copy(rootfs, context / "rootfs.tar")
        (context / "Dockerfile").write_text('FROM scratch\nADD rootfs.tar /\nCMD ["sh"]\n')
        self.build(context, "base", cached=False)

    def build(self, context: Path, tag: str, *, cached: bool) -> None:
        self._build(context, f"localhost/{tag}", *([] if cached else ["--no-cache"]))

    def archive(self, context: Path, destination: Path) -> None:
        self._build(context, f"oci-archive:{destination}")

    def _build(self, context: Path, name: str, *options: str) -> None:
        isolation = ("--isolation", "chroot", "--layers", "--quiet")
        self._call("build", *isolation, *options, "-t", name, context)

    def pack(self, tree: Path, folder: Path) -> None:
        container = self._call("from", "scratch").strip()
        self._call("add", "--quiet", container, tree, "/")
        self._call("commit", "--quiet", "--rm", container, f"oci:{folder}:layer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Podman(Buildah):
    """The same build in podman, and its `run`."""

    name: str = "podman"
    programs: tuple[str, ...] = ("podman",)
    verbs: frozenset[str] = frozenset({"build", "run", "detach", "unpack"})
    # Its own limits are beyond what a root without CAP_SYS_RESOURCE may set.
    options: tuple[str, ...] = (
        "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096",
    )  # fmt: skip

    def command(self, *words: str | Path) -> list[str]:
        first, *rest = Buildah.command(self, *words)
        # crun 1.8 refuses hybrid control groups.
        hybrid = Path("/sys/fs/cgroup/unified").is_dir() and shutil.which("runc", path=SEARCH_PATH)
        return [first, *(["--runtime", "runc"] if hybrid else []), *rest]

    def unpack(self, layout: Path, folder: Path) -> None:
        stores: tuple[str | Path, ...] = ("--root", folder / "root")
        stores += ("--runroot", self.folder / "run")  # of at most 50 characters
        options = ("--storage-driver", "overlay", "pull", "--quiet")
        call("podman", *stores, *options, f"oci:{layout}:layer")

    def run(self, *command: str) -> None:
        self._call("run", "--rm", *self.options, self.image, *command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Docker(Tool):
    """Docker's classic builder and `run`, on a daemon of the benchmark's own."""

    name: str = "docker"
    programs: tuple[str, ...] = ("docker", "dockerd")
    verbs: frozenset[str] = frozenset({"build", "run", "detach"})

    def command(self, *words: str | Path) -> list[str]:
        client = shutil.which("docker", path="/usr/bin") or "docker"
        return [client, *map(str, words)]

    def variables(self) -> dict[str, str]:
        return {"DOCKER_HOST": self._host, "DOCKER_BUILDKIT": "0"}

    def _call(self, *words: str | Path) -> str:
        return call(*self.command(*words), environment=self.variables())

    @property
    def _host(self) -> str:
        return f"unix://{self.folder}/socket"

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """The daemon runs, in a mount namespace that takes what it leaves mounted with it."""
        (self.folder / "daemon.json").write_text("{}")
        options = {
            "--config-file": self.folder / "daemon.json",
            "--data-root": self.folder / "data",
            "--exec-root": self.folder / "exec",
            "--pidfile": self.folder / "pid",
            "--host": self._host,
            "--bridge": "none",
        }
        words = [f"{name}={value}" for name, value in options.items()]
        own_mounts = ["unshare", "--mount", "--propagation", "slave"]
        with (
            (self.folder / "log").open("wb") as log,
            subprocess.Popen(
                [*own_mounts, "dockerd", *words, "--iptables=false", "--ip6tables=false"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"PATH": SEARCH_PATH},
            ) as process,
        ):
            try:
                self._wait()
                yield
            finally:
                process.terminate()
                process.wait()  # after ^C, Popen itself would not

    def _wait(self) -> None:
        for _ in range(300):
            with contextlib.suppress(CommandFailed):
                self._call("version")
                return
            time.sleep(0.1)
        raise CommandFailed(["dockerd"], (self.folder / "log").read_text())

    def version(self) -> str:
        server = self._call("version", "--format", "{{.Server.Version}}").strip()
        return f"docker {server} (classic builder)"

    def base(self, rootfs: Path) -> None:
        self._call("import", "--change", 'CMD ["sh"]', rootfs, "base")

    def build(self, context: Path, tag: str, *, cached: bool) -> None:
        cache = [] if cached else ["--no-cache"]
        self._call("build", *cache, "--network", "none", "--quiet", "-t", tag, context)

    def run(self, *command: str) -> None:
        self._call("run", "--rm", "--network", "none", "base", *command)
