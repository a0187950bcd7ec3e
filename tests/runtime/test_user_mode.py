"""Networks without root: pasta and slirp4netns, with real traffic in a world of the test's own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from runtime.errors import NetworkError
from runtime.monitor.identity import identify, is_alive
from runtime.monitor.loop import Loop
from runtime.network.helper import Helper
from runtime.network.namespace import inside as inside_network
from runtime.network.namespace import make_namespace
from runtime.network.user_mode import ADDRESS, Uplink, find_programs, pasta_arguments
from runtime.sandbox.child import bring_up_loopback
from runtime.sandbox.syscalls import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUSER,
    MS_REC,
    MS_SLAVE,
    PR_SET_PDEATHSIG,
    mount,
    prctl,
    unshare,
)
from support import probes
from support.containers import wait_for
from support.sandbox import inside

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
HOST = "198.51.100.2"
HOST6 = "2001:db8::2"


def a_world(folder: Path) -> None:
    """Be in a network of our own, with a default route, that nobody else sees."""
    probes.need_tool("ip")
    os.chdir(folder)
    if "4294967295" in Path("/proc/self/uid_map").read_text():
        as_plain_root()
    unshare(CLONE_NEWNET)
    bring_up_loopback()
    for words in (
        "link add world0 type veth peer name world1",
        "link set world1 up",
        "link set world0 up",
        f"addr add {HOST}/24 dev world0",
        f"addr add {HOST6}/64 dev world0 nodad",
        "route add default via 198.51.100.1",
        "route add default via 2001:db8::1",
    ):
        subprocess.run(["ip", *words.split()], check=True)


def as_plain_root() -> None:
    """Be root of a user namespace only, which is what these programs are for."""
    entered, said = os.pipe()
    me = os.getpid()
    helper = os.fork()
    if helper == 0:
        os.read(entered, 1)
        for kind in ("uid_map", "gid_map"):
            Path(f"/proc/{me}/{kind}").write_text("0 0 65536\n")
        os._exit(0)
    unshare(CLONE_NEWUSER | CLONE_NEWNS)
    os.write(said, b"!")
    assert os.waitpid(helper, 0)[1] == 0
    mount(None, "/", None, MS_SLAVE | MS_REC)


@contextmanager
def an_echo(network: int, kind: int, port: int, address: str = "") -> Iterator[None]:
    """A server in a network namespace that gives back what it gets, with its own name before."""

    def listen() -> list[int]:
        family = socket.AF_INET if "." in address else socket.AF_INET6
        made = socket.socket(family, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address or "::", port))
        if kind == TCP:
            made.listen()
        return [made.detach()]

    (fd,) = inside_network(network, listen, "listen")
    pid = os.fork()
    if pid == 0:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        with socket.socket(fileno=fd) as server, suppress(BaseException):
            while True:
                if kind == UDP:
                    data, place = server.recvfrom(100)
                    server.sendto(b"echo " + data, place)
                else:
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(b"echo " + connection.recv(100))
        os._exit(0)
    os.close(fd)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def asked(kind: int, address: str, port: int) -> str:
    """What an echo answers."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, kind) as asking:
        asking.settimeout(5)
        asking.connect((address, port))
        asking.sendall(b"hello")
        return asking.recv(100).decode()


def asked_from(network: int, kind: int, address: str, port: int) -> str:
    """What an echo outside answers to somebody inside."""
    answer, its_answer = os.pipe()

    def ask() -> list[int]:
        try:
            os.write(its_answer, asked(kind, address, port).encode())
        except OSError as error:
            os.write(its_answer, type(error).__name__.encode())
        return []

    inside_network(network, ask, "ask")
    said = os.read(answer, 100).decode()
    os.close(answer)
    os.close(its_answer)
    return said


def the_program(name: str) -> str:
    probes.need_tool(name)
    probes.need_tun()
    (path,) = [path for path in find_programs("") if os.path.basename(path) == name]
    return path


@pytest.mark.namespaces
@pytest.mark.parametrize("name", ["pasta", "slirp4netns"])
def test_traffic(name: str, tmp_path: Path) -> None:
    program = the_program(name)
    six = name == "pasta"

    def command() -> None:
        a_world(tmp_path)
        world = os.open("/proc/self/ns/net", os.O_RDONLY)
        network = make_namespace()
        ports = [
            ("tcp", "", 8080, 80), ("udp", "", 81, 81), ("tcp", "127.0.0.1", 8443, 443),
            ("udp", "", 8080, 81), ("tcp", "::1", 9090, 80), ("udp", "::1", 9090, 81),
        ]  # fmt: skip
        uplink = Uplink([program], network, ports)
        assert os.listdir() == []
        with an_echo(network, TCP, 80), an_echo(network, UDP, 81), an_echo(network, TCP, 443):
            for address in ("127.0.0.1", "::1", HOST, HOST6):
                assert asked(TCP, address, 8080) == "echo hello"
                assert asked(UDP, address, 81) == "echo hello"
                assert asked(UDP, address, 8080) == "echo hello"
            assert asked(TCP, "::1", 9090) == "echo hello"
            assert asked(UDP, "::1", 9090) == "echo hello"
            assert asked(TCP, "127.0.0.1", 8443) == "echo hello"
            with pytest.raises(ConnectionRefusedError):
                asked(TCP, HOST, 8443)
        with an_echo(world, TCP, 7000), an_echo(world, UDP, 7001):
            assert asked_from(network, TCP, HOST, 7000) == "echo hello"
            assert asked_from(network, UDP, HOST, 7001) == "echo hello"
            if six:
                assert asked_from(network, TCP, HOST6, 7000) == "echo hello"
            # What the host has for itself is no business of the container's.
            for private in ("127.0.0.1", "10.0.2.2"):
                assert asked_from(network, TCP, private, 7000) != "echo hello"
            with an_echo(network, TCP, 80):
                assert asked_from(network, TCP, ADDRESS, 80) == "echo hello"
        loop = Loop()
        uplink.attend(loop)
        uplink.end()
        with pytest.raises(ConnectionRefusedError):
            asked(TCP, "127.0.0.1", 8080)

    inside(command)


@pytest.mark.namespaces
@pytest.mark.parametrize("name", ["pasta", "slirp4netns"])
def test_it_ends_with_whoever_started_it(name: str, tmp_path: Path) -> None:
    program = the_program(name)

    def command() -> None:
        a_world(tmp_path)
        read_fd, write_fd = os.pipe()
        pid = os.fork()
        if pid == 0:
            Uplink([program], make_namespace(), [("udp", "", 9, 10)])
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
            os.write(write_fd, children.encode())
            signal.pause()
        started = [identify(int(child)) for child in os.read(read_fd, 100).split()]
        assert [is_alive(each) for each in started] == [True, True]
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        wait_for(lambda: not any(is_alive(each) for each in started))

    inside(command)


@pytest.mark.namespaces
def test_what_goes_wrong_is_said(tmp_path: Path) -> None:
    program = the_program("pasta")

    def command() -> None:
        a_world(tmp_path)
        network = make_namespace()
        taken = socket.create_server(("127.0.0.1", 8080))
        with pytest.raises(NetworkError, match=r"127.0.0.1:8080/tcp: port is already allocated"):
            Uplink([program], network, [("tcp", "127.0.0.1", 8080, 80)])
        taken.close()
        with pytest.raises(NetworkError, match=r"203.0.113.9:80/udp: the host has no such address"):
            Uplink([program], network, [("udp", "203.0.113.9", 80, 80)])
        with pytest.raises(NetworkError, match="neither pasta nor slirp4netns is installed"):
            Uplink([], network, [])
        with pytest.raises(NetworkError, match="false: it has ended"):
            Helper(["/bin/false"]).wait_for(os.pipe()[0])
        subprocess.run(["ip", "link", "del", "world0"], check=True)
        with pytest.raises(NetworkError, match=r"pasta: .*xternal"):
            Uplink([program], network, [])
        assert os.listdir() == []
        # Where the best cannot, the next one may.
        others = [path for path in find_programs("") if path != program]
        Uplink([program, *others], network, []).end()

    inside(command)


def test_what_pasta_is_told() -> None:
    words = pasta_arguments("/bin/pasta", "/n", "/r", [("tcp", "::1", 1, 2), ("tcp", "", 3, 4)])
    text = " ".join(words)
    assert "--tcp-ports ::1/1:2 --tcp-ports 3:4 --udp-ports none --netns /n" in text
    assert "--tcp-ns none --udp-ns none" in text
