"""`--userns auto`: containers of root's that are nobody on the host."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.containers.user_ids import FREE_IDS
from support.cli import Lamina
from support.containers import Containers, wait_for

pytestmark = [pytest.mark.namespaces, pytest.mark.root]
RUN = ("run", "--rm", "--userns", "auto")


def ids_of(containers: Containers, name: str) -> int:
    """Who the container's root is on the host."""
    pid = containers.state(name)["Pid"]
    return Path(f"/proc/{pid}").stat().st_uid


def test_files_keep_their_owners(
    lamina: Lamina, containers: Containers, run_folder: Path, tmp_path: Path
) -> None:
    """In layers, in the container's own, in volumes and in what is mounted from the host."""
    there = run_folder / containers.prefix
    there.mkdir()
    (there / "old").write_text("host's\n")
    volume = containers.name("volume")
    script = (
        "id -u; stat -c %u:%g /bin /v/old /data; echo x > /v/new; chown 33:34 /v/new;"
        " touch /data/d /own; chown 5:6 /own; rm /etc/passwd; cat /v/old; exec sleep 60"
    )
    name = containers.sh("one", script, "--userns", "auto", "-v", f"{there}:/v", "-v",
                         f"{volume}:/data")  # fmt: skip
    try:
        wait_for(lambda: "host's" in containers.logs(name))
        assert containers.logs(name).split() == ["0", "0:0", "0:0", "0:0", "host's"]
        status = (there / "new").stat()
        assert (status.st_uid, status.st_gid) == (33, 34)
        assert ids_of(containers, name) >= 65536
        shown = lamina("exec", name, "stat", "-c", "%u:%g %n", "/data/d", "/own", "/v/new")
        assert shown.stdout.split("\n")[:3] == ["0:0 /data/d", "5:6 /own", "33:34 /v/new"]
        assert lamina("exec", "-u", "33", name, "id", "-u").stdout == "33\n"
        (tmp_path / "given").write_text("given\n")
        lamina("cp", tmp_path / "given", f"{name}:/given")
        shown = lamina("exec", name, "stat", "-c", "%u:%g", "/given")
        assert shown.stdout == "0:0\n"
        assert containers.inspect(name)["HostConfig"]["UsernsMode"] == "auto"
        lamina("kill", name)
        containers.ended(name)
        lamina("cp", f"{name}:/own", tmp_path)
        image = containers.name("image")
        lamina("commit", name, image)
        shown = lamina("run", "--rm", image, "stat", "-c", "%u:%g", "/own")
        assert shown.stdout == "5:6\n"
        lamina("rmi", image)
    finally:
        containers.remove_all()
        lamina("volume", "rm", volume)


def test_ids_are_nobody_elses_and_are_given_back(lamina: Lamina, containers: Containers) -> None:
    """Two at once have different ones; those of one that was killed with its monitor are free."""
    one = containers.detached("one", "--userns", "auto", "--", "sleep", "60")
    two = containers.detached("two", "--userns=auto", "--", "sleep", "60")
    first, second = ids_of(containers, one), ids_of(containers, two)
    assert first != second
    start, count = FREE_IDS
    if not any(line.startswith(("root:", "lamina:")) for line in _subordinate()):
        assert start <= first < start + count
    lamina("kill", one)
    containers.ended(one)
    third = containers.detached("three", "--userns", "auto", "--", "sleep", "60")
    assert ids_of(containers, third) != second
    shown = lamina("exec", two, "cat", "/proc/self/uid_map").stdout.split()
    assert shown == ["0", str(second), "65536"]


def _subordinate() -> list[str]:
    path = Path("/etc/subuid")
    return path.read_text().splitlines() if path.exists() else []


def test_root_in_it_is_nobody_outside(lamina: Lamina, run_folder: Path) -> None:
    """With every capability and without a filter, what is the host's cannot be changed."""
    script = """
    echo 1 > /proc/sys/kernel/sysrq; echo x > /sys/kernel/uevent_helper
    mknod /n c 1 3; sysctl -w kernel.panic=0
    mount -t tmpfs none /tmp && echo mounted
    chown 70000 /etc/motd; ulimit -n 2000000
    """
    options = ("--cap-add", "ALL", "--security-opt", "seccomp=unconfined",
               "--security-opt", "systempaths=unconfined")  # fmt: skip
    shown = lamina(*RUN, *options, "busybox", "sh", "-c", script, status=None)
    assert shown.stdout == "mounted\n"
    assert shown.stderr.count("ermission denied") + shown.stderr.count("not permitted") >= 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--pid", "host"), "--pid host and --userns auto"),
        (("--network", "host"), "--network host and --userns auto"),
        (("--ipc", "container:x"), "--ipc container:x and --userns auto"),
        (("--privileged",), "--privileged and --userns auto"),
        (("--userns", "keep-id"), "--userns keep-id is not supported"),
        (("--userns", "nonsense"), "invalid --userns"),
    ],
)
def test_what_cannot_be(lamina: Lamina, words: tuple[str, ...], said: str) -> None:
    assert said in lamina(*RUN, *words, "busybox", "true", status=2).stderr


def test_networks_limits_and_terminals(lamina: Lamina) -> None:
    """What is made outside of the namespace is entered before it."""
    script = "cat /sys/class/net/lo/ifindex; ls /sys/class/net; tty; cat /dev/shm/x 2>&1"
    shown = lamina(*RUN, "-t", "--network", "bridge", "--memory", "64m", "busybox", "sh", "-c",
                   script, status=None)  # fmt: skip
    assert "/dev/pts/0" in shown.stdout
    assert "eth0" in shown.stdout
