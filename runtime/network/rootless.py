"""A container on the default network without root: a hook of its monitor.

Ahead of each start it makes the container's network namespace and has it connected by a program
of the user's (`runtime.network.user_mode`), which ends with the monitor, however that ends. The
record says where its ports are, as for all private networks.
"""

from __future__ import annotations

import marshal
import os

from runtime.errors import NetworkError
from runtime.monitor.identity import identify
from runtime.network.hook import NamespaceHook
from runtime.network.namespace import make_namespace
from runtime.network.naming import NameService
from runtime.network.ports import HeldPorts
from runtime.network.private import WANTED, write_hosts
from runtime.network.state import Locked
from runtime.network.user_mode import ADDRESS, ADDRESS6, INTERFACE, Uplink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.monitor.loop import Loop
    from runtime.sandbox.wire import Order

    Fields = dict[str, Any]


def open_hook(data: bytes, container_id: str, loop: Loop) -> RootlessNetwork:
    """The hook of a container; the data are the programs' paths, the best first."""
    programs: tuple[str, ...] = marshal.loads(data)
    return RootlessNetwork(container_id, programs, loop)


class RootlessNetwork(NamespaceHook):
    """The network of one container."""

    def __init__(self, container_id: str, programs: tuple[str, ...], loop: Loop) -> None:
        super().__init__()
        self._id = container_id
        self._programs = programs
        self._loop = loop
        self._uplink: Uplink | None = None
        self._names: NameService | None = None
        self._folder = ""

    def before_start(self, order: Order) -> None:
        """Make the network; `ContainerError`."""
        with open(WANTED, "rb", buffering=0) as file:
            wanted: Fields = marshal.loads(file.readall() or b"")
        try:
            self._namespace = make_namespace()
            ports = _with_numbers(wanted["ports"])
            self._uplink = Uplink(self._programs, self._namespace, ports)
            self._uplink.attend(self._loop)
            if wanted["resolves"]:
                self._names = NameService(self._loop, self._namespace, tuple, wanted["servers"])
            self._folder = wanted["folder"]
            container = self._record(wanted, ports)
        except OSError as error:
            raise NetworkError(
                f"cannot make a private network: {(error.strerror or '').lower()}"
            ) from error
        order.network, order.network_fd = "joined", self._namespace
        write_hosts(wanted["hosts"], container)

    def after_exit(self) -> None:
        """Take it all back."""
        if self._names is not None:
            self._names.close()
            self._names = None
        if self._uplink is not None:
            self._uplink.end()
            self._uplink = None
        if self._folder:
            release(self._folder, self._id)
            self._folder = ""
        self._let_go()

    def _record(self, wanted: Fields, ports: list[tuple[str, str, int, int]]) -> Fields:
        me = identify(os.getpid())
        assert me is not None
        (place,) = wanted["endpoints"]
        endpoint = {
            "network": place["network"]["id"],
            "interface": INTERFACE,
            "veth": "",
            "aliases": place["aliases"],
            "chosen": {"ipv4": None, "ipv6": None, "mac": None},
            "ipv4": ADDRESS,
            "ipv6": ADDRESS6 if self._programs[0].endswith("/pasta") else None,
            "mac": "",
        }
        container: Fields = {
            "runner": me.to_document(),
            "names": wanted["names"],
            "endpoints": [endpoint],
            "ports": ports,
        }
        with Locked(self._folder) as locked:
            locked.record.forget_dead(besides=self._id)
            locked.record.networks[endpoint["network"]] = place["network"]
            locked.record.containers[self._id] = container
            locked.save()
        return container


def release(folder: str, container_id: str, where: str | None = None) -> None:
    """Forget what is recorded of a container, and of those whose monitors are gone; `where` if
    not here (see `runtime.network.state.place`).

    There is nothing else to be undone: all of it has ended with its monitor.
    """
    with Locked(folder, where) as locked:
        if locked.record.forget_dead(besides=container_id):
            locked.save()


def _with_numbers(ports: list[tuple[str, str, int, int]]) -> list[tuple[str, str, int, int]]:
    """The same ports, with free ones for those that may be any. `NetworkError` if one is taken."""
    held = HeldPorts()
    try:
        return held.hold(ports, ipv6=True)
    finally:
        held.close()
