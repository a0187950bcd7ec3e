"""Private networks as root, with real traffic: between containers, and with the world."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support import probes
from support.bases import BUSYBOX
from support.cli import Lamina
from support.containers import Containers, wait_for
from support.machines import HOST, HOST_6, WORLD, WORLD_6, LaminaThere, Machine, machine_and_world

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

    def serving_on(self, network: str, name: str, *options: str) -> str:
        """The same on a network of one's own."""
        full = self.containers.sh(name, _ANSWER.format(name), "--network", network, *options)
        address = self.address(full, network)
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


def test_what_the_host_has_for_itself_is_not_reached(place: Place) -> None:
    """CVE-2020-8558: bridges route 127.0.0.1 for published ports, one way only."""
    name = place.serving("one", "-p", "8089:80", "--network", "bridge")
    gateway = re.sub(r"\.\d+$", ".1", place.address(name))
    inside = place.inside(name)
    for script in (
        "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet",
        "ip address flush dev lo",
        f"ip route add 127.0.0.1/32 via {gateway} dev eth0",
    ):
        inside.run("sh", "-c", script)
    with place.machine.answering("TCP4-LISTEN", 9100):
        assert place.machine.ask("127.0.0.1", 9100, say="mine") == "mine"
        assert inside.ask("127.0.0.1", 9100, say="theirs") == ""
        # It is the guard that keeps it, and nothing else.
        (table,) = set(re.findall(r"table inet (lamina-\w+)", place.machine.rules()))
        place.machine.run("nft", "flush", "chain", "inet", table, "guard")
        assert inside.ask("127.0.0.1", 9100, say="theirs") == "theirs"


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
    for key, there in (("publish=7001/udp", True), ("publish=7001", False), ("expose=81", False)):
        assert (name in place.containers.listed("--filter", key)) == there
    assert "7000/udp -> 0.0.0.0:7000\n" in place.lamina("port", name).stdout
    assert "no public port '81/tcp'" in place.lamina("port", name, "81", status=1).stderr


def test_all_exposed_ports_and_names_of_its_own(place: Place) -> None:
    options = ("-P", "--expose", "80", "--expose", "9000-9001/udp", "--hostname", "box")
    names = ("--domainname", "ex.org", "--dns", "192.0.2.53", "--dns-search", "a.org")
    one = place.serving("one", *options, *names, "--dns-opt", "ndots:3")
    ports = place.containers.inspect(one)["NetworkSettings"]["Ports"]
    assert ports.keys() == {"80/tcp", "9000/udp", "9001/udp"}
    assert place.containers.listed("--filter", "expose=9000-9009/udp") == [one]
    assert place.world.ask(HOST, int(ports["80/tcp"][0]["HostPort"])) == "one\n"
    script = "cat /etc/hosts /etc/resolv.conf; dnsdomainname"
    said = place.lamina("exec", one, "sh", "-c", script).stdout.splitlines()
    assert f"{place.address(one)}\tbox.ex.org box" in said
    assert said[-4:] == ["nameserver 192.0.2.53", "search a.org", "options ndots:3", "ex.org"]


def test_where_parameters_of_the_kernel_cannot_be_set(place: Place) -> None:
    """As in containers of docker's with --cap-add NET_ADMIN."""
    command = place.lamina.command("run", "--rm")
    enter, lamina = command[:3], command[3:]
    script = 'mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys; exec "$@"'

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*enter, "unshare", "-m", "sh", "-c", script, "sh", *lamina, *words],
            capture_output=True,
            text=True,
            env=place.lamina.environment(None),
        )

    place.machine.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    assert "default via" in run("busybox", "ip", "route").stdout
    refused = run("-p", "8091:80", "busybox", "true")
    assert refused.returncode == 125
    assert re.search(r"route_localnet cannot be set to 1: /proc/sys is read-only", refused.stderr)
    assert "hint: start the surrounding container with --privileged" in refused.stderr


def test_networks_that_nobody_has_are_pruned(place: Place) -> None:
    prefix = place.containers.prefix
    used, unused = f"{prefix}-used", f"{prefix}-unused"
    for name in (used, unused):
        place.lamina("network", "create", "--label", f"of={prefix}", name)
    try:
        place.lamina("create", "--name", place.containers.name("one"), "--network", used, "busybox")
        pruned = place.lamina("network", "prune", "-f", "--filter", f"label=of={prefix}").stdout
        assert pruned == f"Deleted Networks:\n{unused}\n\n"
        listed = place.lamina("network", "ls", "-f", f"name={prefix}", "--format", "{{.Name}}")
        assert listed.stdout == f"{used}\n"
        # A container that is at rest does not keep it; then it cannot be started.
        place.lamina("network", "rm", used)
        refused = place.lamina("start", place.containers.name("one"), status=1)
        assert f"network {used} not found" in refused.stderr
    finally:
        place.containers.remove_all()
        place.lamina("network", "rm", "-f", used, unused)


def test_who_sent_datagrams_before_gets_to_the_container(place: Place) -> None:
    place.containers.sh("other", "sleep 600", "-p", "80")  # so that flows are remembered
    words = ["socat", "-t1", "-", f"UDP4:{HOST}:7005,sourceport=5555"]

    def ask() -> str:
        return place.world.run(*words, check=False, say="again")

    assert ask() == ""
    name = place.containers.sh("one", "sleep 600", "-p", "7005:7005/udp")
    with place.inside(name).answering("UDP4-LISTEN", 7005):
        assert ask() == "again"


def test_neighbours_by_way_of_the_host_where_bridges_ask_no_rules(place: Place) -> None:
    """The way back is another one without br_netfilter, or where it is switched off."""
    switch = "/proc/sys/net/bridge/bridge-nf-call-iptables"
    there = place.machine.run("sh", "-c", f"cat {switch} || echo none").strip()
    try:
        if there != "none":
            place.machine.run("sh", "-c", f"echo 0 > {switch}")
        one = place.serving("one", "-p", "8088:80")
        two = place.containers.sh("two", "sleep 600")
        assert place.heard(two, HOST, 8088) == place.heard(one, HOST, 8088) == "one\n"
        assert place.heard(two, place.address(one), 80) == "one\n"
    finally:
        if there != "none":
            place.machine.run("sh", "-c", f"echo {there} > {switch}")


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
    # Of a range one that is free, as long as there is one.
    for name, number in (("two", "8082"), ("three", "8083")):
        full = place.containers.sh(name, "sleep 600", "-p", "8081-8083:80")
        assert place.lamina("port", full, "80").stdout == f"0.0.0.0:{number}\n"
    words = ("run", "--rm", "-p", "8081-8083:80", "busybox", "true")
    assert "8083/tcp: port is already allocated" in place.lamina(*words, status=125).stderr
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
    shown = json.loads(place.lamina("inspect", "--type", "container", *names).stdout)
    settings = [each["NetworkSettings"] for each in shown]
    rules = place.machine.rules()
    addresses = {each["Networks"]["bridge"]["IPAddress"] for each in settings}
    ports = {each["Ports"]["80/tcp"][0]["HostPort"] for each in settings}
    assert len(addresses) == len(ports) == 20
    assert all(f"dnat ip to {address}:80" in rules for address in addresses)


def _asked(place: Place, container: str, name: str) -> str:
    """What the name server of a container says of a name."""
    return place.lamina("exec", container, "nslookup", name, "127.0.0.11", status=None).text


def _monitor(place: Place, name: str) -> int:
    full = place.containers.inspect(name)["Id"]
    path = place.lamina.root / "containers" / full / "state.json"
    document: dict[str, Any] = json.loads(path.read_text())
    pid = document["runner"]["pid"]
    assert isinstance(pid, int)
    return pid


@pytest.fixture
def networks(place: Place) -> Iterator[dict[str, str]]:
    """Names of two networks of the test's own: one of both kinds of addresses, one plain."""
    names = {each: f"{place.containers.prefix}-{each}" for each in ("both", "plain")}
    place.lamina("network", "create", "--ipv6", "--label", "a=b", names["both"])
    place.lamina("network", "create", names["plain"])
    yield names
    place.containers.remove_all()
    place.lamina("network", "rm", *names.values())


def test_networks_are_apart(place: Place, networks: dict[str, str]) -> None:
    both, plain = networks["both"], networks["plain"]
    one = place.serving_on(both, "one", "--network-alias", "uno", "-p", "8090:80")
    two = place.serving_on(both, "two")
    three = place.serving_on(plain, "three")
    # Of one network they reach each other, by either kind of address.
    for key in ("IPAddress", "GlobalIPv6Address"):
        assert place.heard(two, place.address(one, both, key), 80) == "one\n"
    assert place.heard(one, "::1", 80) == "one\n"
    # Of different networks they do not, except where it is published.
    assert place.heard(three, place.address(one, both), 80) == ""
    assert place.heard(one, place.address(three, plain), 80) == ""
    assert place.heard(three, HOST, 8090) == "one\n"
    assert place.world.ask(HOST, 8090) == place.world.ask(HOST_6, 8090) == "one\n"
    # The world is reached by IPv6, too, under the host's address.
    words = ["socat", "TCP6-LISTEN:9006,fork,reuseaddr", "SYSTEM:echo $SOCAT_PEERADDR"]
    script = f"until nc -w 2 {WORLD_6} 9006; do sleep 0.05; done"
    with subprocess.Popen([*place.world.enter(), *words]) as server:
        try:
            seen = place.lamina("exec", one, "sh", "-c", script).stdout
        finally:
            server.terminate()
    assert seen == "[2001:0db8:0000:0000:0000:0000:0000:0001]\n"
    # Who is who, for the name server.
    (document,) = json.loads(place.lamina("network", "inspect", both).stdout)
    assert {each["Name"] for each in document["Containers"].values()} == {one, two}
    assert document["EnableIPv6"] is True
    assert document["Labels"] == {"a": "b"}
    refused = place.lamina("network", "rm", both, status=1)
    assert "has active endpoints" in refused.stderr


def test_connected_while_it_runs(place: Place, networks: dict[str, str]) -> None:
    both, plain = networks["both"], networks["plain"]
    one, two = place.serving_on(both, "one"), place.serving_on(plain, "two")
    assert "can't find x" in _asked(place, two, "x")
    place.lamina("network", "connect", "--alias", "x", plain, one)
    # By name, both ways at once.
    assert place.address(one, plain) in _asked(place, two, "x")
    assert place.address(two, plain) in _asked(place, one, two)
    assert place.heard(one, place.address(two, plain), 80) == "two\n"
    assert place.heard(two, place.address(one, plain), 80) == "one\n"
    again = place.lamina("network", "connect", plain, one, status=1)
    assert "already" in again.stderr
    # It stays so when it is started again.
    place.lamina("restart", "-t", "0", one)
    wait_for(lambda: place.heard(two, place.address(one, plain), 80) == "one\n")
    place.lamina("network", "disconnect", both, one)
    links = place.lamina("exec", one, "ip", "-o", "link").stdout
    assert "eth0" not in links
    assert "eth1" in links
    assert "default" in place.lamina("exec", one, "ip", "route").stdout
    assert set(place.containers.inspect(one)["NetworkSettings"]["Networks"]) == {plain}
    place.lamina("network", "disconnect", plain, one)
    assert place.lamina("exec", one, "ip", "-o", "link").stdout.count("\n") == 1
    refused = place.lamina("network", "disconnect", plain, one, status=1)
    assert "is not on network" in refused.stderr


def test_addresses_of_ones_choice(place: Place) -> None:
    net = f"{place.containers.prefix}-chosen"
    words = ("--subnet", "10.191.77.0/28", "--gateway", "10.191.77.9", "--ip-range")
    place.lamina("network", "create", *words, "10.191.77.4/30", "--internal", net)
    try:
        one = place.containers.sh("one", "ip route; sleep 600", "--network", net)
        two = place.containers.sh("two", "sleep 600", "--network", net, "--ip", "10.191.77.2")
        assert place.address(one, net) == "10.191.77.4"
        assert place.address(two, net) == "10.191.77.2"
        assert "default" not in place.containers.logs(one)
        assert place.world.ask("10.191.77.4", 80) == ""
        for ip, why in (("10.191.77.2", "is already in use"), ("10.1.1.1", "is not on network")):
            options = ("run", "--rm", "--network", net, "--ip", ip)
            assert why in place.lamina(*options, "busybox", "true", status=125).stderr
        full = [place.containers.sh(f"n{n}", "sleep 600", "--network", net) for n in range(3)]
        assert len(full) == 3
        refused = place.lamina("run", "--rm", "--network", net, "busybox", "true", status=125)
        assert "no address is free" in refused.stderr
    finally:
        place.containers.remove_all()
        place.lamina("network", "rm", net)
    missing = place.lamina("run", "--rm", "--network", net, "busybox", "true", status=125)
    assert f"network {net} not found" in missing.stderr


def test_what_cannot_be_a_network(place: Place) -> None:
    prefix = place.containers.prefix
    for words, why, status in (
        (("bridge",), "pre-defined", 2),
        (("none",), "pre-defined", 2),
        (("--driver", "overlay", "x"), "not supported", 2),
        (("--subnet", "10.1.2.3/24", "x"), "host bits", 2),
        (("--gateway", "10.1.2.1", "x"), "on no subnet", 1),
        (("--subnet", "10.191.1.0/24", "--gateway", "10.1.1.1", "x"), "not an address of", 1),
        (("--subnet", "127.1.0.0/16", "x"), "not for networks", 1),
        (("--subnet", "10.191.1.0/31", "x"), "too small", 1),
        (("--attachable", "x"), "no swarm", 2),
        (("--opt", "a=b", "x"), "a is not supported", 2),
    ):
        *options, name = words
        full = name if name in ("bridge", "none") else f"{prefix}-x"
        refused = place.lamina("network", "create", *options, full, status=status)
        assert why in refused.stderr, words
    listed = place.lamina("network", "ls", "--filter", f"name={prefix}", "-q").stdout
    assert listed == ""
    names = place.lamina("network", "ls", "--filter", "type=builtin", "--format", "{{.Name}}")
    assert names.stdout.split() == ["bridge", "host", "none"]


def test_a_container_in_the_network_of_another(place: Place) -> None:
    one = place.serving("one", "--hostname", "uno", "--add-host", "there:host-gateway")
    script = "nc -w 2 127.0.0.1 80; hostname; cat /etc/hosts; ip -o address"
    words = ("run", "--rm", "--network", f"container:{one}", "busybox", "sh", "-c", script)
    heard, hostname, *rest = place.lamina(*words).stdout.splitlines()
    assert (heard, hostname) == ("one", "uno")
    address = place.address(one)
    assert f"{address}\tuno" in rest
    assert re.sub(r"\.\d+$", ".1", address) + "\tthere" in rest
    place.lamina("stop", "-t", "0", one)
    refused = place.lamina(*words, status=125)
    assert "is not running" in refused.stderr


@pytest.mark.parametrize("chain", ["FORWARD", "DOCKER-USER"])
def test_beside_rules_that_drop_what_they_do_not_know(place: Place, chain: str) -> None:
    probes.need_tool("iptables-nft")

    def iptables(*words: str) -> str:
        return place.machine.run("iptables-nft", "-w", *words)

    iptables("-P", "FORWARD", "DROP")
    if chain == "DOCKER-USER":
        iptables("-N", "DOCKER-USER")
        iptables("-I", "FORWARD", "-j", "DOCKER-USER")
    try:
        before = iptables("-S")
        name = place.serving("web", "-p", "8084:80")
        assert place.world.ask(HOST, 8084) == "web\n"
        with place.world.answering("TCP4-LISTEN", 9001):
            words = ("exec", name, "sh", "-c", f"echo out | nc -w 2 {WORLD} 9001")
            assert place.lamina(*words).stdout == "out\n"
        # Still rules that iptables understands.
        assert len(re.findall(rf"-A {chain} -[io] lm\S+ -j ACCEPT", iptables("-S"))) == 2
        place.lamina("rm", "-f", name)
        assert iptables("-S") == before
    finally:
        place.containers.remove_all()
        place.machine.run("nft", "delete", "table", "ip", "filter")


def test_two_stores_do_not_meet(place: Place) -> None:
    """Each has networks of the same name, and cleans up its own only."""
    first = place.serving("first", "-p", "8085:80")
    other = LaminaThere(
        root=Path(tempfile.mkdtemp(prefix="other", dir=place.lamina.root.parent)),
        temporary=place.lamina.temporary,
        machine=place.machine,
    )
    other.need(BUSYBOX)
    words = ("run", "-d", "--name", "second", "-p", "8086:80", "busybox")
    other(*words, "nc", "-ll", "-p", "80", "-e", "echo", "second")
    try:
        wait_for(lambda: place.world.ask(HOST, 8086) == "second\n")
        assert place.world.ask(HOST, 8085) == "first\n"
        address = place.address(first)
        assert other("exec", "second", "nc", "-w", "1", address, "80", status=None).stdout == ""
        place.lamina("rm", "-f", first)
        assert place.world.ask(HOST, 8086) == "second\n"
    finally:
        other("rm", "-f", "second")


def test_a_caller_that_is_killed_leaves_nothing_that_rm_does_not_find(place: Place) -> None:
    words = ("run", "--rm", "--name", place.containers.name("fore"), "-p", "8087:80")
    with place.lamina.start(*words, "busybox", "sh", "-c", "echo up; sleep 600") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.kill()
    # As with docker it lives on without who started it; it ends as any other.
    place.lamina("rm", "-f", place.containers.name("fore"))
    assert "8087" not in place.machine.rules()
