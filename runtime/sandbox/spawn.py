"""Starting a small Python of ours on a read-only clone of its interpreter's mount.

Through /proc/self/exe a container can get at the file its process was executed from, and must
not be able to write it (CVE-2019-5736). So what clones containers runs on such a clone.
"""

from __future__ import annotations

import errno
import os

from runtime.errors import SandboxUnavailable
from runtime.sandbox import mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SOCKET_FD: Final = 3
"""Where the new process finds its connection to us."""
_PROGRAM: Final = "import sys; sys.path.append(sys.argv.pop()); from {} import main; main()"


def spawn(module: str, socket_fd: int, *arguments: str, interpreter: str | None = None) -> int:
    """Start `main` of a module in a process and session of its own; its pid.

    `interpreter` is the Python it runs on, this process's own unless given. Its environment is
    empty, and it imports nothing but the standard library and this package.
    """
    interpreter = os.path.realpath(interpreter or os.readlink("/proc/self/exe"))
    try:
        clone = mounts.bind(interpreter, read_only=True, recursive=False)
    except PermissionError as error:
        raise SandboxUnavailable(
            "a read-only clone of the Python interpreter",
            "the kernel does not allow it",
            "call runtime.sandbox.privilege.acquire() first",
        ) from error
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        raise SandboxUnavailable(
            "a read-only clone of the Python interpreter",
            f"the kernel ({os.uname().release}) is too old",
            "use Linux 5.14 or newer",
        ) from error
    folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    command = [interpreter, "-I", "-S", "-E", "-X", "utf8", "-c", _PROGRAM.format(module)]
    environment = {}
    if "LD_LIBRARY_PATH" in os.environ:
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    try:
        return os.posix_spawn(
            f"/proc/self/fd/{clone}",
            [*command, *arguments, folder],
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, socket_fd, SOCKET_FD)],
            setsid=True,
            setsigmask=(),
        )
    finally:
        os.close(clone)
