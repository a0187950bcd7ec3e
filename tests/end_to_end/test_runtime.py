"""`--runtime`: lamina's containers, made by crun and runc."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from support import probes
from support.cli import Lamina
from support.containers import Containers, wait_for
from support.oci_runtimes import crun_program
from support.terminals import user_of

# As root: crun is kept from hybrid cgroups by root, and runc wants cgroups that it may change.
pytestmark = [pytest.mark.namespaces, pytest.mark.root]

_FOREVER = "trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done"


@pytest.fixture(params=["crun", "runc"])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "crun":
        return str(crun_program(tmp_path))
    return probes.need_tool("runc")


def test_in_front(lamina: Lamina, runtime: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("host's\n")
    script = (
        "id -u; hostname; pwd; echo $A; cat /data/file; grep ' / ' /proc/mounts | cut -d' ' -f1;"
        " grep 'Seccomp:' /proc/self/status; ip -o addr | grep -c eth0; cat; exit 5"
    )
    words = (
        "run", "--rm", "-i", "--runtime", runtime, "-h", "box", "-w", "/made", "-e", "A=b",
        "-v", f"{tmp_path}:/data", "busybox", "sh", "-c", script,
    )  # fmt: skip
    shown = lamina(*words, stdin="given\n", status=5)
    assert shown.stdout.split("\n")[:7] == [
        "0", "box", "/made", "b", "host's", "overlay", "Seccomp:\t2",
    ]  # fmt: skip
    assert shown.stdout.split("\n")[7] != "0"
    assert shown.stdout.endswith("given\n")


def test_commands_that_cannot_be(lamina: Lamina, runtime: str) -> None:
    words = ("run", "--rm", "--network", "none", "--runtime", runtime, "busybox")
    assert "nothing" in lamina(*words, "nothing", status=127).stderr
    assert "/etc" in lamina(*words, "/etc", status=126).stderr


def test_a_life(containers: Containers, lamina: Lamina, runtime: str) -> None:
    options = ("--runtime", runtime, "--network", "none", "-m", "64m", "--device",
               "/dev/zero:/dev/mine:r")  # fmt: skip
    name = containers.sh("one", _FOREVER, *options)
    wait_for(lambda: containers.logs(name) == "up\n")
    assert containers.listed() == [name]
    script = "ls -d /proc/[0-9]* | wc -l; kill -0 1 && echo same; head -c 2 /dev/mine | od -An -tx1"
    inside = lamina("exec", name, "sh", "-c", script).stdout.split()
    assert int(inside[0]) < 10
    assert inside[1:] == ["same", "00", "00"]
    limit = list(Path("/sys/fs/cgroup").glob(f"**/{containers.inspect(name)['Id']}*"))
    assert limit or not os.path.isdir("/sys/fs/cgroup/memory")
    lamina("stop", name)
    assert containers.state(name)["ExitCode"] == 7
    lamina("start", name)
    wait_for(lambda: containers.logs(name) == "up\nup\n")
    lamina("rm", "-f", name)
    assert not list(Path("/sys/fs/cgroup").glob(f"*/lamina/{name}"))


def test_a_terminal(lamina: Lamina, runtime: str) -> None:
    words = ("run", "--rm", "-it", "--network", "none", "--runtime", runtime, "busybox", "sh")
    with user_of(lamina.command(*words), lamina.environment(None)) as user:
        user.type("tty; stty size\n")
        user.reads("/dev/pts/0")
        user.reads("30 100")
        user.type("exit 3\n")
        assert user.leaves_with() == 3


def test_nothing_stays_when_the_monitor_is_killed(
    containers: Containers, lamina: Lamina, runtime: str
) -> None:
    name = containers.sh("one", _FOREVER, "--runtime", runtime, "--network", "none")
    wait_for(lambda: containers.logs(name) == "up\n")
    full = containers.inspect(name)["Id"]
    pid = containers.state(name)["Pid"]
    parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    os.kill(int(parent), signal.SIGKILL)
    lamina("rm", "-f", name)
    wait_for(lambda: not Path(f"/proc/{pid}").exists())
    assert not list(Path("/sys/fs/cgroup").glob(f"*/lamina/{full}"))
    assert containers.listed("-a") == []


def test_what_cannot_be_combined(lamina: Lamina, tmp_path: Path) -> None:
    run = ("run", "--rm", "--runtime")
    assert "no such program" in lamina(*run, "no-such", "busybox", status=2).stderr
    assert "cannot be executed" in lamina(*run, tmp_path, "busybox", status=2).stderr
    assert "not with --runtime" in lamina(*run, "runc", "--init", "busybox", status=2).stderr
    assert "not with --runtime" in lamina(*run, "runc", "--privileged", "busybox", status=2).stderr
    assert lamina(*run, "lamina", "--network", "none", "busybox", "echo", "x").stdout == "x\n"
    profile = tmp_path / "profile.json"
    profile.write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mount"], "action":'
        ' "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_SYS_ADMIN"]}}]}'
    )
    words = (*run, "runc", "--security-opt", f"seccomp={profile}", "busybox", "true")
    assert "other runtimes do not read that" in lamina(*words, status=125).stderr
