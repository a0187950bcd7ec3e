"""What keeps a plain user's networks: one process for all of a store, while somebody is on them.

Networks that containers share lie in one network namespace, as bridges do in a machine, and one
program (`runtime.network.user_mode`) connects it to the world. The holder is the root of their
user namespace. Monitors hold a connection to it; it ends with the last one, and all with it. On
the machine's side it listens where monitors want ports published.

A connection is greeted with `marshal` of `None` and a descriptor of the namespace, or of a message
and a hint if there is none. A request is `marshal` of ports; the answer of the same ports, with
their numbers, and the descriptors that listen at them; or of a message and a hint.
"""

from __future__ import annotations

import _socket
import marshal
import os
import sys

from runtime.errors import NetworkError
from runtime.monitor.loop import READ, Loop
from runtime.network.namespace import make_namespace
from runtime.network.ports import HeldPorts
from runtime.network.relay import listen
from runtime.network.user_mode import Uplink
from runtime.sandbox import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

SOCKET = "holder"
_SOCKET_FD = 3
_MOST_FDS = 200
_BACKLOG = 64


def main() -> NoReturn:
    """Hold networks. Arguments: the store's `networks`, and the programs to connect them."""
    syscalls.close_range(_SOCKET_FD + 1, 0xFFFF_FFFF, 0)
    if os.fork():
        os._exit(0)
    folder, *programs = sys.argv[1:]
    os.umask(0o077)
    os.chdir(folder)
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    starter = _socket.socket(fileno=_SOCKET_FD)
    try:
        namespace = make_namespace()
        uplink = Uplink(programs, namespace, ())
    except NetworkError as error:
        starter.send(marshal.dumps((error.message, error.hint)))
        os._exit(1)
    try:
        _Holder(namespace, uplink, starter).run()
    finally:
        uplink.end()
        os._exit(0)


class _Holder:
    def __init__(self, namespace: int, uplink: Uplink, starter: _socket.socket) -> None:
        self._namespace = namespace
        self._loop = Loop()
        uplink.attend(self._loop)
        self._clients: dict[int, _socket.socket] = {}
        if os.path.lexists(SOCKET):
            os.unlink(SOCKET)
        self._listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._listener.bind(SOCKET)
        self._listener.listen(_BACKLOG)
        self._loop.watch(self._listener.fileno(), READ, self._accept)
        self._add(starter)

    def run(self) -> None:
        """Serve until nobody is left."""
        while self._clients:
            self._loop.step()

    def _accept(self, _: int) -> None:
        fd, _place = self._listener._accept()  # type: ignore[attr-defined]  # of _socket's
        self._add(_socket.socket(fileno=fd))

    def _add(self, client: _socket.socket) -> None:
        self._clients[client.fileno()] = client
        self._loop.watch(client.fileno(), READ, self._hear)
        self._say(client, None, [self._namespace])

    def _hear(self, _: int) -> None:
        for fd, client in tuple(self._clients.items()):
            try:
                data = client.recv(1 << 16, _socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if data:
                self._publish(client, marshal.loads(data))
            else:
                self._loop.forget(fd)
                del self._clients[fd]
                client.close()

    def _publish(self, client: _socket.socket, ports: Sequence[tuple[str, str, int, int]]) -> None:
        listeners: list[_socket.socket] = []
        numbered: list[tuple[tuple[str, str, int, int], int]] = []
        try:
            held = HeldPorts()
            found = held.hold(ports, ipv6=True)
            held.close()
            for port in found:
                more = listen(port)
                listeners += more
                numbered.append((port, len(more)))
            self._say(client, numbered, [each.fileno() for each in listeners])
        except NetworkError as error:
            self._say(client, (error.message, error.hint), [])
        finally:
            for each in listeners:
                each.close()

    def _say(self, client: _socket.socket, answer: Any, fds: Sequence[int]) -> None:
        rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
        more = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if fds else []
        try:
            client.sendmsg([marshal.dumps(answer)], more)
        except OSError:
            return  # It is gone, which is heard next.


def connect(folder: str) -> tuple[_socket.socket, int] | None:
    """A connection to the holder of a store, and the namespace it holds; `None` without one."""
    dir_fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        # By the folder's descriptor: a path may be longer than the address of a socket can be.
        connection.connect(f"/proc/self/fd/{dir_fd}/{SOCKET}")
        _, (namespace,) = hear(connection)
    except (OSError, EOFError):
        connection.close()
        return None
    finally:
        os.close(dir_fd)
    return connection, namespace


def hear(connection: _socket.socket) -> tuple[object, list[int]]:
    """An answer of the holder's, and its descriptors. `NetworkError`; `EOFError` if it is gone."""
    data, ancillary, _, _ = connection.recvmsg(1 << 16, _socket.CMSG_SPACE(4 * _MOST_FDS))
    if not data:
        raise EOFError
    fds = [
        int.from_bytes(content[place : place + 4], sys.byteorder)
        for _, _, content in ancillary
        for place in range(0, len(content), 4)
    ]
    for fd in fds:
        os.set_inheritable(fd, False)
    answer = marshal.loads(data)
    if isinstance(answer, tuple):
        message, hint = answer
        raise NetworkError(message, hint=hint)
    return answer, fds
