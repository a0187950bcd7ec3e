"""A monitor's process: it leaves whoever started it, and waits for its request.

It is started by `runtime.containers.launch` on a read-only clone of its interpreter, since it
clones containers itself (CVE-2019-5736). Killed at any moment it takes the container with it,
as the container's first process wants to be killed with its parent.
"""

from __future__ import annotations

import _socket
import os
import sys

from runtime.monitor import files
from runtime.monitor.monitor import Monitor
from runtime.monitor.request import SOCKET_FD, Request, decode_request
from runtime.sandbox import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_FDS = 3
_PR_SET_CHILD_SUBREAPER = 36


def main() -> NoReturn:
    """Look after one container, then end."""
    syscalls.close_range(SOCKET_FD + 1, 0xFFFF_FFFF, 0)
    if os.fork():
        os._exit(0)
    syscalls.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    socket = _socket.socket(fileno=SOCKET_FD)
    request, client = _receive(socket)
    if request is None:
        os._exit(0)
    os.umask(0o077)
    os.chdir(request.folder)
    _leave_terminal()
    try:
        _look_after(request, client, socket)
    except BaseException:
        _confess()
        os._exit(1)
    os._exit(0)


def _look_after(request: Request, client: _socket.socket | None, socket: _socket.socket) -> None:
    def answer(data: bytes) -> None:
        try:
            socket.send(data)
        except OSError:
            return  # Who asked is gone; the container was wanted all the same.
        finally:
            socket.close()

    Monitor(request, client).run(answer)


def _receive(socket: _socket.socket) -> tuple[Request | None, _socket.socket | None]:
    """The request, and the first client. What locks the folder stays open as long as we live."""
    try:
        data, ancillary, _, _ = socket.recvmsg(1, _socket.CMSG_SPACE(4 * _FDS))
    except ConnectionResetError:
        return None, None
    if not data:
        return None, None
    order_fd, lock_fd, *others = (
        int.from_bytes(content[i : i + 4], sys.byteorder)
        for _, _, content in ancillary
        for i in range(0, len(content), 4)
    )
    for fd in (order_fd, lock_fd, *others):
        os.set_inheritable(fd, False)
    request = decode_request(os.pread(order_fd, os.fstat(order_fd).st_size, 0))
    os.close(order_fd)
    client = _socket.socket(fileno=others[0]) if others else None
    return request, client


def _leave_terminal() -> None:
    fd = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(fd, number)
    os.close(fd)


def _confess() -> None:
    """Say in the container's folder what no user should ever see: a defect."""
    import traceback

    files.write_file("defect.txt", traceback.format_exc().encode("utf-8", "backslashreplace"))
