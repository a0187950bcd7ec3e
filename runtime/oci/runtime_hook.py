"""Having another runtime make a container: the hook of its monitor.

The root is mounted in the monitor's own mount namespace, so that nothing of it is left when that
ends. `create` makes the first process, which becomes a child of the monitor (a subreaper) when
`create` has ended; all else is as with a container that the monitor has cloned itself.
"""

from __future__ import annotations

import _socket
import errno
import marshal
import os
import sys

from runtime.errors import SetupFailed
from runtime.monitor import files
from runtime.sandbox import mounts, syscalls
from runtime.sandbox.terminal import set_size
from runtime.sandbox.wire import encode_failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from runtime.sandbox.wire import Order

MODULE = "runtime.oci.runtime_hook"
NETWORK = "@lamina-network@"
CGROUP = "@lamina-cgroup@"
"""In a config: the paths of the network namespace and of the cgroup that other hooks have made."""
_SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MOST_TEXT = 64 << 10
_MOST_REPORT = 2000
_NOT_FOUND = (b"not found in $PATH", b"no such file or directory", b"No such file or directory")
_NOT_RUNNABLE = (
    b"open executable",
    b"permission denied",
    b"Permission denied",
    b"exec format",
    b"Exec format",
)


def open_hook(data: bytes, container_id: str, loop: object) -> RuntimeHook:
    """The hook of a container."""
    runtime, made = marshal.loads(data)
    return RuntimeHook(runtime, made, container_id)


def forget(made: str, container_id: str) -> None:
    """Have a container's runtime forget it, whoever ran it; for who removes it."""
    with open(f"{made}/bundle/runtime", encoding="utf-8") as file:
        runtime = file.read()
    RuntimeHook(runtime, made, container_id).after_exit()


class RuntimeHook:
    """A container of another runtime's."""

    def __init__(self, runtime: str, made: str, container_id: str) -> None:
        self._runtime = runtime
        self._made = made
        self._id = container_id

    def before_start(self, order: Order) -> None:
        """Mount the root, and have this start the container instead of a clone."""
        root = f"{self._made}/root"
        self.after_exit()
        try:
            mounts.mount_overlay(
                root, lower=order.lower, upper=order.upper, work=order.work, volatile=order.volatile
            )
            self._complete(order)
        except OSError as error:
            text = f"{error.filename or root}: {(error.strerror or '').lower()}"
            raise SetupFailed("make the root", error.errno or 0, text) from error
        order.cloner = self._clone

    def started(self, pid: int) -> None:
        """Nothing is to be done then."""

    def ended(self) -> dict[str, object]:
        """There is nothing to say of it."""
        return {}

    def after_exit(self) -> None:
        """Have the runtime forget it, and unmount the root."""
        if os.path.isdir(f"{self._made}/state"):
            self._call("delete", "--force", self._id)
        try:
            syscalls.umount2(f"{self._made}/root", syscalls.MNT_DETACH)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT, errno.EPERM):
                raise

    def _complete(self, order: Order) -> None:
        """Write into the config what is only known now: the network, and the cgroup."""
        with open(f"{self._made}/bundle/config.json.in", "rb") as file:
            text = file.read()
        network = f"/proc/{os.getpid()}/fd/{order.network_fd}"
        text = text.replace(NETWORK.encode(), network.encode())
        text = text.replace(CGROUP.encode(), self._group_path())
        with open(f"{self._made}/bundle/config.json", "wb") as file:
            file.write(text)

    def _group_path(self) -> bytes:
        """The path of the groups that the hook for limits makes, below each hierarchy."""
        try:
            with open(f"{os.path.dirname(self._made)}/{files.CGROUP}", "rb") as file:
                return file.read()
        except FileNotFoundError:
            return f"/lamina/{self._id}".encode()

    def _clone(self, order: Order, standard: Sequence[int], error_fd: int) -> tuple[int, int, int]:
        """The first process: pid, pidfd, and no helper. What fails is reported to `error_fd`."""
        pid_file = f"{self._made}/pid"
        options = ["--bundle", f"{self._made}/bundle", "--pid-file", pid_file]
        console = _Console() if order.terminal else None
        try:
            if console is not None:
                options += ["--console-socket", console.path]
            if not self._succeeds(error_fd, "create", *options, self._id, standard=standard):
                return 0, -1, 0
            if console is not None:
                console.hand_on(error_fd, order.terminal_size)
        finally:
            if console is not None:
                console.close()
        with open(pid_file, "rb") as file:
            pid = int(file.read())
        pidfd = os.pidfd_open(pid)
        if not self._succeeds(error_fd, "start", self._id):
            return 0, pidfd, 0
        return pid, pidfd, 0

    def _succeeds(self, error_fd: int, *words: str, standard: Sequence[int] | None = None) -> bool:
        status, said = self._call(*words, standard=standard)
        if status == 0:
            return True
        text = said.decode("utf-8", "replace").strip() or f"it ended with status {status}"
        stage, number = f"{words[0]} the container with {self._runtime}", 0
        if any(word in said for word in _NOT_FOUND):
            stage, number = "exec", errno.ENOENT
        elif any(word in said for word in _NOT_RUNNABLE):
            stage, number = "exec", errno.EACCES
        os.write(error_fd, encode_failure(stage, number, text[:_MOST_REPORT]))
        return False

    def _call(self, *words: str, standard: Sequence[int] | None = None) -> tuple[int, bytes]:
        """Run the runtime to its end; its status, and what it says of errors."""
        log = f"{self._made}/log"
        options = [self._runtime, "--root", f"{self._made}/state", "--log", log]
        with open(log, "wb"):
            pass
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        fds = standard or (null, null, null)
        actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(fds)]
        try:
            pid = os.posix_spawn(
                self._runtime, [*options, *words], {"PATH": _SEARCH}, file_actions=actions
            )
        except OSError as error:
            text = f"{self._runtime}: {(error.strerror or '').lower()}"
            return 127, text.encode()
        finally:
            os.close(null)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with open(log, "rb") as file:
            return status, file.read(_MOST_TEXT)


class _Console:
    """A socket at which a runtime hands over a terminal, at a path that is short enough."""

    def __init__(self) -> None:
        self._folder = f"/tmp/lamina-{os.urandom(8).hex()}"
        os.mkdir(self._folder, 0o700)
        self.path = f"{self._folder}/console"
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self._socket.bind(self.path)
        self._socket.listen(1)

    def hand_on(self, error_fd: int, size: tuple[int, int]) -> None:
        """Pass the terminal on as a process of our own would."""
        listening: Any = self._socket
        fd, _ = listening._accept()
        connection = _socket.socket(fileno=fd)
        _, ancillary, _, _ = connection.recvmsg(4096, _socket.CMSG_SPACE(4))
        connection.close()
        terminal = int.from_bytes(ancillary[0][2][:4], sys.byteorder)
        set_size(terminal, *size)
        report = _socket.socket(fileno=os.dup(error_fd))
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, terminal.to_bytes(4, sys.byteorder))
        report.sendmsg([b"!"], [rights])
        report.close()
        os.close(terminal)

    def close(self) -> None:
        self._socket.close()
        try:
            os.unlink(self.path)
        finally:
            os.rmdir(self._folder)
