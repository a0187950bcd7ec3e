"""Private networks of plain users, with real traffic."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import probes
from support.cli import Lamina
from support.containers import Containers, wait_for
from support.leaks import processes_using

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.plain,
]

_SERVICE = "exec nc -ll -p 80 -e echo web"


def asked(address: str, port: int, *, datagram: str = "") -> str:
    """What is heard at a port, empty if nothing is."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM
    try:
        with socket.socket(family, kind) as asking:
            asking.settimeout(5)
            asking.connect((address, port))
            asking.sendall(datagram.encode())
            return asking.recv(100).decode()
    except OSError:
        return ""


def served(containers: Containers, name: str, *options: str) -> tuple[str, dict[str, int]]:
    """A container that answers at two ports, and where they are: by `80/tcp`, `81/udp`."""
    probes.need_tool("pasta")
    probes.need_tun()
    full = containers.sh(name, _SERVICE, *options)
    ports = containers.inspect(full)["NetworkSettings"]["Ports"]
    return full, {key: int(found[0]["HostPort"]) for key, found in ports.items()}


@contextmanager
def echoing(pid: int, port: int) -> Iterator[None]:
    """Somebody in the network of a process who gives datagrams back."""
    probes.need_tool("socat")
    enter = ("nsenter", "--user", "--net", "--preserve-credentials", f"--target={pid}", "--")
    words = [*enter, "socat", f"UDP4-LISTEN:{port},fork", "EXEC:cat"]
    with subprocess.Popen(words, start_new_session=True) as server:
        try:
            yield
        finally:
            os.killpg(server.pid, signal.SIGKILL)  # with what it has forked


def helpers(lamina: Lamina, container_id: str) -> dict[int, str]:
    """The processes that know a container's folder."""
    return processes_using(lamina.root / "containers" / container_id)


def test_published_ports_and_the_way_out(containers: Containers, lamina: Lamina) -> None:
    options = ("-p", "80", "-p", "127.0.0.1::81/udp", "--add-host", "machine:host-gateway")
    name, ports = served(containers, "web", *options)
    wait_for(lambda: asked("127.0.0.1", ports["80/tcp"]) == "web\n")
    assert asked("::1", ports["80/tcp"]) == "web\n"
    with echoing(containers.state(name)["Pid"], 81):
        wait_for(lambda: asked("127.0.0.1", ports["81/udp"], datagram="hello") == "hello")
    shown = lamina("ps", "--filter", f"name={name}", "--format", "{{.Ports}}").stdout
    assert shown == (f"0.0.0.0:{ports['80/tcp']}->80/tcp, 127.0.0.1:{ports['81/udp']}->81/udp\n")
    hosts = lamina("exec", name, "cat", "/etc/hosts").stdout
    assert re.search(r"^10\.0\.2\.100\t[0-9a-f]{12}$", hosts, re.MULTILINE)
    # The host answers where host-gateway says, but not with what it has for itself.
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        number = str(everywhere.getsockname()[1])
        everywhere.settimeout(10)
        lamina("exec", "-d", name, "nc", "machine", number)
        everywhere.accept()[0].close()
    with socket.create_server(("127.0.0.1", 0)) as private:
        private.settimeout(1)
        number = str(private.getsockname()[1])
        for address in ("10.0.2.2", "127.0.0.1"):
            lamina("exec", name, "timeout", "2", "nc", address, number, status=None)
        with pytest.raises(TimeoutError):
            private.accept()


def test_nothing_outlives_a_killed_monitor(containers: Containers, lamina: Lamina) -> None:
    name, ports = served(containers, "web", "-p", "80", "-p", "127.0.0.1::81/udp")
    document = containers.inspect(name)
    wait_for(lambda: asked("127.0.0.1", ports["80/tcp"]) == "web\n")
    assert any("pasta" in words for words in helpers(lamina, document["Id"]).values())
    state = json.loads((lamina.root / "containers" / document["Id"] / "state.json").read_text())
    os.kill(state["runner"]["pid"], signal.SIGKILL)
    wait_for(lambda: not helpers(lamina, document["Id"]))
    assert asked("127.0.0.1", ports["80/tcp"]) == ""
    lamina("start", name)
    number = int(containers.inspect(name)["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])
    wait_for(lambda: asked("127.0.0.1", number) == "web\n")
    lamina("rm", "-f", name)
    wait_for(lambda: not helpers(lamina, document["Id"]))
    assert asked("127.0.0.1", number) == ""
    record = [path.read_bytes() for path in lamina.root.glob("networks/run/*/state")]
    assert not any(document["Id"].encode() in each for each in record)


def test_a_container_that_ends_takes_its_network_along(
    containers: Containers, lamina: Lamina
) -> None:
    name, ports = served(containers, "web", "-p", "80", "--restart", "always")
    container = containers.inspect(name)
    wait_for(lambda: asked("127.0.0.1", ports["80/tcp"]) == "web\n")
    os.kill(container["State"]["Pid"], signal.SIGKILL)
    wait_for(lambda: containers.state(name)["Pid"] not in (0, container["State"]["Pid"]))
    number = int(containers.inspect(name)["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])
    wait_for(lambda: asked("127.0.0.1", number) == "web\n")
    lamina("stop", "-t", "0", name)
    assert asked("127.0.0.1", number) == ""
    assert not helpers(lamina, container["Id"])


def test_what_cannot_be_is_said(containers: Containers, lamina: Lamina) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        words = ("run", "--rm", "-p", f"127.0.0.1:{number}:80", "busybox", "true")
        said = lamina(*words, status=125).stderr
        assert said.startswith(f"ERROR: cannot publish port 127.0.0.1:{number}/tcp: port is alrea")
    least = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if least > 1:
        said = lamina("run", "--rm", "-p", "1:80", "busybox", "true", status=125).stderr
        assert "port 0.0.0.0:1/tcp: only root may have it\nhint: take a port from" in said
    assert containers.listed("-a") == []


def test_name_servers(lamina: Lamina) -> None:
    probes.need_tun()
    words = ("--dns", "192.0.2.9", "--dns-search", "example.net", "busybox", "cat")
    said = lamina("run", "--rm", *words, "/etc/resolv.conf").stdout
    assert "nameserver 192.0.2.9\n" in said
    assert "search example.net\n" in said


def test_no_network_and_the_hosts(lamina: Lamina) -> None:
    script = "ip -o link | wc -l; cat /proc/net/route | wc -l"
    none = lamina("run", "--rm", "--network", "none", "busybox", "sh", "-c", script).stdout
    assert none == "1\n1\n"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        number = str(server.getsockname()[1])
        words = ("run", "--rm", "--network", "host", "busybox", "nc", "127.0.0.1", number)
        with lamina.start(*words) as client:
            server.accept()[0].close()
            assert client.wait(timeout=20) == 0


def test_containers_of_a_network_find_and_reach_each_other(
    containers: Containers, lamina: Lamina
) -> None:
    first, second = containers.name("first"), containers.name("second")
    for network in (first, second):
        lamina("network", "create", network)
    on_first = ("--network", first, "--network-alias", "db", "--add-host", "machine:host-gateway")
    web, ports = served(containers, "web", *on_first, "-p", "80", "-p", "127.0.0.1::81/udp")
    stranger = containers.sh("stranger", "exec sleep 600", "--network", second)
    for name in (web, "db", f"db.{first}"):
        words = ("run", "--rm", "--network", first, "busybox", "nc", "-w", "5", name, "80")
        assert lamina(*words).stdout == "web\n", name
    assert "NXDOMAIN" in lamina("exec", stranger, "nslookup", web, status=1).stdout
    joined = ("run", "--rm", "--network", f"container:{web}", "busybox", "nc", "127.0.0.1", "80")
    assert lamina(*joined).stdout == "web\n"
    wait_for(lambda: asked("127.0.0.1", ports["80/tcp"]) == "web\n")
    assert asked("::1", ports["80/tcp"]) == "web\n"
    with echoing(containers.state(web)["Pid"], 81):
        wait_for(lambda: asked("127.0.0.1", ports["81/udp"], datagram="hello") == "hello")
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        everywhere.settimeout(10)
        lamina("exec", "-d", web, "nc", "machine", str(everywhere.getsockname()[1]))
        everywhere.accept()[0].close()
    assert "has active endpoints" in lamina("network", "rm", first, status=1).stderr
    refused = lamina("network", "connect", second, web, status=1).stderr
    assert "only root can while it runs\nhint: stop it first" in refused
    # Whoever is killed takes nothing down but itself; the last one takes all.
    monitor = json.loads(
        (lamina.root / "containers" / containers.inspect(web)["Id"] / "state.json").read_text()
    )["runner"]["pid"]
    os.kill(monitor, signal.SIGKILL)
    wait_for(lambda: containers.state(web)["Status"] == "exited")
    assert asked("127.0.0.1", ports["80/tcp"]) == ""
    lamina("start", web)
    words = ("run", "--rm", "--network", first, "busybox", "nc", "-w", "5", "db", "80")
    assert lamina(*words).stdout == "web\n"
    lamina("rm", "-f", web, stranger)
    wait_for(lambda: not any("holder" in each for each in _holders(lamina)))
    for network in (first, second):
        lamina("network", "rm", network)


def _holders(lamina: Lamina) -> list[str]:
    folder = lamina.root / "networks"
    return [words for words in processes_using(folder).values() if "runtime.network" in words]
