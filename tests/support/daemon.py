"""A Docker daemon of the tests' own: nothing of it is shared with the machine's, if it has one."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.probes import need_tool


@dataclass(frozen=True, slots=True, kw_only=True)
class Docker:
    """Debian's `docker` client, talking to one daemon."""

    client: str
    host: str

    def __call__(self, *arguments: str | Path, environment: dict[str, str] | None = None) -> str:
        """Standard output of a command that must succeed."""
        process = subprocess.run(
            [self.client, *arguments],
            env=os.environ | {"DOCKER_HOST": self.host} | (environment or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
        )
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout

    def image_id(self, name: str) -> str:
        """The ID of an image."""
        return self("inspect", "--format", "{{.Id}}", name).strip()


@contextlib.contextmanager
def docker_daemon(folder: Path) -> Iterator[Docker]:
    """A running daemon whose data, state and socket are in a folder, and that touches no network.

    It has a mount namespace of its own: whatever it leaves mounted goes with it.
    """
    # A machine may have another vendor's client first on its path: take Debian's.
    client = "/usr/bin/docker" if os.path.exists("/usr/bin/docker") else need_tool("docker")
    configuration = folder / "daemon.json"
    configuration.write_text("{}")
    host = f"unix://{folder}/docker.sock"
    daemon = ["unshare", "--mount", "--propagation", "slave", need_tool("dockerd")]
    options = {
        "--config-file": configuration,
        "--data-root": folder / "data",
        "--exec-root": folder / "exec",
        "--pidfile": folder / "pid",
        "--host": host,
        "--bridge": "none",
    }
    words = [f"{name}={value}" for name, value in options.items()]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*daemon, *words, "--iptables=false", "--ip6tables=false"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    with process:
        try:
            docker = Docker(client=client, host=host)
            _wait_until_it_answers(process, docker, log)
            yield docker
        finally:
            process.terminate()
            process.wait()  # after ^C, Popen itself would not


def _wait_until_it_answers(process: subprocess.Popen[bytes], docker: Docker, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            docker("version")
        except AssertionError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"dockerd does not start:\n{log.read_text()}") from None
            time.sleep(0.1)
        else:
            return
