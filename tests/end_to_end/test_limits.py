"""Limits hold, are said where they cannot, and leave nothing behind."""

from __future__ import annotations

import json
import os
import shlex
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.cgroups.layout import find_layout, owns_hierarchies
from support import probes
from support.cli import Lamina
from support.containers import Containers, wait_for

pytestmark = pytest.mark.namespaces
HOG = ("dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1")
OUT_OF_MEMORY = "a process of the container was killed: it had no memory left"
GROUPS = Path("/sys/fs/cgroup")


def need_groups() -> None:
    """Skip where no cgroups can be made; fail where they must be to be had."""
    layout = find_layout()
    if not owns_hierarchies() or layout.kind == "none":
        probes.unmet(f"no cgroups here (cgroup {layout.kind})")


def groups_of(container_id: str) -> list[Path]:
    return [Path(folder) for folder, _, _ in os.walk(GROUPS) if container_id in folder]


def value(container_id: str, v1: str, v2: str) -> str:
    """What a container's group says, by the file's name in each version."""
    (text,) = {
        (group / file).read_text().strip()
        for group in groups_of(container_id)
        for file in (v1, v2)
        if (group / file).exists()
    }
    return text


@pytest.fixture
def parent() -> Iterator[Path]:
    """A name for `--cgroup-parent`: in its groups nothing may be left at the end."""
    need_groups()
    name = Path(f"lamina-test-{os.urandom(6).hex()}")
    yield name
    groups = [*GROUPS.glob(f"*/{name}"), *GROUPS.glob(str(name))]
    assert groups
    for group in groups:
        group.rmdir()


def below(parent: Path) -> list[Path]:
    """The groups of containers in a group."""
    found = [*GROUPS.glob(f"*/{parent}/*"), *GROUPS.glob(f"{parent}/*")]
    return [path for path in found if path.is_dir()]


@pytest.mark.root
def test_memory(containers: Containers, lamina: Lamina, parent: Path) -> None:
    limit = ("-m", "32m", "--cgroup-parent", str(parent))
    direct = lamina("run", "--rm", "--network", "none", *limit, "busybox", *HOG, status=137)
    assert OUT_OF_MEMORY in direct.stderr
    # What such a start comes to is remembered; its limits are as well.
    again = lamina("run", "--rm", "--network", "none", *limit, "busybox", *HOG, status=137)
    assert OUT_OF_MEMORY in again.stderr
    attached = lamina("run", "-i", "--rm", *limit, "-a", "stderr", "busybox", *HOG, status=137)
    assert OUT_OF_MEMORY in attached.stderr
    name = containers.detached("one", *limit, "--", *HOG)
    assert containers.ended(name).stdout == "137\n"
    state = containers.state(name)
    assert state["OOMKilled"]
    assert state["ExitCode"] == 137
    # One that survives the end of its child is told of, too; the next run starts afresh.
    script = f"[ -e /ran ] && exit; touch /ran; {' '.join(HOG)}; exit 3"
    child = containers.sh("two", script, *limit)
    assert containers.ended(child).stdout == "3\n"
    assert containers.state(child)["OOMKilled"]
    lamina("start", child)
    assert containers.ended(child).stdout == "0\n"
    assert not containers.state(child)["OOMKilled"]
    events = (lamina.root / "containers" / "events").read_text().splitlines()
    mine = [event for event in map(json.loads, events) if event["Action"] == "oom"]
    assert {containers.inspect(each)["Id"] for each in (name, child)} <= {
        event["Actor"]["ID"] for event in mine
    }
    assert not below(parent)


@pytest.mark.root
def test_processes_and_processors(lamina: Lamina) -> None:
    need_groups()
    bomb = "bomb() { bomb | bomb & }; bomb; sleep 0.5; echo alive"
    held = lamina(
        "run",
        "--network",
        "none",
        "--rm",
        "--pids-limit",
        "12",
        "busybox",
        "sh",
        "-c",
        bomb,
        status=None,
    )
    assert "Resource temporarily unavailable" in held.stderr
    spin = "timeout 1 sh -c 'while :; do :; done'; awk '/^cpu /' /proc/stat; times"
    script = f"{spin}"
    told = lamina("run", "--rm", "--cpus", "0.2", "busybox", "sh", "-c", script).stdout
    # `times` gives the children's time last, as minutes and seconds.
    user, system = (float(t.rstrip("s").split("m")[1]) for t in told.split("\n")[-2].split())
    assert 0.02 < user + system < 0.6


@pytest.mark.root
def test_what_a_running_container_has(containers: Containers, lamina: Lamina) -> None:
    need_groups()
    options = (
        "-m 64m --memory-swap 96m --memory-reservation 32m --cpus 0.5 --cpu-shares 512"
        " --pids-limit 50 --cpuset-cpus 0 --ulimit nproc=77:88 --ulimit core=0 --oom-score-adj 321"
    )
    name = containers.detached("one", *options.split(), "--", "sleep", "600")
    document = containers.inspect(name)
    identity = document["Id"]
    assert value(identity, "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    assert value(identity, "pids.max", "pids.max") == "50"
    assert value(identity, "cpuset.cpus", "cpuset.cpus") == "0"
    assert value(identity, "cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
    host = document["HostConfig"]
    assert host["Memory"] == 64 << 20
    assert host["MemorySwap"] == 96 << 20
    assert host["MemoryReservation"] == 32 << 20
    assert (host["CpuQuota"], host["CpuPeriod"]) == (50_000, 100_000)
    assert host["CpuShares"] == 512
    assert host["PidsLimit"] == 50
    assert host["CpusetCpus"] == "0"
    assert host["OomScoreAdj"] == 321
    assert {"Name": "nproc", "Soft": 77, "Hard": 88} in host["Ulimits"]
    # A command that comes later is under the same limits, and sees as little of what is above.
    script = (
        "cat /proc/self/oom_score_adj /proc/self/cgroup; ulimit -u; ulimit -Hu; cat /proc/1/cgroup"
    )
    told = lamina("exec", name, "sh", "-c", script).stdout
    score, *lines = told.split("\n")
    assert score == "321"
    assert {line.rpartition(":")[2] for line in lines if ":" in line} == {"/"}
    assert [line for line in lines if line.isdigit()] == ["77", "88"]
    # It sees them itself, as many programs want to, and cannot change them.
    script = """
    cat /sys/fs/cgroup/memory/memory.limit_in_bytes || cat /sys/fs/cgroup/memory.max
    for file in /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/memory/cgroup.procs; do
        echo 0 > $file && echo written
    done
    """
    seen = lamina("exec", name, "sh", "-c", script, status=None)
    assert seen.stdout == f"{64 << 20}\n"
    assert "Read-only file system" in seen.stderr
    second = lamina("exec", name, *HOG, status=137)
    assert second.stdout == ""
    # Frozen as a whole, and still there.
    lamina("pause", name)
    assert containers.state(name)["Paused"]
    lamina("unpause", name)
    assert groups_of(identity)
    lamina("rm", "-f", name)
    assert not groups_of(identity)


@pytest.mark.root
def test_nothing_is_left_of_one_whose_monitor_was_killed(
    containers: Containers, lamina: Lamina, parent: Path
) -> None:
    limit = ("-m", "64m", "--cgroup-parent", str(parent))
    name = containers.detached("one", *limit, "--", "sleep", "600")
    document = containers.inspect(name)
    assert groups_of(document["Id"]) == below(parent)
    stat = Path(f"/proc/{document['State']['Pid']}/stat").read_text()
    monitor = int(stat.rpartition(")")[2].split()[1])
    os.kill(monitor, signal.SIGKILL)
    wait_for(lambda: containers.state(name)["Status"] == "exited")
    # Whoever makes a container next removes what is left, though the container itself is kept.
    lamina("run", "--rm", "busybox", "true")
    wait_for(lambda: not below(parent))  # Or another who does is just at it.
    lamina("start", name)
    assert below(parent)
    lamina("rm", "-f", name)
    assert not below(parent)


@pytest.mark.root
def test_one_in_the_foreground_that_is_killed(lamina: Lamina, parent: Path) -> None:
    limit = ("-m", "64m", "--cgroup-parent", str(parent))
    words = (
        "run",
        "--rm",
        "--network",
        "none",
        *limit,
        "busybox",
        "sh",
        "-c",
        "echo up; sleep 600",
    )
    with lamina.start(*words) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "up\n"
        assert below(parent)
        command.kill()
    # The container ends with the command, if a moment later.
    wait_for(lambda: not any((group / "cgroup.procs").read_text() for group in below(parent)))
    lamina("run", "--rm", "busybox", "true")
    wait_for(lambda: not below(parent))


@pytest.mark.root
def test_devices(containers: Containers, lamina: Lamina, tmp_path: Path) -> None:
    """Those that were given work, as given; others that its root makes for itself do not.

    No driver has these: whoever may open them is told that, not that it is not permitted.
    """
    need_groups()
    for number in (1, 2):
        os.mknod(tmp_path / str(number), stat.S_IFBLK | 0o666, os.makedev(254, number))
    before = (tmp_path / "2").stat().st_mode
    options = ("--device", f"{tmp_path}/1:/dev/given/1:r", "--device", f"{tmp_path}/2:/opt/2")
    rule = ("--device-cgroup-rule", "b 254:3 w")
    name = containers.detached("one", *options, *rule, "--", "sleep", "600")
    script = """
    mknod /3 b 254 3
    mknod /4 b 254 4
    for device in /dev/given/1 /opt/2 /3 /4; do
        true < $device
        true > $device
    done 2>&1 | sed 's/.*: //'
    mknod /null c 1 3; echo x > /null && echo live
    chmod 600 /opt/2
    """
    told = lamina("exec", name, "sh", "-c", script, status=None)
    absent, refused = "No such device or address", "Operation not permitted"
    assert told.stdout.splitlines() == [
        *(absent, refused), *(absent, absent), *(refused, absent), *(refused, refused), "live",
    ]  # fmt: skip
    assert "Read-only file system" in told.stderr
    assert (tmp_path / "2").stat().st_mode == before


def test_devices_are_given_to_everybody(lamina: Lamina) -> None:
    words = ("run", "--rm", "--device", "/dev/zero:/dev/zz", "busybox")
    told = lamina(*words, "sh", "-c", "head -c 1 /dev/zz | od -An -c; ls -R /dev")
    assert told.stdout.split()[0] == "\\0"
    for option, message in (
        ("--device=/dev/nope", "no such file or directory"),
        ("--device=vendor.com/class=a", "CDI are not supported"),
        ("--device=/dev/null:/x:rx", "invalid mode 'rx'"),
        ("--device=/dev/null:x", "no absolute path"),
        ("--device-cgroup-rule=c 1 r", "invalid --device-cgroup-rule"),
    ):
        assert message in lamina("run", option, "busybox", "true", status=2).stderr
    refused = lamina("run", "--rm", "--device", "/etc/passwd", "busybox", "true", status=125)
    assert "--device /etc/passwd: is no device" in refused.stderr


def test_limits_that_cannot_be_had(lamina: Lamina) -> None:
    """A plain user has no groups of version 1; nobody has this one of a name that is none."""
    if owns_hierarchies():
        options = ("--cgroup-parent", "../x")
        refused = lamina("run", "--rm", *options, "busybox", "true", status=125)
        assert "'../x' is no path of a cgroup" in refused.stderr
        return
    if find_layout().kind == "v2":
        probes.unmet("a group may be delegated to this user")
    told = lamina("run", "--rm", "-m", "64m", "--cpus", "1", "busybox", "echo", "ran")
    assert told.stdout == "ran\n"
    assert (
        "warning: no effect has --memory, --memory-swap, --cpu-period, --cpu-quota: " in told.stderr
    )
    strict = lamina("run", "--strict", "--rm", "-m", "64m", "busybox", "echo", "ran", status=125)
    assert strict.stdout == ""
    assert "cgroup version 1 lets only root limit anything" in strict.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("-m 1m", "--memory: the least that is allowed is 6m"),
        ("-m x", "--memory: "),
        ("--memory-swap 64m", "--memory-swap needs --memory"),
        ("-m 64m --memory-swap 32m", "no less than --memory"),
        ("-m 64m --memory-reservation 65m", "--memory-reservation cannot be more"),
        ("--memory-swappiness 101", "is not between 0 and 100"),
        ("--oom-kill-disable", "--oom-kill-disable needs --memory"),
        ("--oom-score-adj 1001", "is not between -1000 and 1000"),
        ("--cpus x", "invalid --cpus 'x'"),
        ("--cpus 9999", "the processors of this machine"),
        ("--cpus 1 --cpu-quota 5000", "conflicting options: --cpus"),
        ("--cpu-period 5", "--cpu-period is not between"),
        ("--cpu-quota 5", "--cpu-quota cannot be less"),
        ("--cpu-shares 1", "--cpu-shares cannot be less than 2"),
        ("--cpuset-cpus 3-1", "invalid --cpuset-cpus '3-1'"),
        ("--blkio-weight 5", "is not between 10 and 1000"),
        ("--device-read-bps /dev/null:1mb", "/dev/null: is no block device"),
        ("--device-read-iops sda:1", "invalid --device-read-iops"),
        ("--device-read-iops /dev/null:x", "is no number of operations"),
        ("--ulimit nofile=2:1", "ulimit soft limit"),
        ("--ulimit x=1", "invalid ulimit type: x"),
    ],
)
def test_limits_that_are_none(lamina: Lamina, options: str, message: str) -> None:
    refused = lamina("run", "--rm", *options.split(), "busybox", "true", status=2)
    assert message in refused.stderr


@pytest.mark.root
def test_steps_of_a_build(lamina: Lamina, tmp_path: Path, parent: Path) -> None:
    """A step that takes all it can get fails alone, says why, and leaves nothing."""
    files = {
        "hog": f"FROM busybox\nRUN {' '.join(HOG)}\n",
        "bomb": "FROM busybox\nRUN bomb() { bomb | bomb & }; bomb; sleep 0.5; cat /proc/*/stat\n",
        "fine": "FROM busybox\nRUN nproc > /n; cat /proc/self/cgroup\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    def build(name: str, *options: str, status: int | None = 0) -> str:
        words = ("-f", str(tmp_path / name), "--cgroup-parent", str(parent), "--no-cache", *options)
        return lamina.build(tmp_path, f"limits-{name}", *words, status=status).text

    hog = build("hog", "-m", "32m", status=1)
    assert "exit code: 137" in hog
    assert "it had no memory left; build with a larger --memory" in hog
    bomb = build("bomb", "--pids-limit", "12", status=None)
    assert "can't fork: Resource temporarily unavailable" in bomb
    fine = build("fine", "--cpuset-cpus", "0", "--cpus", "0.5", "--memory", "64m")
    assert "0::/\n" in fine
    assert lamina("run", "--rm", "limits-fine", "cat", "/n").stdout == "1\n"
    assert not below(parent)


@pytest.mark.root
def test_a_build_that_is_killed(lamina: Lamina, tmp_path: Path, parent: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo up; sleep 600\n")
    (tmp_path / "short").write_text("FROM busybox\nRUN true\n")
    limit = ("--pids-limit", "20", "--cgroup-parent", str(parent))
    with lamina.start("build", "--progress", "plain", *limit, tmp_path) as command:
        wait_for(lambda: any((group / "cgroup.procs").read_text() for group in below(parent)))
        command.kill()
    wait_for(lambda: not any((group / "cgroup.procs").read_text() for group in below(parent)))
    assert below(parent)
    lamina("build", "-f", tmp_path / "short", *limit, tmp_path)
    assert not below(parent)


def test_limits_of_steps_that_cannot_be_had(lamina: Lamina, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN true\n")
    assert "the least that is allowed is 6m" in lamina.build(
        tmp_path, "limits-none", "-m", "1m", status=2
    ).text  # fmt: skip
    if not owns_hierarchies() and find_layout().v1:
        refused = lamina.build(tmp_path, "limits-none", "-m", "64m", status=1)
        assert "cgroup version 1 lets only root limit anything" in refused.text


@pytest.mark.root
def test_version_1_alone(containers: Containers, lamina: Lamina) -> None:
    """As on machines where nobody mounted version 2: it is hidden in a mount namespace."""
    layout = find_layout()
    if layout.kind != "hybrid" or "freezer" not in layout.v1:
        probes.unmet("version 1 with a freezer, and version 2 besides, are not both here")
    need_groups()
    name = containers.name("one")
    script = f"""
    set -e
    umount {layout.unified}
    lamina() {{ {shlex.join(lamina.command())} "$@"; }}
    lamina run -d --network none --name {name} -m 40m busybox sleep 600
    lamina pause {name}
    lamina inspect -f '{{{{.State.Status}}}}' {name}
    lamina unpause {name}
    lamina inspect -f '{{{{.State.Status}}}}' {name}
    lamina exec {name} {shlex.join(HOG)} || echo $?
    lamina pause {name}
    lamina rm -f {name}
    """
    told = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, encoding="utf-8",
        env=lamina.environment(None), timeout=120,
    )  # fmt: skip
    identity, *rest = told.stdout.splitlines()
    assert rest == [name, "paused", name, "running", "137", name, name], told.stderr
    assert not groups_of(identity)


@pytest.mark.root
def test_other_limits(containers: Containers, lamina: Lamina) -> None:
    need_groups()
    script = "trap exit USR1; while :; do sleep 0.05; done"
    name = containers.sh("one", script, "-m", "40m", "--restart", "always", "--network", "none")
    document = containers.inspect(name)
    identity = document["Id"]

    def memory() -> int:
        return int(value(identity, "memory.limit_in_bytes", "memory.max"))

    # More than memory and swap together may be so far, then less.
    for size in (200, 30):
        lamina("update", "-m", f"{size}m", "--cpus", "0.5", name)
        assert memory() == size << 20
    assert value(identity, "cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
    host = containers.inspect(name)["HostConfig"]
    assert (host["Memory"], host["CpuQuota"]) == (30 << 20, 50_000)
    # Its monitor, which knows the old ones, starts it again.
    lamina("kill", "-s", "USR1", name)
    wait_for(lambda: containers.inspect(name)["RestartCount"] == 1)
    wait_for(lambda: containers.state(name)["Status"] == "running")
    assert memory() == 30 << 20
    lamina("stop", "-t", "0", name)
    lamina("update", "--pids-limit", "9", name)
    lamina("start", name)
    assert value(identity, "pids.max", "pids.max") == "9"
    assert "provide one or more options" in lamina("update", name, status=2).stderr
    assert "cannot be changed" in lamina("update", "--restart", "no", name, status=2).stderr
