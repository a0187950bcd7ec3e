"""The name server of a container: what it reads, what it answers, whom it asks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.monitor.loop import Loop
from runtime.network.dns_message import (
    A,
    Malformed,
    Query,
    encoded_name,
    reversed_address,
)
from runtime.network.forwarder import Forwarder
from runtime.network.resolver import Resolver, open_sockets
from runtime.sandbox.child import bring_up_loopback
from runtime.sandbox.syscalls import CLONE_NEWNET, PR_SET_PDEATHSIG, prctl, unshare
from support import dns_server, probes
from support.sandbox import inside

pytestmark = pytest.mark.any_user

LABEL = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,20}[a-z0-9_])?", fullmatch=True)
NAMES = st.lists(LABEL, min_size=0, max_size=8).map(".".join)


def query_bytes(name: str, kind: int, *, number: int = 1, more: bytes = b"") -> bytes:
    counts = bytes([0, 1, 0, 0, 0, 0, 0, 1 if more else 0])
    head = number.to_bytes(2, "big") + b"\x01\x00" + counts
    return head + encoded_name(name) + kind.to_bytes(2, "big") + b"\0\1" + more


# ---- messages


@given(name=NAMES, kind=st.integers(0, 65535), number=st.integers(0, 65535))
def test_a_query_is_read_as_it_was_written(name: str, kind: int, number: int) -> None:
    query = Query(query_bytes(name, kind, number=number))
    assert (query.name, query.type, query.number, query.limit) == (name, kind, number, 512)


def read(data: bytes) -> Query | bytes | None:
    """The query, or what is said to one that is none."""
    try:
        return Query(data)
    except Malformed as error:
        return error.reply


@given(data=st.binary(max_size=600))
def test_no_bytes_do_harm(data: bytes) -> None:
    query = read(data)
    reply = query.answer([b"\1\2\3\4"]) if isinstance(query, Query) else query
    assert reply is None or reply[:2] == data[:2]


@given(data=st.data())
def test_nor_do_those_that_are_almost_right(data: st.DataObject) -> None:
    message = bytearray(query_bytes(data.draw(NAMES), A, more=b"\0\0\x29\x04\xd0" + bytes(6)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(message) - 1))
        message[place] = data.draw(st.integers(0, 255))
    cut = bytes(message[: data.draw(st.integers(0, len(message)))])
    query = read(cut)
    if not isinstance(query, Query):
        # An answer, so that it is not answered in turn.
        assert query is None or query[2] & 0x80
        return
    assert cut[12:].startswith(query.question)
    assert 512 <= query.limit <= 4096
    assert len(query.answer([b"\1\2\3\4"] * 600)) <= query.limit
    assert not query.is_answered_by(cut, query.number)
    assert query.is_answered_by(query.answer([]), query.number)


def test_what_others_ask_for_without_sense() -> None:
    good = query_bytes("a.b", A)
    assert Query(good[:2] + b"\x01\x00" + good[4:]).name == "a.b"
    for bad, error in (
        (good[:5] + b"\2" + good[6:], 1),  # two questions
        (good[:12] + b"\xc0\x0c" + good[-4:], 1),  # a name that points at itself
        (good[:2] + b"\x28\x00" + good[4:], 4),  # an update
    ):
        with pytest.raises(Malformed) as found:
            Query(bad)
        assert found.value.reply is not None
        assert found.value.reply[3] & 0xF == error
    with pytest.raises(Malformed) as found:
        Query(good[:2] + b"\x81\x80" + good[4:])  # an answer
    assert found.value.reply is None


@given(address=st.ip_addresses())
def test_addresses_as_names(address: object) -> None:
    from ipaddress import IPv4Address, IPv6Address

    assert isinstance(address, IPv4Address | IPv6Address)
    assert reversed_address(address.reverse_pointer) == address.packed


@given(name=st.text(max_size=40))
def test_no_other_name_is_an_address(name: str) -> None:
    assert reversed_address(name) is None
    assert reversed_address(f"{name}.1.1.1.in-addr.arpa") in (
        None,
        *(bytes([1, 1, 1, number]) for number in range(256)),
    )


# ---- the server, with dig as the judge


class Around:
    """Containers that are not there."""

    def addresses(self, name: str) -> list[bytes] | None:
        both = [socket.inet_aton("10.9.0.2"), socket.inet_pton(socket.AF_INET6, "fd00:9::2")]
        return {"web": both, "web.net": both, "many": both[:1] * 60}.get(name)

    def name(self, address: bytes) -> str | None:
        return "web.net" if address == socket.inet_aton("10.9.0.2") else None


def apart(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        try:
            work()
        finally:
            os._exit(1)
    return pid


def resolve(servers: list[str]) -> None:
    loop = Loop()
    resolver = Resolver(loop, open_sockets(), Around(), Forwarder(loop, servers))
    assert resolver is not None
    while True:
        loop.step()


def dig(*words: str) -> str:
    command = ["dig", "@127.0.0.11", "+tries=1", "+timeout=8", *words]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False).stdout


@pytest.mark.namespaces
def test_what_dig_hears() -> None:
    probes.need_tool("dig")

    def command() -> None:
        unshare(CLONE_NEWNET)
        bring_up_loopback()
        # The first does not listen, the third is not reached.
        servers = ["127.0.0.66", "127.0.0.53", "localhost", "127.0.0.54"]
        pids = [apart(lambda: dns_server.serve("127.0.0.53")), apart(lambda: resolve(servers))]
        deadline = time.monotonic() + 20
        while "192.0.2.77" not in dig("+short", "a.outside.test"):
            assert time.monotonic() < deadline
        short = {
            ("WEB",): "10.9.0.2\n",
            ("web", "AAAA"): "fd00:9::2\n",
            ("web.net.", "+tcp"): "10.9.0.2\n",
            ("web", "MX"): "",
            ("-x", "10.9.0.2"): "web.net.\n",
            ("a.outside.test", "+tcp"): "192.0.2.77\n",
        }
        for words, expected in short.items():
            assert dig("+short", *words) == expected, words
        assert "status: NXDOMAIN" in dig("a.b")
        assert "status: SERVFAIL" in dig("broken.outside.test")
        whole = dig("big.outside.test", "TXT")  # dig asks again by TCP
        assert "Truncated, retrying in TCP mode" in whole
        assert whole.count('"text ') == 40
        assert dig("+short", "many", "+ignore", "+noedns").count("10.9.0.2") == 30
        # One that nobody answers does not hold up the others.
        with subprocess.Popen(
            ["dig", "@127.0.0.11", "+tries=1", "+timeout=9", "silent.outside.test"],
            stdout=subprocess.PIPE,
        ) as slow:
            began = time.monotonic()
            assert dig("+short", "web") == "10.9.0.2\n"
            assert time.monotonic() - began < 2
            assert b"status: SERVFAIL" in slow.communicate()[0]
        # Connections that say nothing, or nonsense, or too much.
        idle = [socket.create_connection(("127.0.0.11", 53)) for _ in range(40)]
        for each in idle[:20]:
            each.sendall(b"\xff\xff" + bytes(100))
        flood = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for number in range(2000):
            flood.sendto(os.urandom(number % 90), ("127.0.0.11", 53))
        assert dig("+short", "web") == "10.9.0.2\n"
        for each in (*idle, flood):
            each.close()
        assert dig("+short", "web", "+tcp") == "10.9.0.2\n"
        for pid in pids:
            assert os.waitpid(pid, os.WNOHANG) == (0, 0)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    inside(command)
