"""Names: containers find each other on networks of their own, and all others as the host does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.network.definitions import Network, Subnets, define_network
from support import dns_server, probes
from support.cli import Lamina
from support.containers import Containers, wait_for
from support.machines import WORLD, LaminaThere, Machine, machine_and_world

pytestmark = [pytest.mark.namespaces, pytest.mark.root]

_FOREVER = "exec sleep 600"


@dataclass(frozen=True, slots=True)
class Place:
    """A machine that runs containers, with a name server in the world around it."""

    machine: Machine
    lamina: Lamina
    containers: Containers

    def network(self, name: str, *, internal: bool = False) -> str:
        full = self.containers.name(name)
        wanted = Network(id="", name=full, created_ns=0, subnets=Subnets(), internal=internal)
        define_network(str(self.lamina.root), wanted, ipv6=True)
        return full

    def dig(self, container: str, *words: str) -> str:
        """What dig(1) hears in the network of a container."""
        pid = self.containers.state(container)["Pid"]
        asked = ("dig", "@127.0.0.11", "+tries=1", "+timeout=8", *words)
        return Machine(pid).run(*asked, check=False)

    def address(self, name: str, network: str, key: str = "IPAddress") -> str:
        found = self.containers.inspect(name)["NetworkSettings"]["Networks"][network][key]
        assert isinstance(found, str)
        return found


@pytest.fixture(scope="module")
def machines() -> Iterator[Machine]:
    probes.need_tool("dig")
    with machine_and_world() as (machine, world):
        program = [*world.enter(), sys.executable, str(Path(dns_server.__file__)), WORLD]
        with subprocess.Popen(program) as server:
            try:
                wait_for(lambda: "53" in world.run("ss", "-lnuH", "sport = :53"))
                yield machine
            finally:
                server.terminate()


@pytest.fixture
def place(lamina: Lamina, machines: Machine) -> Iterator[Place]:
    there = LaminaThere(root=lamina.root, temporary=lamina.temporary, machine=machines)
    containers = Containers(there)
    try:
        yield Place(machines, there, containers)
    finally:
        containers.remove_all()


def test_containers_of_a_network_find_each_other(place: Place) -> None:
    net, other = place.network("net"), place.network("other")
    options = ("--network", net, "--dns", WORLD)
    client = place.containers.sh("client", _FOREVER, *options)
    assert "NXDOMAIN" in place.dig(client, "db")
    # Who comes later is found by who was there before.
    web = place.containers.sh("web", _FOREVER, *options, "--network-alias", "db")
    stranger = place.containers.sh("stranger", _FOREVER, "--network", other)
    short_id = place.containers.inspect(web)["Id"][:12]
    address = place.address(web, net)
    for name in (web, web.upper(), "db", short_id, f"db.{net}"):
        assert place.dig(client, "+short", name) == f"{address}\n", name
    assert place.dig(client, "+short", "-x", address) == f"{web}.{net}.\n"
    six = place.address(web, net, "GlobalIPv6Address")
    assert place.dig(client, "+short", "AAAA", "db") == f"{six}\n"
    assert place.lamina("exec", client, "ping", "-c", "1", "-W", "5", "db").status == 0
    for name in (stranger, "stranger", place.containers.prefix):
        assert "NXDOMAIN" in place.dig(client, name)
    # All other names are those of the world.
    assert place.dig(client, "+short", "a.outside.test") == f"{dns_server.ANSWER}\n"
    assert place.dig(client, "+short", "TXT", "big.outside.test").count("text ") == 40
    conf = place.lamina("exec", client, "cat", "/etc/resolv.conf").stdout.splitlines()
    assert [line for line in conf if line.startswith(("nameserver", "options"))] == [
        "nameserver 127.0.0.11",
        "options ndots:0",
    ]
    place.lamina("rm", "-f", web)
    assert "NXDOMAIN" in place.dig(client, "db")


def test_started_again_it_answers_again(place: Place) -> None:
    net = place.network("net")
    one = place.containers.sh("one", _FOREVER, "--network", net, "--network-alias", "db")
    place.lamina("restart", "-t", "0", one)
    assert place.dig(one, "+short", "db") == f"{place.address(one, net)}\n"


def test_a_network_that_leads_nowhere_asks_nobody(place: Place) -> None:
    net = place.network("net", internal=True)
    one = place.containers.sh("one", _FOREVER, "--network", net, "--dns", WORLD)
    assert place.dig(one, "+short", one) == f"{place.address(one, net)}\n"
    assert "SERVFAIL" in place.dig(one, "a.outside.test")


def test_on_the_default_network_servers_are_asked_directly(place: Place) -> None:
    words = ("--dns", WORLD, "--dns-search", "outside.test", "--dns-opt", "ndots:2")
    script = "cat /etc/resolv.conf; nslookup -type=a a; hostname; hostname -f; cat /etc/hosts"
    names = ("--hostname", "box", "--domainname", "example.net")
    run = ("run", "--rm", *words, *names, "busybox", "sh", "-c", script)
    said = place.lamina(*run, status=None).stdout
    assert f"nameserver {WORLD}\n" in said
    assert "search outside.test\noptions ndots:2\n" in said
    assert f"Address: {dns_server.ANSWER}\n" in said
    assert "box\nbox.example.net\n" in said
    assert "\tbox.example.net box\n" in said
