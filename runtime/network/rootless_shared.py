"""A plain user's container on networks that containers share: a hook of its monitor.

The monitor goes into the namespace that the holder keeps (`runtime.network.holder`), and does
there what root's monitors do on a machine. Ports are published by a relay, on sockets that the
holder has made outside.
"""

from __future__ import annotations

import _socket
import marshal
import os

from runtime.errors import NetworkError
from runtime.network import holder, rootless, rules
from runtime.network.private import PrivateNetwork
from runtime.network.relay import Relay
from runtime.network.state import Locked, place
from runtime.sandbox import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.monitor.loop import Loop
    from runtime.sandbox.wire import Order

    Fields = dict[str, Any]


def open_hook(data: bytes, container_id: str, loop: Loop) -> SharedRootlessNetwork:
    """The hook of a container; the data is the path of the store's `networks`."""
    return SharedRootlessNetwork(container_id, loop, os.fsdecode(data))


class SharedRootlessNetwork(PrivateNetwork):
    """The networks of one container, in the namespace that the holder keeps."""

    def __init__(self, container_id: str, loop: Loop, networks: str) -> None:
        super().__init__(container_id, loop)
        self._networks = networks
        self._outside = place(networks)
        self._connection: _socket.socket | None = None
        self._around = -1
        self._relay: Relay | None = None
        self._is_recorded = False

    def before_start(self, order: Order) -> None:
        """Make the network; `ContainerError`."""
        if self._connection is None:
            self._enter()
        super().before_start(order)
        wanted, container = self._made
        if wanted["ports"]:
            container = {**container, "ports": self._publish(wanted["ports"], container)}
        # Where those look who are outside of the namespace.
        with Locked(self._networks, self._outside) as outside:
            self._is_recorded = True
            outside.record.forget_dead(besides=self._id)
            for each in wanted["endpoints"]:
                outside.record.networks[each["network"]["id"]] = each["network"]
            outside.record.containers[self._id] = container
            outside.save()

    def after_exit(self) -> None:
        """Take it all back."""
        if self._relay is not None:
            self._relay.end()
            self._relay = None
        if self._is_recorded:
            rootless.release(self._networks, self._id, self._outside)
            self._is_recorded = False
        super().after_exit()

    def _attach(self, locked: Locked, wanted: Fields) -> Fields:
        container = super()._attach(locked, {**wanted, "ports": []})
        at = rules.published_at(container, locked.record)
        self._made = wanted, container
        self._address: str | None = at["ipv4"] if at is not None else None
        return container

    def _enter(self) -> None:
        found = holder.connect(self._networks)
        if found is None:
            raise NetworkError(
                "the process that keeps this user's networks has ended",
                hint="stop the containers that are on them, and start them again",
            )
        self._connection, self._around = found
        syscalls.setns(self._around, syscalls.CLONE_NEWNET)

    def _publish(
        self, ports: list[tuple[str, str, int, int]], container: Fields
    ) -> list[tuple[str, str, int, int]]:
        if self._address is None:
            return list(container["ports"])  # Nothing leads in, as with root.
        assert self._connection is not None
        self._connection.send(marshal.dumps(ports))
        answer, fds = holder.hear(self._connection)
        assert isinstance(answer, list)
        listeners: list[tuple[_socket.socket, int]] = []
        for port, count in answer:
            listeners += [(_socket.socket(fileno=fd), port[3]) for fd in fds[:count]]
            fds = fds[count:]
        self._relay = Relay(listeners, self._around, self._address)
        return [port for port, _ in answer]
