"""Ending what is left of a container that has no process namespace of its own.

The end of a first process ends all others of its namespace; in one that is shared they live on.
What tells them apart is their mount namespace, which no other container has. A hook of the
monitor (`runtime.monitor.hooks`).
"""

from __future__ import annotations

import os
import time

from runtime.monitor.identity import has_ended, send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal

    from runtime.monitor.loop import Loop
    from runtime.sandbox.wire import Order
else:
    import _signal

_SECONDS = 10


class Leftovers:
    """The processes of one container."""

    def __init__(self) -> None:
        self._namespace = -1

    def before_start(self, order: Order) -> None:
        """Nothing is left yet."""

    def started(self, pid: int) -> None:
        """Remember its mount namespace; held open, its number is nobody else's."""
        try:
            self._namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return  # It has ended already, and was alone.

    def ended(self) -> dict[str, object]:
        """There is nothing to be said of that."""
        return {}

    def after_exit(self) -> None:
        """End all that are in it, and those that they start meanwhile, in a few seconds."""
        if self._namespace < 0:
            return
        wanted = os.fstat(self._namespace)
        deadline = time.monotonic() + _SECONDS
        while (left := deadline - time.monotonic()) > 0:
            found = [fd for pid in _processes() if (fd := _in(pid, wanted)) >= 0]
            for fd in found:
                send_signal(fd, _signal.SIGKILL)
            for fd in found:
                has_ended(fd, left)
                os.close(fd)
            if not found:
                break
        os.close(self._namespace)
        self._namespace = -1


def open_hook(data: bytes, container_id: str, loop: Loop) -> Leftovers:
    """See `runtime.monitor.hooks`."""
    return Leftovers()


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _in(pid: int, namespace: os.stat_result) -> int:
    """A pidfd of a process if it is in a mount namespace; else -1."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return -1
    try:
        # Looked at when the ID can no longer change hands.
        status = os.stat(f"/proc/{pid}/ns/mnt")
    except OSError:
        status = None
    if status is not None and (status.st_ino, status.st_dev) == (
        namespace.st_ino,
        namespace.st_dev,
    ):
        return fd
    os.close(fd)
    return -1
