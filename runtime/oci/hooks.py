"""Programs that a config wants to be run at points of a container's life.

Each gets the container's state on its standard input. The container's process uses this module,
so it imports nothing slow.
"""

from __future__ import annotations

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Iterable

    from runtime.oci.plan import Hook
else:
    import _signal

_MOST_OUTPUT = 4096


class HookFailed(OSError):
    """A hook could not be run, or did not end well."""


def run_hooks(hooks: Iterable[Hook], state: bytes) -> None:
    """Run hooks one after another; `HookFailed` at the first that fails."""
    for path, arguments, environment, seconds in hooks:
        _run(path, arguments, dict(environment), seconds, state)


def _run(
    path: bytes,
    arguments: tuple[bytes, ...],
    environment: dict[bytes, bytes],
    seconds: int | None,
    state: bytes,
) -> None:
    # Files, not pipes: neither side can ever wait for the other.
    given, said = os.memfd_create("state", os.MFD_CLOEXEC), os.memfd_create("said", os.MFD_CLOEXEC)
    try:
        os.write(given, state)
        os.lseek(given, 0, os.SEEK_SET)
        actions = [(os.POSIX_SPAWN_DUP2, given, 0)]
        actions += [(os.POSIX_SPAWN_DUP2, said, number) for number in (1, 2)]
        try:
            pid = os.posix_spawn(path, arguments, environment, file_actions=actions)
        except OSError as error:
            raise HookFailed(
                error.errno, f"the hook {os.fsdecode(path)}: {error.strerror}"
            ) from None
        status = _wait(pid, seconds)
        text = os.pread(said, _MOST_OUTPUT, 0).decode("utf-8", "replace").strip()
    finally:
        os.close(given)
        os.close(said)
    if status is None:
        raise HookFailed(0, f"the hook {os.fsdecode(path)} did not end within {seconds} seconds")
    if status != 0:
        why = f"ended with status {status}" + (f": {text}" if text else "")
        raise HookFailed(0, f"the hook {os.fsdecode(path)} {why}")


def _wait(pid: int, seconds: int | None) -> int | None:
    """The exit status; `None` if it had to be killed because it took too long."""
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        ended = poll.poll(None if seconds is None else seconds * 1000)
        if not ended:
            _signal.pidfd_send_signal(pidfd, _signal.SIGKILL)
    finally:
        os.close(pidfd)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status if ended else None
