"""Being where a plain user's networks are: in the user namespace of the process that keeps them."""

from __future__ import annotations

import _socket
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from runtime.errors import NetworkError
from runtime.network import holder
from runtime.network.definitions import networks_folder
from runtime.network.user_mode import find_programs
from runtime.sandbox.privilege import acquire, join
from runtime.sandbox.spawn import spawn

_SO_PEERCRED = 17


@contextmanager
def on_networks(root: str) -> Iterator[None]:
    """Be in the user namespace of the networks that containers share, which are kept meanwhile.

    As `acquire`; `NetworkError` if there can be none.
    """
    folder = networks_folder(root)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    lock = os.open(f"{folder}/holder.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        connection = _joined(folder) or _started(folder)
    finally:
        os.close(lock)
    try:
        yield
    finally:
        connection.close()


def _joined(folder: str) -> _socket.socket | None:
    found = holder.connect(folder)
    if found is None:
        return None
    connection, namespace = found
    os.close(namespace)
    credentials = connection.getsockopt(_socket.SOL_SOCKET, _SO_PEERCRED, 12)
    join(int.from_bytes(credentials[:4], sys.byteorder))
    return connection


def _started(folder: str) -> _socket.socket:
    programs = find_programs(os.environ.get("PATH", ""))
    acquire()
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        pid = spawn("runtime.network.holder", theirs.fileno(), folder, *programs)
        theirs.close()
        os.waitpid(pid, 0)
        _, (namespace,) = holder.hear(ours)
        os.close(namespace)
    except EOFError as error:
        ours.close()
        raise NetworkError("the process that is to keep networks ended without a word") from error
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return ours
