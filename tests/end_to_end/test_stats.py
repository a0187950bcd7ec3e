"""`stats`, `top` and `pause`: what containers use, and which processes are theirs."""

from __future__ import annotations

import json
import re

import pytest

from builder.commands.container_stats import binary_size
from runtime.cgroups.layout import owns_hierarchies
from support import probes
from support.cli import Lamina
from support.containers import Containers, wait_for

pytestmark = pytest.mark.namespaces
SPIN = "while :; do :; done"


def test_stats_and_top(containers: Containers, lamina: Lamina) -> None:
    probes.need_tool("ps")
    busy = containers.sh("busy", f"sleep 600 & {SPIN}", "--network", "none")
    idle = containers.detached("idle", "sleep", "600")
    ended = containers.detached("ended", "true")
    containers.ended(ended)
    words = ("stats", "--no-stream", "--format", "json")
    rows = [json.loads(line) for line in lamina(*words, busy, idle, ended).stdout.splitlines()]
    first, second, third = rows
    assert first["Name"] == busy
    assert float(first["CPUPerc"].rstrip("%")) > 5
    assert float(second["CPUPerc"].rstrip("%")) < 5
    assert (first["PIDs"], second["PIDs"]) == ("2", "1")
    assert re.fullmatch(r"[\d.]+KiB|[\d.]+MiB", first["MemUsage"].split(" / ")[0])
    assert first["NetIO"] == "0B / 0B"
    assert third["CPUPerc"] == "--"
    table = lamina("stats", "--no-stream", idle).stdout.splitlines()
    assert re.split("  +", table[0]) == [
        "CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O",
        "PIDS",
    ]  # fmt: skip
    assert len(table) == 2
    form = lamina("stats", "--no-stream", "--format", "{{.Name}}={{.PIDs}}", idle).stdout
    assert form == f"{idle}=1\n"
    with lamina.start("stats", "--format", "{{.Name}}", idle) as streaming:
        assert streaming.stdout is not None
        assert [streaming.stdout.readline() for _ in range(2)] == [f"{idle}\n"] * 2
        streaming.kill()

    lamina("exec", "-d", busy, "sleep", "1234")
    listed = lamina("top", busy).stdout.splitlines()
    assert listed[0].split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    commands = [line.split(None, 7)[7] for line in listed[1:]]
    assert {"sleep 600", "sleep 1234"} < set(commands)
    assert len(commands) == 3
    pids = [
        int(line.split()[0]) for line in lamina("top", busy, "-o", "pid").stdout.splitlines()[1:]
    ]
    assert containers.state(busy)["Pid"] in pids
    assert "couldn't find PID" in lamina("top", busy, "-o", "user", status=2).stderr
    assert "ps --nope" in lamina("top", busy, "--nope", status=2).stderr
    assert "is not running" in lamina("top", ended, status=1).stderr


@pytest.mark.root
def test_one_that_shares_the_machines_processes(containers: Containers, lamina: Lamina) -> None:
    """Without a cgroup of its own, its processes are those below its first: no others may stop."""
    if not owns_hierarchies():
        probes.unmet("no cgroups here")
    name = containers.name("one")
    script = "sleep 600 & while :; do echo x; sleep 0.02; done"
    options = ("--rm", "--name", name, "--network", "none", "--pid", "host")
    words = ("run", *options, "busybox", "sh", "-c", script)
    with lamina.start(*words) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "x\n"
        wait_for(lambda: containers.listed() == [name])
        rows = lamina("top", name).stdout.splitlines()[1:]
        assert {"sh", "sleep"} == {row.split()[7] for row in rows}
        assert len(rows) in (2, 3)
        lamina("pause", name)
        assert containers.state(name)["Paused"]
        lamina("unpause", name)
        assert not containers.state(name)["Paused"]
        lamina("rm", "-f", name)
        assert command.wait() != 0


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (1023, "1023B"), (1536, "1.5KiB"), (5902434, "5.629MiB"), (1 << 50, "1024TiB")],
)
def test_sizes_of_memory(size: int, text: str) -> None:
    assert binary_size(size) == text
