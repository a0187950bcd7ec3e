"""Whether containers can have private networks, found out by making one where nobody sees it."""

from __future__ import annotations

import os

from runtime.doctor.findings import Finding
from runtime.doctor.rootless_network import told_of_uplink
from runtime.network import rules
from runtime.network.links import Links
from runtime.network.namespace import owns_network
from runtime.network.state import Record
from runtime.sandbox.syscalls import CLONE_NEWNET, unshare

_NAME = "networks"
_NETWORK = {
    "id": "1", "name": "doctor", "bridge": "lmdoctor", "mac": "02:42:00:00:00:01", "mtu": 1500,
    "internal": False, "masquerade": True, "subnet4": "10.0.0.0/24", "gateway4": "10.0.0.1",
    "subnet6": None, "gateway6": None,
}  # fmt: skip
_ENDPOINT = {"network": "1", "ipv4": "10.0.0.2", "ipv6": None}
_CONTAINER = {"endpoints": [_ENDPOINT], "ports": [("tcp", "", 8080, 80)]}


def probe_networks() -> Finding:
    """Private networks: by root's own means, or by a program for plain users."""
    if os.geteuid() != 0 or not owns_network():
        return _of_plain_users()
    trouble = _tried()
    if not trouble:
        return Finding(
            name=_NAME, state="works", detail="private ones, with bridges and published ports"
        )
    return Finding(
        name=_NAME,
        state="limited",
        detail=f"no private ones: {trouble}",
        remedy="--network host or none do without; in a container, give it --cap-add NET_ADMIN",
    )


def _of_plain_users() -> Finding:
    told = told_of_uplink()
    if "program" in told:
        detail = f"private ones, by {told['program']}, in {told['milliseconds']:.0f} ms"
        return Finding(name=_NAME, state="works", detail=detail)
    return Finding(
        name=_NAME,
        state="limited",
        detail=f"no private ones: {told['why']}",
        remedy=told.get("remedy"),
    )


def _tried() -> str:
    """What is in the way, tried by a child in a network namespace of its own; empty if nothing."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        told = "the test ended without a word"
        try:
            told = _trouble()
        finally:
            os.write(write_fd, f"{told}\n".encode())
            os._exit(0)
    os.close(write_fd)
    with os.fdopen(read_fd, encoding="utf-8") as told_by_child:
        text = told_by_child.read()
    os.waitpid(pid, 0)
    return text.strip()


def _trouble() -> str:
    stage = "a network namespace"
    try:
        unshare(CLONE_NEWNET)
        stage = "a bridge"
        with Links() as links:
            links.add_bridge("lmdoctor", "02:42:00:00:00:01", 1500)
        stage = "rules (nf_tables)"
        rules.apply("lamina-doctor", Record({"1": _NETWORK}, {"ab" * 32: _CONTAINER}))
    except OSError as error:
        return f"{stage}: {(error.strerror or '').lower()}"
    return ""
