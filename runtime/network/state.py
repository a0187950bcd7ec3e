"""Which containers are on which private networks now: a record that outlives no one.

    <store>/networks/run/<boot>-<namespace>/state   everything, as `marshal` writes it
                                            <network>.names   who is who, for name servers

A record belongs to a boot and to the network namespace of whoever runs containers: another one
has its own bridges and rules. Each container's has the identity of its monitor; one whose
monitor is gone is void, and whoever changes the record next undoes what it left.

Monitors use this module. All in a record is what `marshal` knows; see `Record`.
"""

from __future__ import annotations

import fcntl
import marshal
import os

from runtime.monitor.identity import ProcessIdentity, boot_id, is_alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

_VERSION = 1
_FORMAT = 4  # of marshal: the same for every version of Python


class Record:
    """What is there now.

    networks     by ID, those with containers: their definitions, as `definitions.wired` gives
                 them, and `last`, the address given last
    containers   by ID: `runner` (the identity of its monitor), `names` (its own), `endpoints`
                 (dictionaries of network, veth, interface, ipv4, ipv6, mac, aliases) and `ports`
                 (protocol, host's address, host's port, container's port)
    """

    def __init__(self, networks: dict[str, Any], containers: dict[str, Any]) -> None:
        self.networks = networks
        self.containers = containers

    def endpoints(self, network_id: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """The containers on a network, each with its place there."""
        return [
            (container, endpoint)
            for container in self.containers.values()
            for endpoint in container["endpoints"]
            if endpoint["network"] == network_id
        ]

    def forget_dead(self, *, besides: str = "") -> bool:
        """Drop containers whose monitors are gone, and one `besides`; whether there were any."""
        gone = [
            container_id
            for container_id, container in self.containers.items()
            if container_id == besides or not is_alive(ProcessIdentity(**container["runner"]))
        ]
        for container_id in gone:
            del self.containers[container_id]
        return bool(gone)


class Locked:
    """A record that nobody else changes until the end of the `with` block.

    `folder` is the store's `networks`, `where` another `place` than that of this process.
    Nothing is written but by `save`.
    """

    def __init__(self, folder: str, where: str | None = None) -> None:
        self._folder = folder
        self.place = where or place(folder)
        self._fd = -1
        self.record = Record({}, {})

    def __enter__(self) -> Locked:
        is_new = not os.path.isdir(self.place)
        os.makedirs(self.place, mode=0o700, exist_ok=True)
        self._fd = os.open(
            os.path.join(self._folder, "run", "lock"),
            os.O_RDWR | os.O_CREAT | os.O_CLOEXEC,
            0o600,
        )
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        if is_new:
            _forget_other_boots(os.path.dirname(self.place))
        self.record = _read(self.place)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def save(self) -> None:
        """Write the record, and for each network who is who there."""
        record = self.record
        document = (_VERSION, record.networks, record.containers)
        _write(os.path.join(self.place, "state"), marshal.dumps(document, _FORMAT))
        for name in os.listdir(self.place):
            network_id, dot, kind = name.partition(".")
            if dot and kind == "names" and network_id not in record.networks:
                os.unlink(os.path.join(self.place, name))
        for network_id in record.networks:
            text = "".join(
                f"{address}\t{' '.join((*container['names'], *endpoint['aliases']))}\n"
                for container, endpoint in record.endpoints(network_id)
                for address in (endpoint["ipv4"], endpoint["ipv6"])
                if address
            )
            _write(os.path.join(self.place, f"{network_id}.names"), text.encode())


def read(folder: str) -> Record:
    """The record as it is; it may be of monitors that are gone. Empty if there is none."""
    return _read(place(folder))


def _read(where: str) -> Record:
    try:
        with open(os.path.join(where, "state"), "rb", buffering=0) as file:
            version, networks, containers = marshal.loads(file.readall() or b"")
    except FileNotFoundError:
        return Record({}, {})
    except (EOFError, TypeError, ValueError):
        # Nobody writes half of it: whoever it was, it was not us.
        return Record({}, {})
    return Record(networks, containers) if version == _VERSION else Record({}, {})


def place(folder: str) -> str:
    """Where the record of this boot and of this process's network namespace is."""
    return os.path.join(folder, "run", f"{boot_id()}-{os.stat('/proc/self/ns/net').st_ino}")


def names_file(folder: str, network_id: str) -> str:
    """The file with the names on a network, replaced as a whole by each change.

    A line for each address, as in hosts(5): address, the container's name, its short ID, aliases.
    """
    return os.path.join(place(folder), f"{network_id}.names")


def _forget_other_boots(folder: str) -> None:
    """Remove records of boots that are over: nothing that they tell of is there any more."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name.startswith(boot_id()) or not os.path.isdir(path):
            continue
        for file in os.listdir(path):
            os.unlink(os.path.join(path, file))
        os.rmdir(path)


def _write(path: str, data: bytes) -> None:
    fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)
    os.rename(f"{path}.new", path)
