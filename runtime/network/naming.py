"""Names for a container: the resolver of its monitor, fed by who is on its networks.

Each network has a file of names (see `runtime.network.state.names_file`), replaced as a whole by
each change; it is read again when it is another one.
"""

from __future__ import annotations

import os

from runtime.network.addresses import packed
from runtime.network.forwarder import Forwarder
from runtime.network.namespace import inside
from runtime.network.resolver import Resolver, open_sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runtime.monitor.loop import Loop

    Stamp = tuple[int, int, int]

_MOST_BYTES = 1 << 22


class Names:
    """Who is on some networks: `files` gives pairs of a network's name and its file.

    It is asked each time: a container may be connected to others while it runs.
    """

    def __init__(self, files: Callable[[], Sequence[tuple[str, str]]]) -> None:
        self._wanted = files
        self._known: dict[tuple[str, str], _NamesFile] = {}

    def addresses(self, name: str) -> list[bytes] | None:
        """The addresses of a name in lower case, as they are on the first network that has it."""
        for file in self._files():
            found = file.read().addresses.get(name)
            if found is not None:
                return found
        return None

    def name(self, address: bytes) -> str | None:
        """Who has an address, with the name of the network, as docker says it."""
        for file in self._files():
            found = file.read().names.get(address)
            if found is not None:
                return found
        return None

    def _files(self) -> list[_NamesFile]:
        pairs = self._wanted()
        self._known = {pair: self._known.get(pair) or _NamesFile(*pair) for pair in pairs}
        return list(self._known.values())


class _NamesFile:
    """One network's file, as it was when it was read last."""

    def __init__(self, network: str, path: str) -> None:
        self._network = network
        self._path = path
        self._stamp: Stamp | None = None
        self.addresses: dict[str, list[bytes]] = {}
        self.names: dict[bytes, str] = {}

    def read(self) -> _NamesFile:
        """The same, as it is now."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._take(b"")
            return self
        try:
            found = os.fstat(fd)
            stamp = (found.st_ino, found.st_size, found.st_mtime_ns)
            if stamp != self._stamp:
                self._take(_whole(fd))
                self._stamp = stamp
        finally:
            os.close(fd)
        return self

    def _take(self, data: bytes) -> None:
        self._stamp = None
        self.addresses, self.names = {}, {}
        for line in data.decode("utf-8", "replace").splitlines():
            text, *names = line.split()
            try:
                address = packed(text)
            except OSError:
                continue
            for name in names:
                for form in (name.lower(), f"{name}.{self._network}".lower()):
                    known = self.addresses.setdefault(form, [])
                    if address not in known:
                        known.append(address)
            if names:
                self.names.setdefault(address, f"{names[0]}.{self._network}")


class NameService:
    """A resolver at 127.0.0.11 in a network namespace, until it is closed.

    `servers` are asked for all other names; none if the networks lead nowhere.
    """

    def __init__(
        self,
        loop: Loop,
        namespace_fd: int,
        files: Callable[[], Sequence[tuple[str, str]]],
        servers: Sequence[str],
    ) -> None:
        fds = inside(namespace_fd, open_sockets, "listen to questions of names")
        self._resolver = Resolver(loop, fds, Names(files), Forwarder(loop, servers))

    def close(self) -> None:
        """Answer no more."""
        self._resolver.close()


def _whole(fd: int) -> bytes:
    data = b""
    while len(data) < _MOST_BYTES and (piece := os.read(fd, 1 << 16)):
        data += piece
    return data
