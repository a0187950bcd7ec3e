"""Volumes: named, anonymous, of the image; filled, shared, removed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import probes
from support.cli import Lamina
from support.containers import Containers, wait_for

pytestmark = pytest.mark.namespaces

_DOCKERFILE = """\
FROM busybox
RUN mkdir -p /data/deep /empty && echo one > /data/one && ln /data/one /data/two \\
 && ln -s one /data/link && chmod 2750 /data/deep && chown 33:44 /data /data/one \\
 && chmod 1770 /data && chown 5:6 /empty
VOLUME /data /made/by/volume
"""


@pytest.fixture(scope="module")
def image(lamina: Lamina, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image with volumes, one of which it has files for."""
    context = tmp_path_factory.mktemp("context")
    (context / "Dockerfile").write_text(_DOCKERFILE)
    name = f"volumes-{os.urandom(4).hex()}"
    lamina.build(context, name)
    yield name
    lamina("rmi", "-f", name)


@pytest.fixture
def volume(lamina: Lamina) -> Iterator[str]:
    """The name of a volume that is not there yet, and is not any more at the end."""
    name = f"v{os.urandom(6).hex()}"
    yield name
    lamina("volume", "rm", "-f", name)


def names(lamina: Lamina, *options: str) -> set[str]:
    return set(lamina("volume", "ls", "-q", *options).stdout.split())


def mounts(containers: Containers, name: str) -> dict[str, dict[str, object]]:
    return {mount["Destination"]: mount for mount in containers.inspect(name)["Mounts"]}


def test_a_named_volume_is_filled_once_and_outlives_its_containers(
    lamina: Lamina, image: str, volume: str
) -> None:
    look = "cd /data; stat -c '%n %u:%g %a %h' . one two link deep; readlink link; cat one"
    shown = lamina("run", "--rm", "-v", f"{volume}:/data", image, "sh", "-c", look)
    assert shown.stdout.splitlines() == [
        ". 33:44 1770 3", "one 33:44 644 2", "two 33:44 644 2", "link 0:0 777 1",
        "deep 0:0 2750 2", "one", "one",
    ]  # fmt: skip
    change = "rm /data/*o*; echo mine > /data/new"
    lamina("run", "--rm", "-v", f"{volume}:/data", image, "sh", "-c", change)
    words = ("-v", f"{volume}:/data:ro", "busybox", "sh", "-c", "ls /data; touch /data/x")
    shown = lamina("run", "--rm", *words, status=1)
    assert shown.stdout.split() == ["deep", "link", "new"]
    assert "ead-only" in shown.stderr
    assert volume in names(lamina)


def test_what_is_not_filled(lamina: Lamina, image: str, volume: str) -> None:
    for words in (
        ("-v", f"{volume}:/data:nocopy"),
        ("--mount", f"type=volume,src={volume},dst=/data,volume-nocopy"),
    ):
        shown = lamina("run", "--rm", *words, image, "sh", "-c", "ls /data; stat -c %u /data")
        assert shown.stdout == "0\n"
    # A folder with nothing in it still says whose the volume is to be.
    shown = lamina("run", "--rm", "-v", f"{volume}:/empty", image, "stat", "-c", "%u:%g", "/empty")
    assert shown.stdout == "5:6\n"
    refused = lamina("run", "--rm", "-v", f"{volume}:/etc/passwd", image, "true", status=125)
    assert "over existing file" in refused.stderr


def test_volumes_of_the_image_go_with_their_container(
    containers: Containers, lamina: Lamina, image: str
) -> None:
    label = f"type=volume,dst=/labelled,volume-label={containers.prefix}"
    ours = ("--filter", f"label={containers.prefix}")
    look = ("--rm", "--mount", label, image, "sh", "-c", "ls -A /data /labelled")
    assert lamina("run", *look).stdout.startswith("/data:\ndeep\n")
    assert names(lamina, *ours) == set()
    # Under a monitor.
    name = containers.detached("zero", "--rm", "--", "sleep", "600", image=image)
    made = {str(mount["Name"]) for mount in mounts(containers, name).values()}
    assert len(made & names(lamina)) == 2
    lamina("kill", name)
    wait_for(lambda: not made & names(lamina))
    # Kept, and started again.
    name = containers.name("one")
    script = "echo x >> /data/f; wc -l < /data/f"
    lamina("run", "-d", "--name", name, "-v", "/more", image, "sh", "-c", script)
    containers.ended(name)
    lamina("start", "-a", name)
    assert containers.logs(name) == "1\n2\n"
    found = mounts(containers, name)
    assert set(found) == {"/data", "/made/by/volume", "/more"}
    made = {str(mount["Name"]) for mount in found.values()}
    assert len(made) == 3
    assert made <= names(lamina, "--filter", "dangling=false")
    assert "is in use by" in lamina("volume", "rm", *made, status=1).stderr
    lamina("volume", "prune", "-f")
    assert made <= names(lamina)
    row = lamina("ps", "-a", "--filter", f"name={name}", "--format", "{{.LocalVolumes}}")
    assert row.stdout == "3\n"
    lamina("rm", name)  # without -v they stay
    assert made <= names(lamina, "--filter", "dangling=true")
    lamina("volume", "rm", *made)
    lamina("run", "--name", name, image, "true")
    made = {str(mount["Name"]) for mount in mounts(containers, name).values()}
    assert len(made & names(lamina)) == 2
    lamina("rm", "-v", name)
    assert not made & names(lamina)


def test_volumes_of_another_container(
    containers: Containers, lamina: Lamina, image: str, volume: str
) -> None:
    one = containers.name("one")
    lamina("create", "--name", one, "-v", f"{volume}:/named", "-v", "/own", image, "true")
    two = containers.name("two")
    script = "touch /named/a /own/a /data/a; touch /made/by/volume/b"
    lamina("run", "--name", two, "--volumes-from", one, "busybox", "sh", "-c", script)
    shared = mounts(containers, one)
    assert mounts(containers, two) == shared
    words = ("--volumes-from", f"{one}:ro", "-v", "/own", "busybox", "sh", "-c")
    shown = lamina("run", "--rm", *words, "ls /own; ls /data | wc -l; touch /named/x", status=1)
    assert shown.stdout == "5\n"
    assert "ead-only" in shown.stderr
    # What another one still has does not go with the one it was made for.
    lamina("rm", "-v", one)
    own = str(shared["/own"]["Name"])
    assert own in names(lamina)
    lamina("rm", "-v", two)
    assert own not in names(lamina)
    assert volume in names(lamina)
    refused = lamina("run", "--rm", "--volumes-from", "none", "busybox", "true", status=125)
    assert "no such container: none" in refused.stderr


def test_the_volume_commands(lamina: Lamina, volume: str, run_folder: Path) -> None:
    words = ("--label", "a=b", "--label", "only", "--driver", "local", volume)
    assert lamina("volume", "create", *words).stdout == f"{volume}\n"
    assert lamina("volume", "create", volume).stdout == f"{volume}\n"
    (document,) = json.loads(lamina("volume", "inspect", volume).stdout)
    assert document["Name"] == volume
    assert document["Labels"] == {"a": "b", "only": ""}
    assert Path(document["Mountpoint"]).is_dir()
    for kind in ((), ("--type", "volume")):
        assert json.loads(lamina("inspect", *kind, volume).stdout) == [document]
    form = ("--format", '{{.Name}} {{.Label "a"}} {{.Driver}}')
    assert f"{volume} b local\n" in lamina("volume", "ls", *form).stdout
    table = lamina("volume", "ls", "--filter", f"name={volume}").stdout.splitlines()
    assert [line.split() for line in table] == [["DRIVER", "VOLUME", "NAME"], ["local", volume]]
    assert volume in names(lamina, "--filter", "label=a=b", "--filter", "label=only")
    assert volume not in names(lamina, "--filter", "label=a=c")
    assert "Local Volumes" in lamina("df").stdout
    assert volume in lamina("df", "-v").stdout
    lamina("volume", "prune", "-f")
    assert volume in names(lamina)
    assert volume in lamina("volume", "prune", "-a", "-f", "--filter", "label=a=b").stdout
    assert volume not in names(lamina)
    assert "no such volume" in lamina("volume", "rm", volume, status=1).stderr
    assert lamina("volume", "inspect", volume, status=1).stdout == "[]\n"
    assert "invalid volume name" in lamina("volume", "create", "a/b", status=1).stderr
    refused = lamina("volume", "create", "-o", "type=nfs", "-o", "device=:/x", volume, status=1)
    assert "type 'nfs' are not supported" in refused.stderr
    there = run_folder / volume
    there.mkdir()
    options = ("-o", "type=none", "-o", "o=bind", "-o", f"device={there}")
    lamina("volume", "create", *options, volume)
    lamina("run", "--rm", "-v", f"{volume}:/d", "busybox", "touch", "/d/x")
    assert (there / "x").exists()


def test_a_volume_in_memory(lamina: Lamina, volume: str) -> None:
    options = ("-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,uid=5,mode=700")
    lamina("volume", "create", *options, volume)
    script = "grep ' /d ' /proc/mounts; stat -c %u:%a /d; touch /d/x"
    for _ in range(2):
        shown = lamina("run", "--rm", "-v", f"{volume}:/d", "busybox", "sh", "-c", script).stdout
        assert "size=1024k" in shown
        assert shown.endswith("5:700\n")
    other = ("-o", "type=tmpfs", "-o", "o=mode=x", volume)
    assert "invalid option 'mode=x'" in lamina("volume", "create", *other, status=1).stderr


def test_a_subpath_never_leads_out_of_its_volume(
    lamina: Lamina, volume: str, run_folder: Path
) -> None:
    (run_folder / "secret").write_text("secret\n")
    outside = run_folder / "secret"
    fill = (
        "mkdir -p /d/a/b; echo in > /d/a/b/f; ln -s a/b /d/l; ln -s ../../.. /d/up; "
        f"ln -s {outside} /d/out"
    )
    lamina("run", "--rm", "-v", f"{volume}:/d", "busybox", "sh", "-c", fill)

    def mounted(subpath: str, command: str, status: int = 0) -> str:
        option = f"type=volume,src={volume},dst=/m,volume-subpath={subpath}"
        return lamina("run", "--rm", "--mount", option, "busybox", *command.split(),
                      status=status).text  # fmt: skip

    assert mounted("a/b", "cat /m/f") == "in\n"
    assert mounted("l", "cat /m/f") == "in\n"
    assert mounted("a/b/f", "cat /m") == "in\n"
    for subpath in ("out", "up", "none"):
        assert "cannot mount" in mounted(subpath, "cat /m", status=125)


def test_a_subpath_that_is_exchanged_for_a_link(
    containers: Containers, lamina: Lamina, volume: str
) -> None:
    """Whoever has the volume turns it into a link to everything, while it is mounted."""
    script = (
        "mkdir -p /d/real; touch /d/real/mine /d/ready; "
        "while :; do ln -sfn / /d/now; rm /d/now; ln -s .. /d/now; rm /d/now; "
        "mv /d/real /d/now; mv /d/now /d/real; done"
    )
    name = containers.sh("one", script, "-v", f"{volume}:/d")
    wait_for(lambda: lamina("volume", "inspect", volume, status=None).status == 0)
    option = f"type=volume,src={volume},dst=/m,volume-subpath=now"
    for _ in range(6):
        shown = lamina("run", "--rm", "--network", "none", "--mount", option, "busybox", "ls",
                       "-A", "/m", status=None)  # fmt: skip
        assert (shown.status, shown.stdout) in ((0, "mine\n"), (125, "")), shown
    lamina("rm", "-f", name)


def test_mounts_on_mounts(lamina: Lamina, volume: str, tmp_path: Path) -> None:
    words = (
        "-v", f"{volume}:/a/b", "--tmpfs", "/a:size=1m,uid=7,gid=8,mode=750,nr_inodes=50", "-v",
        "/a/b/c", "--read-only",
    )  # fmt: skip
    script = (
        "stat -c %u:%g:%a /a; touch /a/b/c/x /a/b/y /a/z /dev/shm/s && ls /a/b; "
        "grep -c nr_inodes=50 /proc/mounts; touch /x || echo > /etc/hosts"
    )
    shown = lamina("run", "--rm", *words, "busybox", "sh", "-c", script, status=1)
    assert shown.stdout == "7:8:750\nc\ny\n1\n"
    assert shown.stderr.count("ead-only") == 2


@pytest.mark.root
def test_mounts_of_the_host_come_in_later_where_they_are_wanted(
    containers: Containers, lamina: Lamina, run_folder: Path
) -> None:
    there = run_folder / containers.prefix
    (there / "in").mkdir(parents=True)
    slave, private = containers.name("slave"), containers.name("private")
    script = f"""
set -e
mount --bind {there} {there}
mount --make-shared {there}
lamina() {{ {" ".join(lamina.command())} "$@"; }}
lamina run -d --name {slave} -v {there}:/m:rslave busybox sleep 600
lamina run -d --name {private} --mount type=bind,src={there},dst=/m busybox sleep 600
mount -t tmpfs late {there}/in
touch {there}/in/file
lamina exec {slave} ls /m/in
echo --
lamina exec {private} ls /m/in
"""
    unshare = probes.need_tool("unshare")
    shown = subprocess.run(
        [unshare, "--mount", "--propagation", "private", "sh", "-c", script],
        check=True,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=lamina.environment(None),
    )
    assert shown.stdout.splitlines()[2:] == ["file", "--"]
    assert mounts(containers, slave)["/m"]["Propagation"] == "rslave"


def test_what_was_killed_leaves_no_volume(private_lamina: Lamina) -> None:
    """A folder that is neither a container nor one in the making is removed with its volumes."""
    lamina = private_lamina
    lamina("create", "--name", "one", "-v", "/a", "-v", "named:/b", "busybox")
    (container,) = [path for path in (lamina.root / "containers").iterdir() if len(path.name) == 64]
    (container / "state.json").unlink()  # as if killed before it was written
    lamina("run", "--rm", "busybox", "true")
    assert not container.exists()
    assert names(lamina) == {"named"}
    record = lamina.root / "volumes" / "named" / "volume.json"
    record.write_text("{")
    assert "its record is damaged" in lamina("fsck", status=1).stdout
    assert "recorded again" in lamina("fsck", "--repair").stdout
    assert names(lamina) == {"named"}
