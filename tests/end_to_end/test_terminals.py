"""Containers and people at terminals: exec, attach, sizes, keys, signals, statuses."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.cli import Lamina
from support.containers import Containers, wait_for
from support.terminals import User, user_of

pytestmark = pytest.mark.namespaces

_SHELL = 'while read line; do eval "$line"; done'


@contextmanager
def at_terminal(lamina: Lamina, *words: str) -> Iterator[User]:
    with user_of(lamina.command(*words), lamina.environment(None)) as user:
        yield user


def test_a_shell_at_a_terminal(lamina: Lamina) -> None:
    with at_terminal(lamina, "run", "-it", "--rm", "busybox", "sh") as user:
        before = user.mode()
        user.reads("# ")
        assert user.mode() != before
        user.type("tty; stty size; echo $TERM; ls -l /dev/console\n")
        user.reads(r"/dev/pts/0\r\n30 100\r\nxterm\r\ncrw[^\n]*/dev/console\r\n")
        user.resize(44, 66)
        user.type("while [ \"$(stty size)\" != '44 66' ]; do :; done; echo re''sized\n")
        user.reads("resized")
        user.type("sleep 100\n")
        time.sleep(0.5)
        user.type("\x03")
        user.reads(r"\^C")
        user.type("echo still''here; exit 7\n")
        user.reads("stillhere")
        assert user.leaves_with() == 7
        assert user.mode() == before


def test_letting_go_and_coming_back(containers: Containers, lamina: Lamina) -> None:
    name = containers.name("one")
    with at_terminal(lamina, "run", "-it", "--name", name, "busybox", "sh") as user:
        before = user.mode()
        user.reads("# ")
        user.type("A=kept\n\x10\x11")
        assert user.leaves_with() == 0
        assert user.mode() == before
    assert containers.state(name)["Running"]
    with at_terminal(lamina, "attach", "--detach-keys", "a,b", name) as user:
        user.type("echo $A a''c aa")
        user.reads("echo")
        user.type("\n")
        user.reads("kept ac aa")
        user.type("ab")
        assert user.leaves_with() == 0
    with at_terminal(lamina, "attach", name) as user:
        user.type("exit 5\n")
        assert user.leaves_with() == 5
    assert containers.state(name)["ExitCode"] == 5
    assert "is not running" in lamina("attach", name, status=1).stderr


def test_a_terminal_needs_a_terminal(lamina: Lamina) -> None:
    refused = lamina("run", "-it", "--rm", "busybox", "true", status=2)
    assert "the input device is not a TTY" in refused.stderr
    assert lamina("run", "-t", "--rm", "busybox", "tty").stdout == "/dev/pts/0\n"


def test_the_terminal_is_the_users_own(lamina: Lamina) -> None:
    script = "echo written > $(tty) && stat -c %U $(tty)"
    shown = lamina("run", "-t", "--rm", "-u", "www-data", "busybox", "sh", "-c", script)
    assert shown.stdout == "written\nwww-data\n"


def test_what_ends_with_a_signal_leaves_the_terminal_as_it_was(
    containers: Containers, lamina: Lamina
) -> None:
    name = containers.name("one")
    words = ("run", "-it", "--name", name, "--no-sig-proxy", "busybox", "sh")
    with at_terminal(lamina, *words) as user:
        before = user.mode()
        user.reads("# ")
        user.process.send_signal(signal.SIGTERM)
        assert user.leaves_with() == 143
        assert user.mode() == before
    assert containers.state(name)["Running"]


def test_input_and_its_end(containers: Containers, lamina: Lamina) -> None:
    words = ("run", "-i", "--name", containers.name("one"), "busybox", "sh", "-c", "cat; exit 3")
    assert lamina(*words, stdin="hello\n", status=3).stdout == "hello\n"
    assert containers.logs(containers.name("one")) == "hello\n"
    closed = lamina("run", "--rm", "busybox", "cat", stdin="not wanted")
    assert closed.stdout == ""
    assert lamina("run", "-i", "--rm", "busybox", "cat", stdin="wanted").stdout == "wanted"


def test_much_in_both_directions(containers: Containers, lamina: Lamina) -> None:
    data = os.urandom(3 << 20)
    words = (
        "run",
        "-i",
        "--name",
        containers.name("one"),
        "--log-driver",
        "none",
        "busybox",
        "cat",
    )
    process = subprocess.run(
        lamina.command(*words), input=data, capture_output=True, env=lamina.environment(None)
    )
    assert process.stderr == b""
    assert process.stdout == data


def test_only_some_streams(containers: Containers, lamina: Lamina) -> None:
    words = ("run", "--name", containers.name("one"), "-a", "stderr", "busybox")
    shown = lamina(*words, "sh", "-c", "echo out; echo err >&2")
    assert (shown.stdout, shown.stderr) == ("", "err\n")


def test_attached_from_the_start(containers: Containers, lamina: Lamina) -> None:
    name = containers.name("one")
    lamina("create", "-i", "--name", name, "busybox", "sh", "-c", "echo first; cat; exit 9")
    shown = lamina("start", "-ai", name, stdin="given\n", status=9)
    assert shown.stdout == "first\ngiven\n"


def test_several_are_attached(containers: Containers, lamina: Lamina) -> None:
    name = containers.sh("one", _SHELL, "-i")
    watching = [lamina.start("attach", "--no-stdin", name) for _ in range(2)]
    try:
        time.sleep(1)
        lamina("attach", name, stdin="echo to all\nexit 6\n", status=6)
        for process in watching:
            out, _ = process.communicate(timeout=30)
            assert (out, process.returncode) == ("to all\n", 6)
    finally:
        for process in watching:
            process.kill()
            process.wait()


def test_signals_go_on_to_the_container(containers: Containers, lamina: Lamina) -> None:
    script = "trap 'echo got; exit 4' HUP; echo up; while :; do sleep 0.1; done"
    name = containers.name("one")
    with lamina.start("run", "--name", name, "busybox", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "got\n"
        assert process.wait(30) == 4


def test_who_is_killed_leaves_the_container_alone(containers: Containers, lamina: Lamina) -> None:
    name = containers.name("one")
    script = "echo up; read line; echo over"
    with lamina.start("run", "-i", "--name", name, "busybox", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.kill()
    # Its input ends with the one who gave it.
    wait_for(lambda: containers.logs(name) == "up\nover\n")


# ---- exec


def test_a_command_in_a_container(containers: Containers, lamina: Lamina) -> None:
    options = ("-e", "A=1", "-w", "/tmp", "-u", "www-data", "--hostname", "box")
    name = containers.sh("one", "sleep 600", *options)
    script = "echo $A $B; pwd; id -un; hostname; cat /proc/1/comm; exit 3"
    shown = lamina("exec", "-e", "B=2", name, "sh", "-c", script, status=3)
    assert shown.stdout == "1 2\n/tmp\nwww-data\nbox\nsleep\n"
    as_root = ("exec", "-u", "root", "-w", "/etc", name, "sh", "-c", "id -u; pwd; echo $HOME")
    assert lamina(*as_root).stdout == "0\n/etc\n/root\n"
    assert lamina("exec", "-i", name, "cat", stdin="input").stdout == "input"
    assert lamina("exec", name, "cat", stdin="input").stdout == ""
    assert "not found in $PATH" in lamina("exec", name, "nope", status=127).stderr
    assert "permission denied" in lamina("exec", name, "/etc/passwd", status=126).stderr
    assert "unable to find user" in lamina("exec", "-u", "nemo", name, "id", status=126).stderr
    assert "/nope" in lamina("exec", "-w", "/nope", name, "id", status=126).stderr
    lamina("stop", "-t", "0", name)
    assert "is not running" in lamina("exec", name, "true", status=1).stderr


def test_a_command_that_is_left_alone(containers: Containers, lamina: Lamina) -> None:
    name = containers.sh("one", "sleep 600")
    lamina("exec", "-d", name, "sh", "-c", "echo here > /made; sleep 600")
    wait_for(lambda: lamina("exec", name, "cat", "/made", status=None).stdout == "here\n")
    assert "leave out" in lamina("exec", "-dt", name, "true", status=2).stderr


def test_a_command_with_a_terminal(containers: Containers, lamina: Lamina) -> None:
    name = containers.sh("one", "sleep 600")
    with at_terminal(lamina, "exec", "-it", name, "sh") as user:
        user.reads("# ")
        user.type("tty; stty size\n")
        user.reads(r"/dev/pts/0\r\n30 100\r\n")
        user.resize(20, 50)
        user.type("while [ \"$(stty size)\" != '20 50' ]; do :; done; exit 8\n")
        assert user.leaves_with() == 8
    with at_terminal(lamina, "exec", "-it", name, "sh") as user:
        user.reads("# ")
        user.type("\x10\x11")
        assert user.leaves_with() == 0


def test_a_command_is_under_the_same_restrictions(containers: Containers, lamina: Lamina) -> None:
    name = containers.sh("one", "sleep 600")
    script = (
        "grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/$PID/status;"
        " for n in /proc/$PID/ns/*; do readlink $n; done"
    )
    own = lamina("exec", "-e", "PID=1", name, "sh", "-c", script).stdout
    executed = lamina("exec", "-e", "PID=self", name, "sh", "-c", script).stdout
    assert executed == own
    assert "Seccomp:\t2" in own
    assert lamina("exec", name, "ls", "/proc/self/fd").stdout.split() == ["0", "1", "2", "3"]
    mounted = lamina("exec", name, "mount", "-t", "tmpfs", "x", "/mnt", status=None)
    assert "permi" in mounted.stderr


# ---- init


def test_an_init_reaps_and_passes_signals_on(containers: Containers, lamina: Lamina) -> None:
    script = "trap 'exit 6' TERM; sh -c 'sleep 0.2 & exit'; echo up; while :; do sleep 0.1; done"
    name = containers.sh("one", script, "--init")
    wait_for(lambda: containers.logs(name) == "up\n")
    time.sleep(0.5)
    listed = lamina("exec", name, "ps", "-o", "pid,stat,comm").stdout
    assert "lamina-init" in listed
    assert " Z" not in listed
    assert lamina("exec", name, "cat", "/proc/1/cmdline").stdout.strip("\0") == "lamina-init"
    lamina("stop", name)
    assert containers.state(name)["ExitCode"] == 6


@pytest.mark.parametrize(("script", "status"), [("exit 3", 3), ("kill -TERM $$", 143)])
def test_the_status_below_an_init(lamina: Lamina, script: str, status: int) -> None:
    lamina("run", "--rm", "--init", "busybox", "sh", "-c", script, status=status)
    lamina("run", "--rm", "--init", "busybox", "/nope", status=127)


def test_a_shell_below_an_init(lamina: Lamina) -> None:
    with at_terminal(lamina, "run", "-it", "--init", "--rm", "busybox", "sh") as user:
        user.reads("# ")
        user.type("sleep 100\n")
        time.sleep(0.5)
        user.type("\x03")
        user.reads(r"\^C")
        user.type("exit 2\n")
        assert user.leaves_with() == 2
