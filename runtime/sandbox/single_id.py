"""Another user for a process that has one id: that id, under another number.

In a user namespace of its own the process is whom it should be, and without capabilities it has
no more rights than that user. Whoever asks is told that number; so is who owns each file.
"""

from __future__ import annotations

import os
import stat

from runtime.owner_record import Record, write_record
from runtime.sandbox import syscalls
from runtime.sandbox.emulation import emulation_filter
from runtime.sandbox.supervisor import send_listener

_PR_GET_DUMPABLE = 3


class SingleId:
    """What a container's process does with one id; `supervisor` is for `send_listener`.

    Made before the pivot, since nothing is imported afterwards; where there are more ids, never.
    """

    def __init__(self, supervisor: int) -> None:
        self._supervisor = supervisor

    def record_owner(self, directory: int, uid: int, gid: int) -> None:
        """As fchown(2) for a directory."""
        write_record(directory, stat.S_IFDIR, Record(uid, gid))

    def emulate(self, capabilities: int) -> None:
        """Have what a single id cannot do seem done, and owners recorded."""
        listener = syscalls.seccomp_listener(emulation_filter(capabilities))
        send_listener(listener, self._supervisor)

    def map_to(self, uid: int, gid: int) -> None:
        """Be this user and group in the user namespace that this process has just made.

        Where nobody may set groups, as here, everybody may map the own ones. While the maps are
        written the process is dumpable: its files in /proc belong to nobody here otherwise.
        """
        dumpable = syscalls.prctl(_PR_GET_DUMPABLE)
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
        for name, number in (("uid_map", uid), ("gid_map", gid)):
            fd = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                os.write(fd, f"{number} 0 1\n".encode())
            finally:
                os.close(fd)
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, dumpable)
