"""What containers change, images of them, events, and docker's longer names."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from support.cli import Lamina
from support.containers import Containers, wait_for
from support.daemon import Docker

pytestmark = pytest.mark.namespaces

_CHANGE = (
    "echo new > /new; mkdir -p /a/b; echo x > /a/b/c; rm /etc/group; echo > /etc/passwd; "
    "chown 33:44 /new; chmod 4755 /new; rm -r /root; mkdir /root; echo v > /vol/f; "
    "echo h > /etc/hosts; touch /tmp/once; rm /tmp/once; cp /bin/busybox /bin/copied; "
    "ln /new /other; echo done; sleep 600"
)
_CHANGED = [
    "A /a", "A /a/b", "A /a/b/c", "C /bin", "A /bin/copied", "C /etc", "D /etc/group",
    "C /etc/passwd", "A /new", "A /other",
]  # fmt: skip


def test_changes_and_an_image_of_them(containers: Containers, lamina: Lamina) -> None:
    name = containers.sh(
        "one", _CHANGE, "-v", "/vol", "-e", "A=b", "-l", "k=v", "-w", "/tmp", "--tmpfs", "/mem",
        "--stop-signal", "USR1",
    )  # fmt: skip
    wait_for(lambda: containers.logs(name) == "done\n")
    changed = lamina("diff", name).stdout.splitlines()
    assert [line for line in changed if "/root" not in line and "/tmp" not in line] == _CHANGED
    image = containers.name("image")
    words = ("-m", "said", "-a", "me", "-c", 'CMD ["cat", "/a/b/c"]', "-c", "ENV C=d")
    image_id = lamina("commit", *words, name, image).stdout.strip()
    assert containers.state(name)["Status"] == "running"
    document = lamina.inspect(image)
    assert (document["Id"], document["Author"]) == (image_id, "me")
    config = document["Config"]
    assert config["Cmd"] == ["cat", "/a/b/c"]
    assert {"A=b", "C=d"} <= set(config["Env"])
    assert not [text for text in config["Env"] if text.startswith("HOSTNAME=")]
    assert (config["WorkingDir"], config["Labels"], config["StopSignal"]) == (
        "/tmp", {"k": "v"}, "SIGUSR1",
    )  # fmt: skip
    assert set(config["Volumes"]) == {"/vol"}
    assert "said" in lamina("history", image).stdout
    assert lamina("run", "--rm", image).stdout == "x\n"
    look = "stat -c %u:%g:%a:%h /new; ls /root /etc/group /vol /mem; cat /etc/passwd"
    shown = lamina("run", "--rm", image, "sh", "-c", look)
    assert shown.stdout.splitlines() == ["33:44:4755:2", "/root:", "", "/vol:", ""]
    assert shown.stderr.count("No such file") == 2
    lamina("kill", name)
    containers.ended(name)
    assert lamina("diff", name).stdout.splitlines() == changed
    again = lamina("commit", name).stdout.strip()
    assert lamina.inspect(again)["RootFS"] == document["RootFS"]
    lamina("rmi", "-f", image, again)
    assert "no such container" in lamina("commit", "none", status=1).stderr
    assert "no such container" in lamina("diff", "none", status=1).stderr


@pytest.mark.root
@pytest.mark.xdist_group("docker")
def test_docker_runs_an_image_of_a_container(
    containers: Containers, lamina: Lamina, docker: Docker, tmp_path: Path
) -> None:
    script = "echo mine > /mine; rm /etc/group; rm -r /root; mkdir /root; chown 5:6 /mine"
    name = containers.sh("one", script)
    containers.ended(name)
    image = containers.name("image")
    lamina("commit", "-c", 'CMD ["sh", "-c", "stat -c %u:%g /mine; ls -A /root /etc/group"]',
           name, image)  # fmt: skip
    tar = tmp_path / "image.tar"
    lamina("save", "-o", tar, image)
    lamina("rmi", image)
    docker("load", "-i", tar)
    words = ("run", "--rm", "--network", "none", image, "sh", "-c")
    assert docker(*words, "cat /mine; stat -c %u:%g /mine; ls -A /root") == "mine\n5:6\n"
    assert docker(*words, "test -e /etc/group || echo gone") == "gone\n"


def test_events(containers: Containers, lamina: Lamina) -> None:
    began = str(time.time())
    # From before it is up: it may take a while, and must miss nothing.
    only_ours = ("--filter", f"label=t={containers.prefix}", "--format", "json")
    follow = ("events", "--since", began, *only_ours)
    with lamina.start(*follow) as process:
        assert process.stdout is not None
        name = containers.sh("one", "exit 3", "--label", f"t={containers.prefix}")
        containers.ended(name)
        lamina("start", name)
        containers.ended(name)
        lamina("rm", name)
        found: list[dict[str, Any]] = []
        while not found or found[-1]["Action"] != "destroy":
            found.append(json.loads(process.stdout.readline()))
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    actions = ["create", "start", "die", "start", "die", "destroy"]
    assert [event["Action"] for event in found] == actions
    first, die = found[0], found[2]
    assert (first["Type"], first["status"], first["from"]) == ("container", "create", "busybox")
    assert die["Actor"]["Attributes"]["exitCode"] == "3"
    past = ("events", "--since", began, "--until", "0s", "--filter", f"container={name}")
    lines = lamina(*past).stdout.splitlines()
    assert [line.split()[2] for line in lines] == actions
    assert f"name={name}" in lines[0]
    only = lamina(*past, "--filter", "event=die", "--format", "{{.Action}} {{.ID}}").stdout
    assert only == f"die {die['Actor']['ID']}\n" * 2
    volume = containers.name("volume")
    lamina("volume", "create", volume)
    lamina("volume", "rm", volume)
    image = containers.name("image")
    lamina("tag", "busybox", image)
    lamina("rmi", image)
    since = ("events", "--since", began, "--until", "0s")
    shown = lamina(*since, "--filter", f"volume={volume}").stdout.splitlines()
    assert [line.split()[1:3] for line in shown] == [["volume", "create"], ["volume", "destroy"]]
    shown = lamina(*since, "--filter", f"image={image}").stdout.splitlines()
    assert [line.split()[1:3] for line in shown] == [["image", "tag"], ["image", "untag"]]
    assert lamina(*since, "--filter", "type=nope").stdout == ""
    assert "invalid --filter" in lamina(*since, "--filter", "x=y", status=2).stderr
    assert "invalid --since" in lamina("events", "--since", "x", status=2).stderr


def test_a_journal_that_is_replaced_while_it_is_read(tmp_path: Path) -> None:
    from runtime.containers.journal import read_events
    from runtime.monitor.events import append_event

    filler = {"x": "y" * 5000}
    events = read_events(str(tmp_path), since_ns=0, until_ns=None)
    append_event(str(tmp_path), "0", "id", filler)
    assert next(events)["Action"] == "0"
    for number in range(1, 300):  # more than a mebibyte: one that is full is renamed
        append_event(str(tmp_path), str(number), "id", filler)
    assert sorted(os.listdir(tmp_path)) == ["events", "events.1"]
    assert [next(events)["Action"] for _ in range(1, 300)] == [str(n) for n in range(1, 300)]
    append_event(str(tmp_path), "last", "id", {})
    assert next(events)["Action"] == "last"
    events.close()  # type: ignore[attr-defined]  # a generator is what it is


def test_longer_names(private_lamina: Lamina) -> None:
    lamina = private_lamina
    lamina("container", "run", "--name", "one", "busybox", "true")
    lamina("container", "create", "--name", "two", "-l", "keep", "busybox")
    lamina("run", "-d", "--name", "up", "-v", "/vol", "busybox", "sleep", "600")
    lamina("run", "-v", "/vol", "--name", "three", "busybox", "true")
    assert len(lamina("container", "ls", "-aq").stdout.split()) == 4
    (document,) = json.loads(lamina("container", "inspect", "one").stdout)
    assert document["Name"] == "/one"
    (document,) = json.loads(lamina("image", "inspect", "busybox").stdout)
    assert document["RepoTags"] == ["busybox:latest"]
    assert lamina("image", "inspect", "one", status=1).stdout == "[]\n"
    assert "prune" in lamina("container", "--help").stdout
    asked = lamina("container", "prune", status=1, stdin="n\n")
    assert "will remove all stopped containers" in asked.stderr
    pruned = lamina("container", "prune", "-f", "--filter", "label!=keep").stdout
    assert pruned.startswith("Deleted Containers:\n")
    assert pruned.count("\n") == 5
    assert "Total reclaimed space" in pruned
    names = lamina("ps", "-a", "--format", "{{.Names}}").stdout.split()
    assert sorted(names) == ["two", "up"]
    assert len(lamina("volume", "ls", "-q").stdout.split()) == 2
    lamina("commit", "up")
    assert "deleted: sha256:" in lamina("image", "prune", "-f").stdout
    lamina("system", "prune", "-f", "--volumes")
    assert lamina("ps", "-a", "--format", "{{.Names}}").stdout.split() == ["up"]
    assert len(lamina("volume", "ls", "-q").stdout.split()) == 1
    assert len(lamina("image", "ls", "-q").stdout.split()) == 1
    lamina("container", "rm", "-f", "-v", "up")
    lamina("image", "prune", "-a", "-f")
    assert lamina("images", "-q").stdout == ""
