"""Ways out of containers by way of the command: its monitors, what it has open, its environment.

Each test says which defence it holds, and has been seen to fail without it. The others are in
tests/runtime/test_escapes.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support import probes
from support.attacks import OVERWRITE, host_folders
from support.cli import Lamina
from support.containers import Containers, wait_for

pytestmark = pytest.mark.namespaces
REPOSITORY = Path(__file__).parents[2]
MAIN = "import sys; sys.path[:0] = {!r}; from builder.start import main; sys.exit(main())"


def test_the_interpreter_of_a_monitor_cannot_be_overwritten(
    lamina: Lamina, containers: Containers, run_folder: Path
) -> None:
    """CVE-2019-5736: a container in the background is cloned by its monitor, which runs on a
    read-only clone of the interpreter (runtime.sandbox.spawn). The attack outlives the monitor."""
    place = run_folder / containers.prefix
    place.mkdir()
    place.chmod(0o777)
    interpreter = place / "python"
    shutil.copy(os.path.realpath("/proc/self/exe"), interpreter)
    before = hashlib.sha256(interpreter.read_bytes()).digest()
    paths = [str(REPOSITORY), *(path for path in sys.path if path.endswith("site-packages"))]
    name = containers.name("one")
    mounts = [word for folder in host_folders() for word in ("-v", f"{folder}:{folder}:ro")]
    subprocess.run(
        [interpreter, "-c", MAIN.format(paths), "--root", lamina.root, "run", "-d", "--name", name,
         *mounts, "-v", f"{place}:/out", "-e", "WHY=/out/why", "busybox",
         "/proc/self/exe", "-I", "-S", "-c", OVERWRITE],
        env=lamina.environment(None), check=True, capture_output=True,
    )  # fmt: skip
    wait_for((place / "why").exists)
    folder = lamina.root / "containers" / containers.inspect(name)["Id"]
    monitor = json.loads((folder / "state.json").read_text())["runner"]
    if monitor is not None:
        # A file that is executed cannot be written, whatever its mount.
        os.kill(monitor["pid"], signal.SIGKILL)

    def tried() -> bool:
        said = (place / "why").read_text()
        return bool(said) and "busy" not in said

    wait_for(lambda: tried() or hashlib.sha256(interpreter.read_bytes()).digest() != before)
    assert hashlib.sha256(interpreter.read_bytes()).digest() == before
    assert "Read-only file system" in (place / "why").read_text()


def test_nothing_that_the_caller_has_leaks(
    lamina: Lamina, containers: Containers, tmp_path: Path
) -> None:
    """CVE-2024-21626: neither what is open in the caller, nor its environment, comes to a
    container, whoever clones it: the command's fork server, a monitor, `exec`, a build. And no
    WORKDIR leads through /proc/self/fd."""
    name = containers.detached("one", "--", "sleep", "120")
    script = (
        "ls -l /proc/self/fd /proc/1/fd | grep -oE -- '[0-9]+ -> .*'; env;"
        " tr '\\0' '\\n' < /proc/1/environ"
    )

    def said(*words: str) -> str:
        opened = 'exec 5</ 6</ 7</ 8</ 9</; exec "$@"'
        done = subprocess.run(
            ["sh", "-c", opened, "sh", *lamina.command(*words)],
            env={**lamina.environment(None), "LAMINA_SECRET": "hunter2"},
            capture_output=True, encoding="utf-8",
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    shell = ("sh", "-c", script)
    for output in (
        said("run", "--rm", "busybox", *shell),
        said("run", "--name", containers.name("two"), "busybox", *shell),
        said("exec", name, *shell),
    ):
        assert "PATH=" in output
        assert "hunter2" not in output
        links = {line.split(" -> ")[1] for line in output.splitlines() if " -> " in line}
        assert links
        assert not [link for link in links if not link.startswith(("pipe:", "/dev/", "/proc/"))]
    for number in (3, 5, 7, 9, 10, 12):
        lines = f"FROM busybox\nWORKDIR /proc/self/fd/{number}\nRUN ls -a; pwd\n"
        (tmp_path / "Dockerfile").write_text(lines)
        output = said("build", "--no-cache", "--progress", "plain", str(tmp_path))
        assert not {"etc", "usr", "home"} & set(output.split())
        refused = said("exec", "-w", f"/proc/self/fd/{number}", name, "ls")
        assert "enter the working directory" in refused


@pytest.mark.root
def test_nothing_of_an_image_is_opened_on_the_way_to_its_command(
    lamina: Lamina, tmp_path: Path
) -> None:
    """CVE-2019-14271: between the pivot and the command no library, module or setting of the image
    is read (runtime.sandbox.child.forbid_imports, runtime.user): only what is mounted on, the
    working directory and the users' files are opened. As strace sees it."""
    trace = tmp_path / "trace"
    if shutil.which("strace") is None:
        probes.unmet("strace is not installed")
    calls = "trace=open,openat,openat2,pivot_root,execve"
    subprocess.run(
        ["strace", "-f", "-qq", "-e", calls, "-o", trace,
         *lamina.command("run", "--rm", "-u", "daemon", "-w", "/tmp", "busybox", "true")],
        env=lamina.environment(None), check=True,
    )  # fmt: skip
    lines = [line.split(maxsplit=1) for line in trace.read_text().splitlines()]
    (child,) = {pid for pid, call in lines if call.startswith("pivot_root(")}
    calls_of_child = [call for pid, call in lines if pid == child]
    begin = next(n for n, call in enumerate(calls_of_child) if call.startswith("pivot_root("))
    opened = []
    for call in calls_of_child[begin + 1 :]:
        if call.startswith("execve("):
            break
        opened.append(call.split('"')[1].removeprefix("/"))
    assert {"etc/passwd", "etc/group", "tmp"} <= set(opened)
    allowed = re.compile(
        r"|\.|tmp|etc/(passwd|group|hosts|hostname|resolv\.conf)|(proc|sys|dev)(/.*)?"
        r"|null|zero|full|random|urandom|tty"
    )
    assert [path for path in opened if not allowed.fullmatch(path)] == []
