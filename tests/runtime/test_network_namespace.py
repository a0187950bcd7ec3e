"""Network namespaces that are made ahead of their container."""

from __future__ import annotations

import os
import socket

import pytest

from runtime.errors import SetupFailed
from runtime.network.namespace import inside as inside_network
from runtime.network.namespace import make_namespace
from support.sandbox import inside

pytestmark = pytest.mark.namespaces


def bound(port: int) -> list[int]:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.11", port))
    return [made.detach()]


def test_sockets_are_made_in_a_namespace_and_used_outside() -> None:
    def command() -> None:
        network = make_namespace()
        assert os.fstat(network).st_ino != os.stat("/proc/self/ns/net").st_ino
        (fd,) = inside_network(network, lambda: bound(53), "listen")
        # The same again: it would be taken, were it not another namespace.
        (other,) = inside_network(make_namespace(), lambda: bound(53), "listen")
        with socket.socket(fileno=fd) as server, socket.socket(fileno=other):
            assert server.getsockname() == ("127.0.0.11", 53)

            def ask() -> list[int]:
                asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                asking.sendto(b"hello", ("127.0.0.11", 53))
                return [asking.detach()]

            os.close(inside_network(network, ask, "ask")[0])
            assert server.recv(100) == b"hello"
            assert not os.get_inheritable(server.fileno())
            with pytest.raises(SetupFailed, match="listen: address already in use"):
                inside_network(network, lambda: bound(53), "listen")

    inside(command)
