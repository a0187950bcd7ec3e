"""The small process that clones a bundle's container, on a read-only clone of its interpreter.

It is started by `runtime.oci.launch`, gets one request, enters the namespaces that there are,
clones the container into new ones as a child of whoever started it, answers with its process ID,
and ends.
"""

from __future__ import annotations

import _socket
import marshal
import os
import sys

from runtime.oci.child import BundleChild, EnteredBundleChild
from runtime.sandbox import syscalls
from runtime.sandbox.child import forbid_imports
from runtime.sandbox.cloning import last_capability

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SOCKET_FD = 3
MOST_FDS = 12


class BundleOrder:
    """What `runtime.oci.plan` has made of a config, on the other side of the wire."""

    init = False
    supervisor = -1

    def __init__(self, fields: dict[str, Any]) -> None:
        self.__dict__.update(fields)


def main() -> None:
    """Do one request."""
    syscalls.close_range(SOCKET_FD + 1, 0xFFFF_FFFF, 0)
    socket = _socket.socket(fileno=SOCKET_FD)
    data, ancillary, _, _ = socket.recvmsg(1, _socket.CMSG_SPACE(4 * MOST_FDS))
    if not data:
        return
    fds = [
        int.from_bytes(content[i : i + 4], sys.byteorder)
        for _, _, content in ancillary
        for i in range(0, len(content), 4)
    ]
    order_fd, channel_fd, listening_fd, *joined = fds
    for fd in fds:
        os.set_inheritable(fd, False)
    fields = marshal.loads(os.pread(order_fd, os.fstat(order_fd).st_size, 0))
    os.close(order_fd)
    capability = last_capability()
    order: Any = BundleOrder(fields)
    try:
        _enter(order, joined)
        pid, _ = syscalls.clone3(order.new | syscalls.CLONE_PARENT, 0)
    except OSError as error:
        socket.send(marshal.dumps((0, error.errno or 0, (error.strerror or "").lower())))
        return
    if pid == 0:
        socket.close()
        if order.entered:
            EnteredBundleChild(order, channel_fd, capability).run()
        BundleChild(order, channel_fd, listening_fd, capability).run()
    socket.send(marshal.dumps((pid, 0, "")))


def _enter(order: Any, joined: list[int]) -> None:
    """Enter namespaces; a user namespace last, with the rights to enter the others."""
    kinds = list(zip(joined, order.joined, strict=True))
    if order.entered:
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        fd, kind = kinds[0]
        forbid_imports()
        syscalls.setns(fd, kind)
        if kind & syscalls.CLONE_NEWUSER:
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
        return
    kinds.sort(key=lambda pair: pair[1] == syscalls.CLONE_NEWUSER)
    for fd, kind in kinds:
        syscalls.setns(fd, kind)
