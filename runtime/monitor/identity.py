"""Who a process is: its ID, the time it was started and the boot.

An ID alone may be another process's by now. Monitors use this module, so it imports nothing
but `os` and `select`.
"""

from __future__ import annotations

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

Document = dict[str, int | str]


class ProcessIdentity:
    """A process, and no other one that gets its ID later."""

    __slots__ = ("boot_id", "pid", "start_time")

    def __init__(self, *, pid: int, start_time: int, boot_id: str) -> None:
        self.pid = pid
        self.start_time = start_time
        self.boot_id = boot_id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ProcessIdentity) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"ProcessIdentity({self.pid}, {self.start_time}, {self.boot_id!r})"

    def _key(self) -> tuple[int, int, str]:
        return self.pid, self.start_time, self.boot_id

    def to_document(self) -> Document:
        return {"pid": self.pid, "start_time": self.start_time, "boot_id": self.boot_id}


def identify(pid: int) -> ProcessIdentity | None:
    """Who a process is; `None` if there is none of that ID, or it has ended."""
    found = _start_time(pid)
    if found is None or found[1]:
        return None
    return ProcessIdentity(pid=pid, start_time=found[0], boot_id=boot_id())


def identify_child(pid: int) -> ProcessIdentity:
    """Who a child of this process is that has not been waited for, ended or not."""
    found = _start_time(pid)
    return ProcessIdentity(pid=pid, start_time=found[0] if found else 0, boot_id=boot_id())


def is_alive(identity: ProcessIdentity | None) -> bool:
    """Whether exactly that process has not ended."""
    return identity is not None and identify(identity.pid) == identity


def open_process(identity: ProcessIdentity | None) -> int | None:
    """A descriptor of exactly that process, readable when it ends; `None` if it has ended."""
    if identity is None:
        return None
    try:
        fd = os.pidfd_open(identity.pid)
    except OSError:
        return None
    # Compared when the ID can no longer change hands.
    if identify(identity.pid) == identity:
        return fd
    os.close(fd)
    return None


def send_signal(pidfd: int, number: int) -> None:
    """Send a signal; nothing happens if the process has ended."""
    try:
        _signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return


def has_ended(pidfd: int, seconds: float | None) -> bool:
    """Wait for a process's end, at most so long; whether it has come."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if seconds is None else max(0, seconds) * 1000))


def boot_id() -> str:
    """What this boot of the machine is called."""
    fd = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 64).decode("ascii").strip()
    finally:
        os.close(fd)


def _start_time(pid: int) -> tuple[int, bool] | None:
    """When a process was started, in ticks since the boot, and whether it has ended.

    From proc(5), stat, field 22, and field 3: a zombie has ended.
    """
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fields = os.read(fd, 4096).rpartition(b")")[2].split()
    except OSError:
        return None
    finally:
        os.close(fd)
    return (int(fields[19]), fields[0] in (b"Z", b"X")) if fields else None
