"""Another user for a process that has one id: that id, under another number.

In a user namespace of its own the process is whom it should be, and without capabilities it has
no more rights than that user. Whoever asks is told that number; so is who owns each file.
"""

from __future__ import annotations

import os

from runtime.sandbox import syscalls

_PR_GET_DUMPABLE = 3


def map_to(uid: int, gid: int) -> None:
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
