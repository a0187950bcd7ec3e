"""Private networks in isolation: addresses, records, definitions, messages to the kernel."""

from __future__ import annotations

import ipaddress
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import NetworkError
from runtime.monitor.identity import boot_id, identify
from runtime.network import nft, rules
from runtime.network.addresses import choose, contains, made_up_mac, overlap, packed, unpacked
from runtime.network.definitions import (
    Network,
    Subnets,
    default_network,
    define_network,
    find_network,
    list_networks,
    remove_network,
    table,
    wired,
)
from runtime.network.links import Links
from runtime.network.netlink import attribute, attributes, message, nested
from runtime.network.places import plan_endpoint
from runtime.network.ports import HeldPorts
from runtime.network.state import Locked, Record, names_file, place, read
from support import probes

ID = "ab" * 32
OTHER = "cd" * 32


def definition(**more: Any) -> dict[str, Any]:
    fields = {
        "id": "11" * 32, "name": "n", "bridge": "lm123456-11111", "mac": "02:42:11:11:11:11",
        "mtu": 1500, "internal": False, "masquerade": True,
        "subnet4": "10.1.2.0/24", "gateway4": "10.1.2.1", "range4": None,
        "subnet6": None, "gateway6": None, "range6": None,
    }  # fmt: skip
    return {**fields, **more}


def wanted(**more: Any) -> dict[str, Any]:
    fields = {"network": definition(), "aliases": (), "ipv4": None, "ipv6": None, "mac": None}
    return {**fields, **more}


def container(*endpoints: dict[str, Any], ports: Any = (), pid: int = 0) -> dict[str, Any]:
    me = identify(pid or os.getpid())
    assert me is not None
    return {
        "runner": me.to_document(), "names": ("name", "short"), "endpoints": list(endpoints),
        "ports": list(ports),
    }  # fmt: skip


# ---- addresses


@given(st.integers(24, 30), st.data())
def test_an_address_that_is_given_is_free(length: int, data: st.DataObject) -> None:
    subnet = ipaddress.IPv4Network((0x0A010200, length))
    hosts = [str(each) for each in subnet.hosts()]
    taken = data.draw(st.sets(st.sampled_from(hosts)))
    last = data.draw(st.none() | st.sampled_from(hosts))
    found = choose(str(subnet), None, taken, last)
    if len(taken) == len(hosts):
        assert found is None
    else:
        assert found in set(hosts) - taken


def test_the_next_one_is_given_and_none_outside_of_the_range() -> None:
    assert choose("10.0.0.0/24", None, ["10.0.0.1"], None) == "10.0.0.2"
    assert choose("10.0.0.0/24", None, ["10.0.0.1"], "10.0.0.2") == "10.0.0.3"
    assert choose("10.0.0.0/24", None, ["10.0.0.1"], "10.0.0.254") == "10.0.0.2"
    assert choose("10.0.0.0/24", "10.0.0.64/31", [], None) == "10.0.0.64"
    assert choose("10.0.0.0/24", "10.0.0.64/31", ["10.0.0.64", "10.0.0.65"], None) is None
    assert choose("fd00::/64", None, ["fd00::1"], None) == "fd00::2"


def test_what_is_in_a_network() -> None:
    assert contains("10.1.0.0/16", packed("10.1.2.3"))
    assert not contains("10.1.0.0/16", packed("10.2.2.3"))
    assert not contains("10.1.0.0/16", packed("fd00::1"))
    assert overlap((packed("10.0.0.0"), 8), (packed("10.1.2.0"), 24))
    assert not overlap((packed("10.1.3.0"), 24), (packed("10.1.2.0"), 24))
    assert unpacked(packed("fd00::1")) == "fd00::1"
    assert made_up_mac("10.1.2.3") == "02:42:0a:01:02:03"


def test_a_place_on_a_network() -> None:
    record = Record({}, {})
    first = plan_endpoint(record, ID, wanted(), 0, None)
    assert (first["ipv4"], first["ipv6"], first["interface"]) == ("10.1.2.2", None, "eth0")
    assert len(first["veth"]) <= 15
    record.containers[ID] = container(first)
    second = plan_endpoint(record, OTHER, wanted(), 1, None)
    assert (second["ipv4"], second["mac"]) == ("10.1.2.3", "02:42:0a:01:02:03")
    # The address it had before, if nobody has it.
    assert plan_endpoint(record, OTHER, wanted(), 0, {"ipv4": "10.1.2.9", "ipv6": None})[
        "ipv4"
    ] == "10.1.2.9"  # fmt: skip
    for more, why in (
        ({"ipv4": "10.1.2.2"}, "is already in use"),
        ({"ipv4": "10.1.2.1"}, "is already in use"),
        ({"ipv4": "10.1.3.1"}, "is not on network"),
        ({"ipv6": "fd00::2"}, "has no addresses like"),
        ({"mac": first["mac"]}, "is another container's already"),
    ):
        with pytest.raises(NetworkError) as caught:
            plan_endpoint(record, OTHER, wanted(**more), 0, None)
        assert why in caught.value.message


# ---- records


def test_a_record_is_kept_while_its_monitor_lives(tmp_path: Path) -> None:
    folder = str(tmp_path)
    with subprocess.Popen(["sleep", "60"]) as other:
        with Locked(folder) as locked:
            record = locked.record
            for container_id, pid in ((ID, os.getpid()), (OTHER, other.pid)):
                endpoint = plan_endpoint(record, container_id, wanted(aliases=("x",)), 0, None)
                record.containers[container_id] = container(endpoint, pid=pid)
            locked.save()
        names = Path(names_file(folder, definition()["id"]))
        assert names.read_text() == "10.1.2.2\tname short x\n10.1.2.3\tname short x\n"
        other.kill()
    assert read(folder).containers.keys() == {ID, OTHER}
    with Locked(folder) as locked:
        assert locked.record.forget_dead()
        assert locked.record.containers.keys() == {ID}
        assert not locked.record.forget_dead()
        assert locked.record.forget_dead(besides=ID)
        locked.record.networks.clear()
        locked.save()
    assert not names.exists()
    assert read(folder).containers == {}


def test_a_record_that_is_none_is_void(tmp_path: Path) -> None:
    where = Path(place(str(tmp_path)))
    where.mkdir(parents=True)
    for garbage in (b"", b"x", b"\xe9\x00", b"("):
        (where / "state").write_bytes(garbage)
        assert read(str(tmp_path)).containers == {}


def test_a_record_of_another_boot_is_void(tmp_path: Path) -> None:
    stale = tmp_path / "run" / "00000000-0000-0000-0000-000000000000-1"
    same = tmp_path / "run" / f"{boot_id()}-1"
    for each in (stale, same):
        each.mkdir(parents=True)
        (each / "state").write_bytes(b"anything")
    with Locked(str(tmp_path)):
        pass
    assert not stale.exists()
    assert same.exists()


def test_twenty_that_come_at_once_get_twenty_addresses(tmp_path: Path) -> None:
    def come(number: int) -> str:
        with Locked(str(tmp_path)) as locked:
            container_id = f"{number:064x}"
            endpoint = plan_endpoint(locked.record, container_id, wanted(), 0, None)
            locked.record.containers[container_id] = container(endpoint)
            locked.save()
        return str(endpoint["ipv4"])

    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(come, range(20)))) == 20


# ---- definitions


def new(name: str, **subnets: str) -> Network:
    return Network(id="", name=name, created_ns=0, subnets=Subnets(**subnets))


def test_definitions_are_found_again(tmp_path: Path) -> None:
    root = str(tmp_path)
    made = define_network(root, new("one"), ipv6=True)
    assert find_network(root, "one") == find_network(root, made.id[:8]) == made
    assert made.subnets.subnet4 is not None
    assert ipaddress.ip_network(made.subnets.subnet4).prefixlen == 24
    assert made.subnets.gateway4 == str(ipaddress.ip_network(made.subnets.subnet4)[1])
    assert (made.subnets.subnet6 or "").startswith("fd")
    default = default_network(root)
    assert default_network(root) == default
    assert {network.name for network in list_networks(root)} == {"one", "bridge"}
    subnets = [network.subnets.subnet4 for network in list_networks(root)]
    assert len(set(subnets)) == 2
    known = wired(root, made)
    assert len(known["bridge"]) <= 15
    assert wired(str(tmp_path / "x"), made)["bridge"] != known["bridge"]
    assert table(root) != table(str(tmp_path / "x"))
    remove_network(root, "one")
    with pytest.raises(NetworkError, match="not found"):
        find_network(root, "one")
    with pytest.raises(NetworkError, match="pre-defined"):
        remove_network(root, "bridge")


@pytest.mark.parametrize(
    ("subnets", "why"),
    [
        ({"subnet4": "10.66.0.0/16"}, "overlaps with another network's"),
        ({"subnet4": "10.67.0.0/24", "range4": "10.68.0.0/25"}, "is not a part of"),
        ({"subnet4": "10.67.0.0/24", "gateway4": "10.67.0.0"}, "is not an address of"),
        ({"gateway6": "fd00::1"}, "on no subnet"),
        ({"subnet6": "fe80::/64"}, "not for networks"),
        ({"subnet4": "224.0.0.0/8"}, "not for networks"),
    ],
)
def test_definitions_that_cannot_be(tmp_path: Path, subnets: dict[str, str], why: str) -> None:
    root = str(tmp_path)
    define_network(root, new("there", subnet4="10.66.7.0/24"))
    with pytest.raises(NetworkError) as caught:
        define_network(root, new("x", **subnets))
    assert why in caught.value.message
    assert [network.name for network in list_networks(root)] == ["there"]
    with pytest.raises(NetworkError, match="already exists"):
        define_network(root, new("there"))


# ---- ports


def test_ports_are_held() -> None:
    held, other = HeldPorts(), HeldPorts()
    try:
        ((_, _, number, _),) = held.hold([("tcp", "", 0, 80)], ipv6=True)
        assert number > 0
        for address in ("127.0.0.1", "", "::1"):
            with pytest.raises(NetworkError, match="port is already allocated"):
                other.hold([("tcp", address, number, 80)], ipv6=False)
        # Of datagrams there are ports of their own; and what fails holds nothing.
        with pytest.raises(NetworkError):
            other.hold([("udp", "", number, 80), ("tcp", "", number, 81)], ipv6=False)
        other.hold([("udp", "127.0.0.1", number, 80)], ipv6=False)
        held.close()
        other.hold([("tcp", "", number, 80)], ipv6=False)
    finally:
        held.close()
        other.close()


def test_a_port_whose_connections_have_just_ended_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", number)) as client:
            accepted, _ = server.accept()
            accepted.close()  # who ends it first keeps it in TIME_WAIT
            assert client.recv(1) == b""
    with socket.socket() as plain, pytest.raises(OSError, match="in use"):
        plain.bind(("", number))
    held, other = HeldPorts(), HeldPorts()
    try:
        held.hold([("tcp", "", number, 80)], ipv6=True)
        with pytest.raises(NetworkError, match="port is already allocated"):
            other.hold([("tcp", "", number, 80)], ipv6=False)
    finally:
        held.close()
        other.close()


# ---- messages


def test_messages_have_the_form_of_netlink() -> None:
    assert attribute(3, "eth0") == b"\x09\0\x03\0eth0\0\0\0\0"
    number = (1500).to_bytes(4, sys.byteorder)
    assert attribute(4, 1500) == b"\x08\0\x04\0" + number
    inner = nested(18, attribute(1, b"veth"))
    assert inner == b"\x0c\0\x12\x80\x08\0\x01\0veth"
    assert attributes(inner) == {18: b"\x08\0\x01\0veth"}
    whole = message(16, 0x600, 7, inner)
    assert whole[:16] == b"\x1c\0\0\0\x10\0\x01\x06\x07\0\0\0\0\0\0\0"
    assert attributes(b"\x02\0\x01\0") == {}


@pytest.fixture
def apart() -> Iterator[None]:
    """A network namespace for this thread, in which rules may be made."""
    from runtime.sandbox import syscalls

    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    syscalls.unshare(syscalls.CLONE_NEWNET)
    try:
        yield
    finally:
        syscalls.setns(before, syscalls.CLONE_NEWNET)
        os.close(before)


@pytest.mark.root
@pytest.mark.namespaces
def test_rules_read_as_they_are_meant(apart: None) -> None:
    probes.need_tool("nft")
    six = {"subnet6": "fd00:1::/64", "gateway6": "fd00:1::1"}
    network = definition(**six)
    inside = definition(id="22" * 32, name="inner", bridge="lm123456-22222", internal=True,
                        subnet4="10.9.0.0/16")  # fmt: skip
    record = Record({network["id"]: network, inside["id"]: inside}, {})
    endpoint = {"network": network["id"], "ipv4": "10.1.2.2", "ipv6": "fd00:1::2"}
    ports = [("tcp", "", 8080, 80), ("udp", "192.0.2.1", 53, 5353), ("tcp", "fd00::9", 1, 2)]
    record.containers[ID] = container(endpoint, ports=ports)
    rules.apply("lamina-test", record)
    said = ruled()
    for line in (
        'meta nfproto ipv4 tcp dport 8080 dnat ip to 10.1.2.2:80 comment "container abababababab"',
        "ip6 daddr != ::1 tcp dport 8080 dnat ip6 to [fd00:1::2]:80",
        "ip daddr 192.0.2.1 udp dport 53 dnat ip to 10.1.2.2:5353",
        "ip6 daddr fd00::9 tcp dport 1 dnat ip6 to [fd00:1::2]:2",
        'ip saddr 10.1.2.0/24 oifname != "lm123456-11111" masquerade comment "network n"',
        'ip6 saddr fd00:1::/64 oifname != "lm123456-11111" masquerade comment "network n"',
        'iifname "lm123456-11111" ip daddr 127.0.0.0/8 drop',
        'oifname "lm123456-11111" ct status dnat accept',
        'oifname "lm123456-11111" drop',
        'iifname "lm123456-22222" oifname != "lm123456-22222" drop',
        "ct state established,related accept",
        "fib daddr type local jump dnat",
    ):
        assert line in said, line
    assert 'oifname != "lm123456-22222" masquerade' not in said
    # Again is the same; with nothing left there is no table.
    rules.apply("lamina-test", record)
    assert ruled() == said
    broken = nft.Changes()
    broken.add_table("other")
    broken.add_rule("other", "missing", nft.verdict(nft.DROP))
    with pytest.raises(FileNotFoundError):
        broken.commit()
    assert ruled() == said
    rules.apply("lamina-test", Record({}, {}))
    assert ruled() == ""


@pytest.mark.root
@pytest.mark.namespaces
def test_interfaces_are_as_they_are_meant(apart: None) -> None:
    with Links() as links:
        index = links.add_bridge("lmtest", "02:42:00:00:00:01", 1400)
        links.add_address(index, packed("10.7.0.1"), 24)
        links.add_address(index, packed("fd07::1"), 64)
        assert links.indexes("lm") == {index: "lmtest"}
        assert (packed("10.7.0.0"), 24, index) in links.routes()
        shown = subprocess.run(["ip", "-br", "address"], capture_output=True, text=True).stdout
        assert "10.7.0.1/24 fd07::1/64" in shown
        with pytest.raises(FileExistsError):
            links.add_bridge("lmtest", "02:42:00:00:00:01", 1400)
        links.delete("lmtest")
        links.delete("lmtest")
        assert links.indexes("lm") == {}


def ruled() -> str:
    return subprocess.run(
        ["nft", "list", "ruleset"], capture_output=True, text=True, check=True
    ).stdout
