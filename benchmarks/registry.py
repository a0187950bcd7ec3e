"""Pulling and pushing an image of 1 GB in four layers, beside skopeo with umoci, and podman.

    python -m benchmarks.registry [--folder /dev/shm] [--rounds 1]

Prints a table for benchmarks/RESULTS.md. Debian's docker-registry runs on loopback; pulling ends
with an unpacked image, pushing goes to a registry that has nothing. As root.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.tools import call
from benchmarks.trees import make_tree

_LOG = "log: {level: error, accesslog: {disabled: true}}"
LAYERS, FILES, SIZE = 4, 8000, 256 << 20
LAMINA = Path(sys.executable).with_name("lamina")
Taken = tuple[float, float]
"""Seconds by the clock, and of processors."""


@contextmanager
def registry(folder: Path, port: int) -> Iterator[str]:
    """An empty registry; its `host:port`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    storage = f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}"
    lines = ["version: 0.1", _LOG, storage, f"http: {{addr: 127.0.0.1:{port}}}"]
    (folder / "config.yml").write_text("\n".join(lines))
    with subprocess.Popen(
        ["docker-registry", "serve", folder / "config.yml"], stderr=subprocess.DEVNULL
    ) as process:
        try:
            time.sleep(1)
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()


def timed(action: Callable[[], object]) -> Taken:
    """What the action took, with its child processes."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    action()
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Tools:
    """The tools, each with a store of its own below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def lamina(self, *words: str | Path) -> None:
        call(LAMINA, "--root", self.folder / "lamina", *words)

    def podman(self, *words: str | Path) -> None:
        place = ("--root", self.folder / "podman", "--runroot", self.folder / "podman-run")
        call("podman", *place, "--storage-driver", "overlay", *words)

    def forget(self) -> None:
        """Empty every store."""
        subprocess.run(["umount", self.folder / "podman/overlay"], stderr=subprocess.DEVNULL)
        for name in ("lamina", "podman", "podman-run", "layout", "bundle"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def pulls(self, name: str) -> dict[str, Callable[[], object]]:
        layout = f"{self.folder}/layout:x"

        def skopeo() -> None:
            call("skopeo", "copy", "--src-tls-verify=false", f"docker://{name}", f"oci:{layout}")
            call("umoci", "unpack", "--image", layout, self.folder / "bundle")

        return {
            "lamina": lambda: self.lamina("pull", "-q", name),
            "skopeo and umoci": skopeo,
            "podman": lambda: self.podman("pull", "-q", "--tls-verify=false", name),
        }

    def pushes(self, name: str, target: str) -> dict[str, Callable[[], object]]:
        layout = f"oci:{self.folder}/layout:x"
        there = f"docker://{target}"
        return {
            "lamina": lambda: self.lamina("push", "-q", name, target),
            "skopeo": lambda: call("skopeo", "copy", "--dest-tls-verify=false", layout, there),
            "podman": lambda: self.podman("push", "-q", "--tls-verify=false", name, target),
        }

    def change(self, name: str) -> None:
        """Let the name stand for the image and a small layer that was never seen before."""
        context = self.folder / "small"
        context.mkdir(exist_ok=True)
        (context / "Dockerfile").write_text(f"FROM {name}\nCOPY Dockerfile /{time.time_ns()}\n")
        self.lamina("build", "-q", "-t", name, context)


def make_image(tools: Tools, name: str) -> None:
    """Build the image and push it."""
    context = tools.folder / "context"
    for number in range(LAYERS):
        make_tree(context / str(number), files=FILES, size=SIZE)
        (context / str(number) / "number").write_text(str(number))
    copies = [f"COPY {number} /{number}" for number in range(LAYERS)]
    (context / "Dockerfile").write_text("\n".join(["FROM scratch", *copies]) + "\n")
    tools.lamina("build", "-q", "-t", name, "--push", context)
    shutil.rmtree(context)


def report(what: str, taken: dict[str, list[Taken]]) -> None:
    """Print the rows of a workload."""
    own = statistics.median(wall for wall, _ in taken["lamina"])
    for tool, rounds in taken.items():
        wall = statistics.median(each for each, _ in rounds)
        cpu = statistics.median(each for _, each in rounds)
        print(f"| {what} | {tool} | {wall:.2f} s | {cpu:.2f} s | {wall / own:.1f} |", flush=True)


def main() -> None:
    """Measure everything by turns."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", default="/var/tmp")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="lamina-registry-", dir=options.folder))
    tools = Tools(folder)
    pulled: dict[str, list[Taken]] = {}
    pushed: dict[str, list[Taken]] = {}
    try:
        with registry(folder / "first", 5921) as host:
            name = f"{host}/big:1"
            make_image(tools, name)
            for _ in range(options.rounds):
                tools.forget()
                for tool, action in tools.pulls(name).items():
                    pulled.setdefault(tool, []).append(timed(action))
                for tool in ("lamina", "skopeo", "podman"):
                    with registry(folder / "second", 5922) as other:
                        action = tools.pushes(name, f"{other}/big:1")[tool]
                        pushed.setdefault(tool, []).append(timed(action))
            small = []
            for _ in range(5):
                tools.change(name)
                small.append(timed(lambda: tools.lamina("push", "-q", name)))
        print("| workload | tool | median | processors | times lamina |")
        print("| --- | --- | --- | --- | --- |")
        report("pull of 1 GB in four layers, unpacked", pulled)
        report("push of it to an empty registry", pushed)
        report("push of it and one small layer that is missing", {"lamina": small})
    finally:
        tools.forget()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
