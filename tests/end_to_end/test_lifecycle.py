"""The life of containers in the background, as their users see it."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest

from support.cli import Lamina
from support.containers import Containers, wait_for

pytestmark = pytest.mark.namespaces

_FOREVER = "trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done"


def up(containers: Containers, name: str = "one", *options: str) -> str:
    """A container that says it is up, and ends with 7 when it is told to."""
    full = containers.sh(name, _FOREVER, *options)
    wait_for(lambda: "up\n" in containers.logs(full))
    return full


def test_from_start_to_removal(containers: Containers, lamina: Lamina) -> None:
    name = up(containers)
    assert containers.listed() == [name]
    state = containers.state(name)
    assert (state["Status"], state["Running"], state["ExitCode"]) == ("running", True, 0)
    assert Path("/proc", str(state["Pid"])).exists()
    refused = lamina("rm", name, status=1)
    assert "is running" in refused.stderr
    assert "--force" in refused.stderr
    assert lamina("stop", name).stdout == f"{name}\n"
    assert containers.listed() == []
    assert containers.listed("-a") == [name]
    state = containers.state(name)
    assert (state["Status"], state["ExitCode"], state["Pid"]) == ("exited", 7, 0)
    assert state["StartedAt"] < state["FinishedAt"]
    assert lamina("start", name).stdout == f"{name}\n"
    wait_for(lambda: containers.logs(name) == "up\nup\n")
    assert lamina("rm", "-f", name).stdout == f"{name}\n"
    assert containers.listed("-a") == []
    assert "no such container" in lamina("logs", name, status=1).stderr
    assert lamina("rm", "-f", name).stdout == f"{name}\n"


def test_what_it_changed_is_there_when_it_is_started_again(
    containers: Containers, lamina: Lamina
) -> None:
    name = containers.sh("one", "echo x >> /count; wc -l < /count")
    containers.ended(name)
    lamina("start", name)
    containers.ended(name)
    assert containers.logs(name) == "1\n2\n"


def test_its_id_is_printed(containers: Containers, lamina: Lamina, tmp_path: Path) -> None:
    file = tmp_path / "id"
    words = ("run", "-d", "--cidfile", file, "--name", containers.name("one"), "busybox", "true")
    container_id = lamina(*words).stdout.strip()
    assert re.fullmatch("[0-9a-f]{64}", container_id)
    assert file.read_text() == container_id
    assert containers.inspect(container_id[:12])["Name"] == "/" + containers.name("one")
    assert "is there already" in lamina(*words, status=2).stderr


def test_a_name_is_given_once(containers: Containers, lamina: Lamina) -> None:
    name = containers.sh("one", "true")
    refused = lamina("run", "-d", "--name", name, "busybox", "true", status=125)
    assert f"the container name {name} is already in use" in refused.stderr
    lamina("rename", name, containers.name("two"))
    assert containers.listed("-a") == [containers.name("two")]
    containers.sh("one", "true")
    assert "is already in use" in lamina("rename", name, containers.name("two"), status=1).stderr
    bad = lamina("create", "--name", "a b", "busybox", status=1)
    assert "invalid container name (a b)" in bad.stderr


def test_created_first_and_started_later(containers: Containers, lamina: Lamina) -> None:
    name = containers.name("one")
    lamina("create", "--name", name, "busybox", "echo", "hello")
    assert containers.state(name)["Status"] == "created"
    assert containers.listed("--filter", "status=created") == [name]
    lamina("start", name)
    assert containers.ended(name).stdout == "0\n"
    assert containers.logs(name) == "hello\n"


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [("/nope", 127, "no such file"), ("/etc/passwd", 126, "permission denied")],
)
def test_one_that_cannot_be_started(
    containers: Containers, lamina: Lamina, command: str, status: int, said: str
) -> None:
    name = containers.name("one")
    words = ("run", "-d", "--name", name, "busybox", command)
    assert said in lamina(*words, status=status).stderr
    state = containers.state(name)
    assert (state["Status"], state["ExitCode"]) == ("exited", status)
    assert said in state["Error"]


def test_nothing_is_left_of_one_that_is_not_to_be_kept(
    containers: Containers, lamina: Lamina
) -> None:
    name = containers.sh("one", "exit 3", "--rm")
    wait_for(lambda: containers.listed("-a") == [])
    assert not (lamina.root / "containers" / "names" / name).is_symlink()
    lamina("run", "-d", "--rm", "--name", name, "busybox", "/nope", status=127)
    assert containers.listed("-a") == []


def test_stop_kills_what_does_not_listen(containers: Containers, lamina: Lamina) -> None:
    name = containers.sh("one", "trap '' TERM; echo up; while :; do sleep 0.1; done")
    wait_for(lambda: containers.logs(name) == "up\n")
    lamina("stop", "-t", "0", name)
    assert containers.state(name)["ExitCode"] == 137


def test_its_own_stop_signal(containers: Containers, lamina: Lamina) -> None:
    script = "trap 'exit 5' USR1; echo up; while :; do sleep 0.1; done"
    name = containers.sh("one", script, "--stop-signal", "USR1")
    wait_for(lambda: containers.logs(name) == "up\n")
    lamina("stop", name)
    assert containers.state(name)["ExitCode"] == 5
    assert containers.inspect(name)["Config"]["StopSignal"] == "SIGUSR1"


def test_signals(containers: Containers, lamina: Lamina) -> None:
    name = containers.sh("one", "trap 'echo got' HUP; echo up; while :; do sleep 0.1; done")
    wait_for(lambda: containers.logs(name) == "up\n")
    lamina("kill", "-s", "SIGHUP", name)
    wait_for(lambda: containers.logs(name) == "up\ngot\n")
    lamina("kill", name)
    assert containers.ended(name).stdout == "137\n"
    assert "is not running" in lamina("kill", name, status=1).stderr
    assert "invalid signal: NOPE" in lamina("kill", "-s", "NOPE", name, status=1).stderr


def test_waiting_gives_the_status(containers: Containers, lamina: Lamina) -> None:
    one = containers.sh("one", "sleep 0.5; exit 4")
    two = containers.sh("two", "exit 0")
    assert lamina("wait", one, two).stdout == "4\n0\n"


def test_restart(containers: Containers, lamina: Lamina) -> None:
    name = up(containers)
    before = containers.state(name)["Pid"]
    lamina("restart", name)
    wait_for(lambda: containers.logs(name) == "up\nup\n")
    assert containers.state(name)["Pid"] != before


@pytest.mark.parametrize(
    ("policy", "script", "starts"),
    [("on-failure:2", "echo run; exit 1", 3), ("on-failure", "echo run", 1), ("no", "echo run", 1)],
)
def test_a_restart_policy(containers: Containers, policy: str, script: str, starts: int) -> None:
    name = containers.sh("one", script, "--restart", policy)
    wait_for(lambda: containers.state(name)["Status"] == "exited")
    assert containers.logs(name) == "run\n" * starts
    assert containers.inspect(name)["RestartCount"] == starts - 1


@pytest.mark.parametrize("policy", ["always", "unless-stopped"])
def test_one_that_is_always_restarted_can_be_stopped(
    containers: Containers, lamina: Lamina, policy: str
) -> None:
    name = containers.sh("one", "echo run", "--restart", policy)
    wait_for(lambda: containers.logs(name).count("run") > 1)
    assert containers.state(name)["Running"]
    lamina("stop", name)
    assert containers.state(name)["Status"] == "exited"
    runs = containers.logs(name).count("run")
    lamina("start", name)
    wait_for(lambda: containers.logs(name).count("run") > runs + 1)
    lamina("rm", "-f", name)


def test_pausing(containers: Containers, lamina: Lamina) -> None:
    name = containers.sh("one", "sh -c 'while :; do echo x; sleep 0.02; done'")
    wait_for(lambda: containers.logs(name))
    paused = lamina("pause", name, status=None)
    if paused.status:  # a plain user to whom no cgroup is delegated
        assert os.geteuid() != 0
        assert "only a user to whom a cgroup was delegated" in paused.stderr
        return
    assert containers.state(name)["Paused"]
    assert "(Paused)" in lamina("ps", "--filter", f"name={name}").stdout
    assert "is already paused" in lamina("pause", name, status=1).stderr
    written = len(containers.logs(name))
    assert len(containers.logs(name)) == written
    lamina("unpause", name)
    wait_for(lambda: len(containers.logs(name)) > written)
    lamina("pause", name)
    lamina("stop", "-t", "0", name)
    assert containers.state(name)["Status"] == "exited"


def test_its_log(containers: Containers, lamina: Lamina) -> None:
    name = containers.sh("one", "echo one; sleep 0.1; echo two >&2; echo three; printf four")
    containers.ended(name)
    shown = lamina("logs", name)
    assert (shown.stdout, shown.stderr) == ("one\nthree\nfour", "two\n")
    assert containers.logs(name, "--tail", "1") == "four"
    assert containers.logs(name, "-n", "0") == ""
    stamped = containers.logs(name, "-t").splitlines()
    times = [line.split()[0] for line in stamped]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{9}Z", moment) for moment in times)
    assert containers.logs(name, "--since", times[-1]) == "four"
    assert containers.logs(name, "--until", times[0]) == "one\n"
    assert containers.logs(name, "--since", "1h") == "one\nthree\nfour"
    assert "invalid --since" in lamina("logs", "--since", "x", name, status=2).stderr


def test_following_a_log(containers: Containers, lamina: Lamina) -> None:
    name = containers.sh("one", "for n in 1 2 3; do echo $n; sleep 0.2; done")
    assert containers.logs(name, "-f") == "1\n2\n3\n"


def test_a_log_in_several_files(containers: Containers, lamina: Lamina) -> None:
    options = ("--log-opt", "max-size=20k", "--log-opt", "max-file=3")
    name = containers.sh("one", "seq 1 3000; sleep 0.2; seq 3001 3100", *options)
    containers.ended(name)
    lines = containers.logs(name).splitlines()
    assert lines == [str(n) for n in range(int(lines[0]), 3101)]
    folder = lamina.root / "containers" / containers.inspect(name)["Id"]
    assert sorted(path.name for path in folder.glob("log*")) == ["log", "log.1", "log.2"]
    assert sum(path.stat().st_size for path in folder.glob("log*")) < 60 << 10
    assert containers.logs(name, "--tail", "600").splitlines() == lines[-600:]


def test_no_log(containers: Containers, lamina: Lamina) -> None:
    name = containers.sh("one", "echo x", "--log-driver", "none")
    assert "keeps no log" in lamina("logs", name, status=1).stderr


def test_lists(containers: Containers, lamina: Lamina) -> None:
    one = containers.sh("one", "exit 1", "--label", "kind=a", "--label", "only")
    two = up(containers, "two", "--label", "kind=b")
    containers.ended(one)
    assert containers.listed("-a") == [two, one]
    assert containers.listed("-n", "1") == containers.listed("-l") == [two]
    assert containers.listed("-a", "--filter", "label=kind=a") == [one]
    assert containers.listed("-a", "--filter", "label=kind") == [two, one]
    assert containers.listed("--filter", "exited=1") == [one]
    assert containers.listed("-a", "--filter", f"before={two}") == [one]
    assert containers.listed("-a", "--filter", f"since={one}") == [two]
    assert containers.listed("-a", "--filter", "ancestor=busybox") == [two, one]
    assert containers.listed("-a", "--filter", "ancestor=other") == []
    assert "invalid --filter 'x=y'" in lamina("ps", "--filter", "x=y", status=2).stderr
    mine = ("ps", "-a", "--filter", f"name={containers.prefix}")
    rows = [json.loads(line) for line in lamina(*mine, "--format", "json").stdout.splitlines()]
    assert [row["State"] for row in rows] == ["running", "exited"]
    assert rows[1]["Status"].startswith("Exited (1) ")
    form = 'table {{.Names}}\\t{{.Label "kind"}}'
    table = lamina(*mine, "--format", form).stdout.splitlines()
    assert [line.split() for line in table] == [["NAMES", "KIND"], [two, "b"], [one, "a"]]
    ids = lamina(*mine, "-q", "--no-trunc").stdout.split()
    assert ids == [containers.inspect(name)["Id"] for name in (two, one)]
    assert "virtual" in lamina(*mine, "--size", "--format", "json").stdout


def test_inspection_by_template(containers: Containers, lamina: Lamina) -> None:
    name = up(containers, "one", "-e", "A=b c", "-l", "x.y=z", "-w", "/tmp", "-u", "www-data")
    form = '{{.State.Running}} {{index .Config.Labels "x.y"}} {{.Config.WorkingDir}}'
    assert lamina("inspect", "-f", form, name).stdout == "true z /tmp\n"
    assert json.loads(lamina("inspect", "-f", "{{json .Config.User}}", name).stdout) == "www-data"
    assert "|A=b c\n" in lamina("inspect", "-f", '{{join .Config.Env "|"}}', name).stdout
    refused = lamina("inspect", "-f", '{{template "x"}}', name, status=2)
    assert "'template' is not known" in refused.stderr
    assert lamina("inspect", "--type", "image", name, status=1).stdout == "[]\n"


def test_it_lives_on_without_who_started_it(containers: Containers, lamina: Lamina) -> None:
    name = containers.name("one")
    with lamina.start(
        "run", "-d", "--stop-timeout", "1", "--name", name, "busybox", "sleep", "600"
    ) as command:
        assert command.wait() == 0
        os.kill(os.getpid(), 0)
    pid = containers.state(name)["Pid"]
    with Path(f"/proc/{pid}/stat").open() as file:
        monitor = int(file.read().rpartition(")")[2].split()[1])
    assert os.getsid(monitor) not in (os.getsid(0), os.getpid())
    rss = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{monitor}/status").read_text())
    assert rss is not None
    assert int(rss[1]) < 15 << 10
    os.kill(monitor, signal.SIGTERM)
    wait_for(lambda: containers.state(name)["Status"] == "exited", 60)
    assert containers.state(name)["ExitCode"] == 137
