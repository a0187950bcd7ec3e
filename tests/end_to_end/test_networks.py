"""Private networks as root, with real traffic: between containers, and with the world."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from support.cli import Lamina
from support.containers import Containers, wait_for
from support.machines import HOST, WORLD, LaminaThere, Machine, machine_and_world

pytestmark = [pytest.mark.namespaces, pytest.mark.root]

_ANSWER = "exec nc -ll -p 80 -e echo {}"


@dataclass(frozen=True, slots=True)
class Place:
    """A machine that runs containers, with the world around it."""

    machine: Machine
    world: Machine
    lamina: Lamina
    containers: Containers

    def serving(self, name: str, *options: str) -> str:
        """A container that says its name to everybody who comes to its port 80."""
        full = self.containers.sh(name, _ANSWER.format(name), *options)
        address = self.address(full)
        wait_for(lambda: self.machine.ask(address, 80) == f"{name}\n")
        return full

    def address(self, name: str, network: str = "bridge", key: str = "IPAddress") -> str:
        networks = self.containers.inspect(name)["NetworkSettings"]["Networks"]
        found = networks[network][key]
        assert isinstance(found, str)
        return found

    def inside(self, name: str) -> Machine:
        """The network of a container."""
        return Machine(self.containers.state(name)["Pid"])

    def heard(self, container: str, address: str, port: int) -> str:
        """What a container hears from a port."""
        words = ("exec", container, "nc", "-w", "2", address, str(port))
        return self.lamina(*words, status=None).stdout


@pytest.fixture(scope="module")
def machines() -> Iterator[tuple[Machine, Machine]]:
    with machine_and_world() as both:
        yield both


@pytest.fixture
def place(lamina: Lamina, machines: tuple[Machine, Machine]) -> Iterator[Place]:
    machine, world = machines
    there = LaminaThere(root=lamina.root, temporary=lamina.temporary, machine=machine)
    containers = Containers(there)
    before = machine.links(), machine.rules()
    try:
        yield Place(machine, world, there, containers)
    finally:
        containers.remove_all()
    assert (machine.links(), machine.rules()) == before


def test_published_ports_lead_to_the_container(place: Place) -> None:
    name = place.serving("web", "-p", "8080:80")
    address = place.address(name)
    gateway = re.sub(r"\.\d+$", ".1", address)
    for at in ("127.0.0.1", HOST, gateway):
        assert place.machine.ask(at, 8080) == "web\n", at
    assert place.world.ask(HOST, 8080) == "web\n"
    # Itself by way of the host, and a neighbour of its.
    other = place.containers.sh("other", "sleep 600")
    for container in (name, other):
        for at in (gateway, HOST):
            assert place.heard(container, at, 8080) == "web\n", (container, at)
    assert place.heard(other, address, 80) == "web\n"
    # What is not published is not to be had from outside, even by those who know the way.
    assert place.world.ask(address, 80) == ""
    # A host's own service at 127.0.0.1 is not reached by way of a bridge (CVE-2020-8558).
    script = "ip route add 127.0.0.5/32 via $1 2>&1; nc -w 1 127.0.0.5 22 2>&1"
    assert "hello" not in place.lamina("exec", other, "sh", "-c", script, status=None).text


def test_datagrams_ranges_and_any_port(place: Place) -> None:
    name = place.serving("many", "-p", "7000-7001:7000-7001/udp", "-p", "80")
    ports = place.containers.inspect(name)["NetworkSettings"]["Ports"]
    assert ports["7001/udp"] == [{"HostIp": "0.0.0.0", "HostPort": "7001"}]
    (any_port,) = ports["80/tcp"]
    number = any_port["HostPort"]
    assert place.world.ask(HOST, int(number)) == "many\n"
    inside = place.inside(name)
    with inside.answering("UDP4-LISTEN", 7000), inside.answering("UDP4-LISTEN", 7001):
        assert place.world.ask(HOST, 7000, udp=True, say="to 7000") == "to 7000"
        assert place.machine.ask("127.0.0.1", 7001, udp=True, say="to 7001") == "to 7001"
    shown = place.lamina("ps", "--filter", f"name={name}", "--format", "{{.Ports}}").stdout
    assert shown == f"0.0.0.0:{number}->80/tcp, 0.0.0.0:7000-7001->7000-7001/udp\n"
    assert place.lamina("port", name, "80").stdout == f"0.0.0.0:{number}\n"
    assert "7000/udp -> 0.0.0.0:7000\n" in place.lamina("port", name).stdout
    assert "no public port '81/tcp'" in place.lamina("port", name, "81", status=1).stderr


def test_the_world_sees_the_host(place: Place) -> None:
    words = ["socat", "TCP4-LISTEN:9000,fork,reuseaddr", "SYSTEM:echo $SOCAT_PEERADDR"]
    script = f"until nc -w 2 {WORLD} 9000; do sleep 0.05; done; ip route"
    with subprocess.Popen([*place.world.enter(), *words]) as server:
        try:
            outcome = place.lamina("run", "--rm", "busybox", "sh", "-c", script)
        finally:
            server.terminate()
    seen, *routes = outcome.stdout.splitlines()
    assert seen == HOST
    assert routes[0].startswith("default via 10.")


def test_none_has_no_way_out(place: Place) -> None:
    script = f"ip -o link | wc -l; ip route; nc -w 1 {WORLD} 9000 || echo no"
    outcome = place.lamina("run", "--rm", "--network", "none", "busybox", "sh", "-c", script)
    assert outcome.stdout == "1\nno\n"


def test_a_port_is_given_once(place: Place) -> None:
    place.containers.sh("one", "sleep 600", "-p", "127.0.0.1:8081:80")
    for at in ("8081:80", "127.0.0.1:8081:81"):
        refused = place.lamina("run", "-d", "--rm", "-p", at, "busybox", "true", status=125)
        assert "port is already allocated" in refused.stderr
    refused = place.lamina("run", "--rm", "-p", "192.0.2.99:1:80", "busybox", "true", status=125)
    assert "the host has no such address" in refused.stderr


def test_what_a_killed_monitor_leaves_goes(place: Place) -> None:
    name = place.containers.sh("one", "sleep 600", "-p", "8082:80")
    assert "8082" in place.machine.rules()
    os.kill(_monitor(place, name), signal.SIGKILL)
    wait_for(lambda: place.containers.state(name)["Status"] == "exited")
    # Whoever comes next finds it: the port is free, the rules are gone.
    other = place.containers.sh("two", "sleep 600", "-p", "8082:80")
    assert place.machine.rules().count("8082") == 1
    place.lamina("rm", "-f", other)
    assert "lamina" not in place.machine.rules()
    place.lamina("start", name)
    assert place.machine.rules().count("8082") == 1
    os.kill(_monitor(place, name), signal.SIGKILL)
    place.lamina("rm", "-f", name)
    assert "lamina" not in place.machine.rules()


def test_killed_inside_it_is_wired_again(place: Place) -> None:
    name = place.serving("web", "-p", "8083:80", "--restart", "always")
    before = place.address(name)
    os.kill(place.containers.state(name)["Pid"], signal.SIGKILL)
    wait_for(lambda: place.machine.ask("127.0.0.1", 8083) == "web\n")
    assert place.address(name) == before


def test_twenty_at_once_have_addresses_of_their_own(place: Place) -> None:
    def start(number: int) -> str:
        return place.containers.sh(f"n{number}", "sleep 600", "-p", "80")

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(start, range(20)))
    settings = [place.containers.inspect(name)["NetworkSettings"] for name in names]
    addresses = {each["Networks"]["bridge"]["IPAddress"] for each in settings}
    ports = {each["Ports"]["80/tcp"][0]["HostPort"] for each in settings}
    assert len(addresses) == len(ports) == 20
    assert all(f"dnat ip to {address}:80" in place.machine.rules() for address in addresses)


def _monitor(place: Place, name: str) -> int:
    full = place.containers.inspect(name)["Id"]
    path = place.lamina.root / "containers" / full / "state.json"
    document: dict[str, Any] = json.loads(path.read_text())
    pid = document["runner"]["pid"]
    assert isinstance(pid, int)
    return pid
