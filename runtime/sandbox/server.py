"""The fork server, seen from the process that wants containers.

The server is a small process of its own. It starts each container as a child of *ours*, so that
we wait for it, while a threaded program with a lot of memory never forks itself. It runs on a
read-only clone of the interpreter's mount: through /proc/self/exe a container can get at the
file its process was executed from, and must not be able to write it (CVE-2019-5736).
"""

from __future__ import annotations

import _socket
import errno
import marshal
import os
import sys
from _thread import RLock, allocate_lock

from runtime.errors import (
    CommandNotFound,
    CommandNotRunnable,
    ContainerError,
    SetupFailed,
    UserNotFound,
)
from runtime.sandbox.report import Report
from runtime.sandbox.spawn import SOCKET_FD, spawn
from runtime.sandbox.wire import decode_failure, encode_order

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from types import TracebackType
    from typing import Final

    from runtime.sandbox.spec import EntrySpec, SandboxSpec
else:
    import _signal

_NONE: Final = 127
_NOT_FOUND: Final = (errno.ENOENT, errno.ENOTDIR)


class Process:
    """A container's first process. To be waited for, by any thread."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid: Final = pid
        self.terminal: int | None = None
        """Our side of its terminal, the caller's to close, if it was to have one."""
        self._pidfd = pidfd
        # There may never have been one: it failed to enter the container.
        self._status: int | None = _NONE if pid == 0 else None
        # A signal's handler may want to kill while this very thread waits.
        self._lock = RLock()

    @property
    def pidfd(self) -> int:
        """A descriptor of the process, readable when it has ended; closed by `wait`."""
        return self._pidfd

    def wait(self) -> int:
        """Its exit status, when it has ended: 128 + n if signal n ended it."""
        while True:
            with self._lock:
                if self._status is not None:
                    return self._status
                ended = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
                if ended is not None:
                    code = ended.si_status
                    self._status = code if ended.si_code == os.CLD_EXITED else 128 + code
                    os.close(self._pidfd)
                    self._pidfd = -1
                    return self._status
                pidfd = os.dup(self._pidfd)
            try:
                # Not holding the lock: others may want to send signals. One of them may also be
                # faster, and then there is no such child.
                os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:
                continue
            finally:
                os.close(pidfd)

    def kill(self, signal: int) -> None:
        """Send it a signal; nothing happens if it has ended."""
        with self._lock:
            if self._status is None:
                try:
                    _signal.pidfd_send_signal(self._pidfd, signal)
                except ProcessLookupError:
                    return


class SandboxServer:
    """Starts containers. Made by the main thread: a container dies with the thread that made this.

    The constructor does not wait until the server is up. `interpreter` is the Python that it
    runs on, this process's own unless given.
    """

    def __init__(self, interpreter: str | None = None) -> None:
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._lock = allocate_lock()
        self._socket: _socket.socket | None = ours
        try:
            self._pid = spawn(
                "runtime.sandbox.fork_server",
                theirs.fileno(),
                str(SOCKET_FD),
                str(os.getpid()),
                interpreter=interpreter,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()

    def __enter__(self) -> SandboxServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def hang_up(self) -> None:
        """Let the server end, without waiting for it: that is for `close`."""
        with self._lock:
            if self._socket is not None:
                self._socket.shutdown(_socket.SHUT_RDWR)

    def close(self) -> None:
        """End the server, and with it the containers that must die with their parent."""
        with self._lock:
            self._close()

    def start(
        self,
        spec: SandboxSpec | EntrySpec,
        stdin_fd: int,
        stdout_fd: int,
        stderr_fd: int,
        *,
        target_fd: int | None = None,
    ) -> Process:
        """Start a container, or a command in one that runs; on return the command is running.

        For the latter `target_fd` is a pidfd of the process that `EntrySpec.pid` names. A
        command with a terminal has that instead of the three streams. Safe to call from any
        thread. On error nothing runs: `CommandNotFound`, `CommandNotRunnable`, `UserNotFound`,
        or `SetupFailed` for all else.
        """
        try:
            order = encode_order(spec)
        except ValueError as error:
            raise SetupFailed("read the specification", errno.EINVAL, str(error)) from error
        return self.start_order(
            order,
            (stdin_fd, stdout_fd, stderr_fd),
            command=spec.argv[0],
            terminal=spec.terminal,
            target_fd=target_fd,
        )

    def start_order(
        self,
        order: bytes,
        standard: tuple[int, int, int],
        *,
        command: str,
        terminal: bool = False,
        target_fd: int | None = None,
    ) -> Process:
        """As `start`, with the spec as `encode_order` gives it; `command` is its first word."""
        report = Report(terminal=terminal)
        entered = (target_fd,) if target_fd is not None else ()
        try:
            fds = (*standard, report.write_fd, *entered)
            process = self._request(order, fds)
            report.sent()
            try:
                failure, process.terminal = report.read()
            except BaseException:
                process.kill(_signal.SIGKILL)
                process.wait()
                raise
        finally:
            report.close()
        if failure:
            process.wait()
            if process.terminal is not None:
                os.close(process.terminal)
            raise start_error(command, *decode_failure(failure))
        return process

    def _request(self, order: bytes, fds: tuple[int, ...]) -> Process:
        order_fd = os.memfd_create("order", os.MFD_CLOEXEC)
        try:
            written = 0
            while written < len(order):
                written += os.pwrite(order_fd, order[written:], written)
            with self._lock:
                try:
                    return self._exchange((order_fd, *fds))
                except ContainerError:
                    raise
                except BaseException:
                    # An answer may still come, and would be taken for that to the next request.
                    self._close()
                    raise
        finally:
            os.close(order_fd)

    def _exchange(self, fds: tuple[int, ...]) -> Process:
        if self._socket is None:
            raise SetupFailed("ask the fork server", errno.EPIPE, "it has been closed")
        rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
        try:
            self._socket.sendmsg([b"!"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
            answer, ancillary, _, _ = self._socket.recvmsg(64, _socket.CMSG_SPACE(4))
        except (BrokenPipeError, ConnectionResetError):
            answer, ancillary = b"", []
        if not answer:
            self._close()
            raise SetupFailed("ask the fork server", errno.EPIPE, "it has ended unexpectedly")
        pid, number, helper = marshal.loads(answer)
        if number:
            raise SetupFailed("make namespaces", number, os.strerror(number).lower())
        if helper:
            os.waitpid(helper, 0)
        return Process(pid, int.from_bytes(ancillary[0][2], sys.byteorder) if ancillary else -1)

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            os.waitpid(self._pid, 0)


def start_error(command: str, stage: str, number: int, text: str) -> ContainerError:
    """The failure that a container reported, as one of ours."""
    if stage == "exec":
        if number in _NOT_FOUND:
            return CommandNotFound(command, text)
        return CommandNotRunnable(command, text)
    if stage == "find the user":
        return UserNotFound(text)
    if stage == "prepare":  # A hook's failure: a sentence, and what to do.
        message, _, remedy = text.partition("\n")
        return ContainerError(message, hint=remedy or None)
    hint = None
    if stage == "make /proc" and number == errno.EPERM:
        # The kernel gives a user namespace no more of /proc than is to be seen around it.
        hint = (
            "the surrounding container hides parts of /proc: start it with"
            " --security-opt systempaths=unconfined"
        )
    elif stage == "map the owners of the layers' files" and number in (
        errno.EINVAL,
        errno.EPERM,
        errno.EXDEV,
    ):
        hint = (
            "the store's file system cannot map owners: leave out --userns auto, or have the store"
            " on ext4, xfs or btrfs, with Linux 5.19 or newer"
        )
    return SetupFailed(stage, number, text, hint=hint)
