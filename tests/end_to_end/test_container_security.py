"""What a container may do and what it shares, as its options say."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from support import probes
from support.cli import Lamina
from support.containers import Containers, wait_for

pytestmark = pytest.mark.namespaces
STATUS = "grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups)' /proc/self/status"


def status(output: str) -> dict[str, str]:
    return {line.split(":")[0]: line.split(":")[1].strip() for line in output.splitlines()}


def run_status(lamina: Lamina, *options: str) -> dict[str, str]:
    return status(lamina("run", "--rm", *options, "busybox", "sh", "-c", STATUS).stdout)


def test_defaults(lamina: Lamina) -> None:
    found = run_status(lamina)
    assert found["CapEff"] == found["CapBnd"] == "00000000a80425fb"
    assert found["CapInh"] == found["CapAmb"] == "0000000000000000"
    assert (found["NoNewPrivs"], found["Seccomp"], found["Groups"]) == ("0", "2", "0 10")


def test_capabilities(lamina: Lamina) -> None:
    options = ("--cap-drop", "ALL", "--cap-add", "net_raw", "--cap-add", "CAP_CHOWN")
    found = run_status(lamina, *options)
    assert found["CapEff"] == found["CapBnd"] == f"{1 << 13 | 1:016x}"
    every = run_status(lamina, "--cap-add", "all", "--cap-drop", "SYS_ADMIN")
    assert int(every["CapEff"], 16) & 1 << 21 == 0
    assert int(every["CapEff"], 16) & 1 << 12
    # To others than root they are only what they could get at all.
    other = run_status(lamina, "--user", "33", "--cap-add", "SYS_TIME")
    assert other["CapEff"] == "0000000000000000"
    assert int(other["CapBnd"], 16) & 1 << 25


def test_the_filter_follows_the_capabilities(lamina: Lamina) -> None:
    script = "mkdir /m && mount -t tmpfs none /m && grep -c ' /m ' /proc/mounts"
    refused = lamina("run", "--rm", "busybox", "sh", "-c", script, status=None)
    assert refused.status != 0
    allowed = lamina("run", "--rm", "--cap-add", "SYS_ADMIN", "busybox", "sh", "-c", script)
    assert allowed.stdout == "1\n"


def test_no_new_privileges_and_no_filter(lamina: Lamina) -> None:
    found = run_status(
        lamina, "--security-opt", "no-new-privileges", "--security-opt", "seccomp=unconfined"
    )
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "0")
    options = ("--security-opt", "no-new-privileges=false", "--security-opt", "seccomp=builtin")
    found = run_status(lamina, *options)
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("0", "2")


def test_a_profile_of_ones_own(lamina: Lamina, containers: Containers, tmp_path: Path) -> None:
    """It holds for `exec` as well, and stays as it was when the file changes."""
    profile = tmp_path / "profile.json"
    refuse = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 122}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refuse]}))
    options = ("--security-opt", f"seccomp={profile}")
    name = containers.sh("one", "mkdir /a 2>&1; exec sleep 60", *options)
    profile.write_text("{}")
    wait_for(lambda: containers.logs(name))
    assert "Quota exceeded" in containers.logs(name) or "quota" in containers.logs(name).lower()
    shown = lamina("exec", name, "mkdir", "/b", status=1)
    assert "quota" in shown.stderr.lower()
    shown = lamina("run", "--rm", *options, "busybox", "true", status=2)
    assert "defaultAction None is not supported" in shown.stderr
    missing = lamina("run", "--security-opt", "seccomp=/no/such", "busybox", "true", status=2)
    assert "/no/such: no such file" in missing.stderr


def test_system_paths(lamina: Lamina) -> None:
    script = "grep -cE ' /proc/(kcore|sys) ' /proc/mounts; head -c 1 /proc/keys | wc -c"
    usual = lamina("run", "--rm", "busybox", "sh", "-c", script, status=None).stdout.split()
    assert usual[0] != "0"
    assert usual[1] == "0"
    options = ("--security-opt", "systempaths=unconfined")
    free = lamina("run", "--rm", *options, "busybox", "sh", "-c", script, status=None)
    assert free.stdout.split()[0] == "0"


def test_privileged(lamina: Lamina, containers: Containers) -> None:
    script = (
        f"{STATUS}; mkdir -p /m && mount -t tmpfs none /m && echo mounted;"
        " grep -E ' (/sys|/proc/[a-z]+) ' /proc/mounts; [ -c /dev/loop-control ] && echo loop"
    )
    name = containers.sh("one", script + "; exec sleep 60", "--privileged")
    wait_for(lambda: "mounted" in containers.logs(name))
    said = containers.logs(name)
    found = status("\n".join(said.splitlines()[:8]))
    mine = status(Path("/proc/self/status").read_text())
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    own = int(mine["CapPrm"], 16) if probes.is_root() else (2 << last) - 1
    assert int(found["CapEff"], 16) == own
    assert found["Seccomp"] == "0"
    assert "/proc/" not in said
    sysfs = next(line for line in said.splitlines() if " /sys " in line)
    assert sysfs.split()[3].startswith("rw")
    if Path("/dev/loop-control").is_char_device():
        assert said.splitlines()[-1] == "loop"
    assert containers.inspect(name)["HostConfig"]["Privileged"] is True


def test_exec_with_every_capability(lamina: Lamina, containers: Containers) -> None:
    name = containers.detached("one", "--", "sleep", "60")
    script = "mkdir -p /m && mount -t tmpfs none /m && echo mounted"
    assert lamina("exec", name, "sh", "-c", script, status=None).status != 0
    assert lamina("exec", "--privileged", name, "sh", "-c", script).stdout == "mounted\n"
    found = status(lamina("exec", "--privileged", name, "sh", "-c", STATUS).stdout)
    assert found["Seccomp"] == "2"


def test_groups(lamina: Lamina, containers: Containers) -> None:
    name = containers.detached("one", "-u", "33", "--group-add", "daemon", "--group-add", "4711",
                               "--", "sleep", "60")  # fmt: skip
    groups = lamina("exec", name, "id", "-G").stdout.split()
    daemon = lamina("exec", name, "sh", "-c", "grep ^daemon /etc/group").stdout.split(":")[2]
    assert {daemon, "4711"} < set(groups)
    missing = lamina("run", "--rm", "--group-add", "nemo", "busybox", "true", status=125)
    assert "unable to find group nemo" in missing.stderr


def test_kernel_parameters(lamina: Lamina) -> None:
    script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax"
    before = Path("/proc/sys/kernel/msgmax").read_text()
    options = ["--sysctl", "net.ipv4.ip_forward=1"]
    if probes.is_root():
        options += ["--sysctl", "kernel.msgmax=65536"]
    shown = lamina("run", "--rm", *options, "busybox", "sh", "-c", script)
    assert shown.stdout.split()[0] == "1"
    if probes.is_root():
        assert shown.stdout.split()[1] == "65536"
    assert Path("/proc/sys/kernel/msgmax").read_text() == before


def test_namespaces_of_the_host(lamina: Lamina) -> None:
    kinds = ("pid", "ipc", "uts", "cgroup")
    script = f"for k in {' '.join(kinds)}; do readlink /proc/self/ns/$k; done; hostname"
    options = ("--pid", "host", "--ipc", "host", "--uts", "host", "--cgroupns", "host")
    shown = lamina("run", "--rm", *options, "busybox", "sh", "-c", script).stdout.split()
    assert shown[:4] == [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
    assert shown[4] == os.uname().nodename
    own = lamina("run", "--rm", "--cgroupns=private", "busybox", "sh", "-c", script)
    assert not set(own.stdout.split()) & set(shown)


def test_nothing_is_left_of_a_container_among_the_hosts_processes(
    lamina: Lamina, containers: Containers
) -> None:
    """Its first process is not the first of a namespace: its end is not the others'."""
    mark = f"3{os.getpid()}{int.from_bytes(os.urandom(2), 'little')}"
    script = f"sleep {mark} & (trap '' HUP TERM; exec sleep {mark}) & sleep 0.2"
    lamina("run", "--rm", "--pid", "host", "busybox", "sh", "-c", script)
    assert not [line for line in Path("/proc").glob("[0-9]*/cmdline") if mark in _read(line)]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def test_namespaces_of_another_container(lamina: Lamina, containers: Containers) -> None:
    one = containers.sh("one", "echo shared > /dev/shm/file; exec sleep 60", "--ipc", "shareable")
    script = "cat /dev/shm/file; cat /proc/1/cmdline"
    wait_for(lambda: lamina("exec", one, "ls", "/dev/shm").stdout)
    options = (f"--pid=container:{one}", f"--ipc=container:{one}")
    shown = lamina("run", "--rm", *options, "busybox", "sh", "-c", script)
    assert shown.stdout.startswith("shared\nsleep")
    three = containers.detached("three", f"--pid=container:{one}", "--", "sleep", "60")
    lamina("kill", three)
    containers.ended(three)
    lamina("start", three)
    assert "sleep" in lamina("exec", three, "cat", "/proc/1/cmdline").stdout
    lamina("kill", three)
    two = containers.detached("two", "--", "sleep", "60")
    refused = lamina("run", "--rm", f"--ipc=container:{two}", "busybox", "true", status=125)
    assert "it is private" in refused.stderr
    lamina("kill", two)
    containers.ended(two)
    refused = lamina("run", "--rm", f"--pid=container:{two}", "busybox", "true", status=125)
    assert "it is not running" in refused.stderr


def test_what_is_shown(lamina: Lamina, containers: Containers) -> None:
    options = ("--annotation", "a=b", "--cap-add", "SYS_TIME", "--security-opt",
               "apparmor=unconfined", "--ipc", "none", "--security-opt", "label=disable",
               "--sysctl", "net.ipv4.ip_forward=1")  # fmt: skip
    lamina("create", "--name", containers.name("one"), *options, "busybox", "ls", "/dev/shm")
    shown = containers.inspect(containers.name("one"))["HostConfig"]
    assert shown["Annotations"] == {"a": "b"}
    assert shown["CapAdd"] == ["SYS_TIME"]
    assert "CAP_SYS_TIME" in shown["CapEffective"]
    assert shown["SecurityOpt"] == ["apparmor=unconfined", "label=disable"]
    assert (shown["IpcMode"], shown["PidMode"], shown["CgroupnsMode"]) == ("none", "", "private")
    assert shown["Sysctls"] == {"net.ipv4.ip_forward": "1"}
    lamina("start", "-a", containers.name("one"), status=1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--cap-add", "SYS_ADMN"), "did you mean CAP_SYS_ADMIN?"),
        (("--cap-drop", "x"), "unknown capability 'x'"),
        (("--security-opt", "apparmor=docker-default"), "profiles of AppArmor are not applied"),
        (("--security-opt", "label=type:x"), "SELinux labels are not applied"),
        (("--security-opt", "nonsense"), "invalid --security-opt"),
        (("--security-opt", "no-new-privileges=maybe"), "maybe"),
        (("--pid", "private-ish"), "host or container:NAME"),
        (("--pid", "container:"), "host or container:NAME"),
        (("--uts", "container:x"), "invalid --uts"),
        (("--userns", "keep"), "invalid --userns 'keep'"),
        (("--sysctl", "kernel.panic=1"), "belongs to the whole machine"),
        (("--sysctl", "kernel.hostname=x"), "--hostname"),
        (("--sysctl", "net.ipv4.ip_forward"), "NAME=VALUE"),
        (("--sysctl", "net.core.somaxconn=1", "--network", "host"), "not the container's own"),
        (("--sysctl", "kernel.sem=1", "--ipc", "host"), "not the container's own"),
        (("--uts", "host", "--hostname", "x"), "conflicting options"),
        (("--ipc", "host", "--shm-size", "1m"), "conflicting options"),
        (("--group-add", "keep-groups"), "no groups of the host's"),
    ],
)
def test_what_is_refused(lamina: Lamina, words: tuple[str, ...], said: str) -> None:
    shown = lamina("run", "--rm", *words, "busybox", "true", status=2)
    assert said in shown.stderr
