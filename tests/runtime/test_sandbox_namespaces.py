"""Namespaces that a container shares with the host or with another container, and what hangs on
them: kernel parameters, groups, devices.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.errors import SetupFailed
from runtime.sandbox import mounts
from runtime.sandbox.namespaces import HOST, NamespaceAt, NewUserNamespace, ProcessNamespace
from runtime.sandbox.server import SandboxServer
from support import probes
from support.sandbox import Box, Refused, inside, new_root, remove_folder

pytestmark = pytest.mark.namespaces
KINDS = ("pid", "ipc", "uts", "cgroup")


@pytest.fixture(scope="module")
def box(run_folder: Path) -> Iterator[Box]:
    folder = run_folder / f"namespaces-{os.urandom(4).hex()}"
    folder.mkdir()
    yield Box(root=new_root(str(folder)), folder=str(folder))
    remove_folder(folder)


def link(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{kind}")


def start_time(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


@pytest.mark.parametrize("kind", KINDS)
def test_that_of_the_host(box: Box, kind: str) -> None:
    for which in (box.sh(f"readlink /proc/self/ns/{kind}"),):
        assert which.output.strip() != link(kind)
    shared = box.sh(f"readlink /proc/self/ns/{kind}", **{kind: HOST})
    assert shared.output.strip() == link(kind)


def test_processes_of_the_host_are_seen(box: Box) -> None:
    ended = box.sh(f"cat /proc/{os.getpid()}/comm; echo $$", pid=HOST)
    name, pid = ended.output.split("\n")[:2]
    assert name == Path("/proc/self/comm").read_text().strip()
    assert int(pid) > 1


def test_those_of_another_container(box: Box) -> None:
    """All of them at once; and what is written to its /dev/shm is seen."""

    def work() -> tuple[str, str, str]:
        with SandboxServer() as server:
            null = os.open(os.devnull, os.O_RDWR)
            script = "hostname; echo here > /dev/shm/file; exec sleep 60"
            one = server.start(box.spec("/bin/sh", "-c", script, hostname="one"), null, null, null)
            try:
                kinds = {kind: ProcessNamespace(one.pid, start_time(one.pid)) for kind in KINDS}
                of_one = " ".join(os.readlink(f"/proc/{one.pid}/ns/{kind}") for kind in KINDS)
                script = (
                    "while ! [ -e /dev/shm/file ]; do :; done; cat /dev/shm/file; hostname;"
                    f" for k in {' '.join(KINDS)}; do readlink /proc/self/ns/$k; done;"
                    " cat /proc/1/comm"
                )
                spec = box.spec("/bin/sh", "-c", script, hostname="two", **kinds)
                two = box.run_on(server, spec).output
                at = NamespaceAt(f"/proc/{one.pid}/ns/uts")
                three = box.run_on(server, box.spec("/bin/hostname", uts=at)).output
            finally:
                one.kill(9)
                one.wait()
        return two, of_one, three

    two, of_one, three = inside(work)
    shm, name, *links, first = two.split()
    assert (shm, name, three) == ("here", "one", "one\n")
    assert links == of_one.split()
    assert first == "sleep"


def test_another_process_of_that_id_is_not_taken_for_it(box: Box) -> None:
    def work() -> str:
        pid = os.getpid()
        with SandboxServer() as server:
            spec = box.spec("/bin/true", uts=ProcessNamespace(pid, start_time(pid) + 1))
            return box.run_on(server, spec).output

    with pytest.raises(Refused, match="join another uts namespace: the container whose it is"):
        inside(work)


def test_kernel_parameters(box: Box) -> None:
    ended = box.sh(
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/lo/mc_forwarding"
        " /proc/sys/net/ipv4/ip_default_ttl",
        sysctls=(("net.ipv4.ip_default_ttl", "43"), ("net/ipv4/ip_forward", "1")),
    )
    assert ended.output.split() == ["1", "0", "43"]
    with pytest.raises(Refused, match=r"set the kernel parameter net.no.such"):
        box.sh("true", sysctls=(("net.no.such", "1"),))
    with pytest.raises(Refused, match=r"set the kernel parameter net/\.\./\.\./\.\./etc/hostname"):
        box.sh("true", sysctls=(("net/../../../etc/hostname", "1"),))


def test_more_groups(box: Box) -> None:
    ended = box.run("/bin/id", "-G", user="33:33", groups=("4711", "root"))
    assert set(ended.output.split()) == {"33", "4711", "0"}
    with pytest.raises(Refused, match="unable to find group nemo"):
        box.run("/bin/true", groups=("nemo",))


def test_no_shared_memory(box: Box) -> None:
    assert "No such file" in box.sh("ls -d /dev/shm", shm_size=0).output


def test_every_device(box: Box) -> None:
    """The host's devices, live; and those that are made are, too, where one can make any."""
    node = Path("/dev/loop-control")
    if not node.is_char_device():
        probes.unmet("the host has no /dev/loop-control")
    script = (
        "ls -l /dev/loop-control; mknod /n c 1 5; head -c 3 /n | wc -c; grep ' /sys ' /proc/mounts"
    )
    ended = box.sh(script, all_devices=True)
    status = os.stat(node)
    major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
    assert ended.output.startswith("c")
    assert f"{major}, {minor:3}" in ended.output.splitlines()[0]
    assert "rw," in ended.output.splitlines()[-1]
    if probes.is_root():
        assert ended.output.splitlines()[1] == "3"
    assert "No such file" in box.sh("ls -l /dev/loop-control").output


@pytest.mark.root
def test_where_owners_cannot_be_mapped_the_remedy_is_named(box: Box) -> None:
    """Overlayfs is such a file system; and one mount must do for all directories of a root."""
    wanted = NewUserNamespace(box.folder, ((1_879_048_192, 65536),))

    def work() -> list[str]:
        place, spec = f"{box.folder}/overlay", box.spec("/bin/true", user_namespace=wanted)
        os.mkdir(place)
        mounts.mount_overlay(place, lower=spec.lower, upper=spec.upper, work=spec.work)
        said = []
        with SandboxServer() as server:
            for lower in (f"{place}/etc", place):
                try:
                    box.run_on(server, replace(spec, lower=(lower,), upper=None, work=None))
                except SetupFailed as error:
                    said.append(f"{error.message}; {error.hint}")
        return said

    said = inside(work)
    assert "map the owners of the layers' files: invalid argument; the store's" in said[0]
    assert "not all in one file system; the store's file system cannot map owners" in said[1]


@pytest.mark.root
def test_when_all_ids_are_taken(box: Box) -> None:
    wanted = NewUserNamespace(box.folder, ((1_879_048_192, 65536),))

    def work() -> str:
        null = os.open(os.devnull, os.O_RDWR)
        with SandboxServer() as server:
            one = server.start(
                box.spec("/bin/sleep", "60", user_namespace=wanted), null, null, null
            )
            try:
                box.run_on(server, box.spec("/bin/true", user_namespace=wanted))
            except SetupFailed as error:
                return error.message
            finally:
                one.kill(9)
                one.wait()
        return ""

    assert "take IDs of the host's: all are taken" in inside(work)
    assert box.run("/bin/id", "-u", user_namespace=wanted).output == "0\n"
