"""The first process of a bundle's container: made, waiting, then its command.

It talks to `create` over a socket pair: it is told to go on, gets the state that hooks are to
see, and says `ready`, or what failed. Then it listens on a socket for `start`, which learns over
the connection whether the command could be executed: the connection ends with that.
"""

from __future__ import annotations

import _socket
import os

from runtime.oci.hooks import run_hooks
from runtime.oci.root import BundleRoot
from runtime.sandbox import syscalls
from runtime.sandbox.child import (
    Child,
    bring_up_loopback,
    enter_directory,
    forbid_imports,
    reset_signals,
)
from runtime.sandbox.command import check_command
from runtime.sandbox.terminal import take_terminal
from runtime.user import Ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

READY = b"ready"
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT_RAISE = 2


class BundleChild(Child):
    """A container of somebody's config, on its way to its command."""

    def __init__(
        self, order: Any, channel_fd: int, listening_fd: int, last_capability: int
    ) -> None:
        super().__init__(order, channel_fd, last_capability)
        self._listening_fd = listening_fd

    def _set_up(self) -> None:
        order: Any = self._order
        channel = _socket.socket(fileno=self._error_fd)
        self._set_stage("wait for create")
        state = channel.recv(1 << 16)
        if not state:
            os._exit(1)
        if order.user_namespace:
            self._set_stage("become root of the user namespace")
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
        os.setsid()
        if order.loopback:
            self._set_stage("bring up the loopback interface")
            bring_up_loopback()
        root = BundleRoot(order, self._set_stage)
        root.make()
        self._set_stage("run the createContainer hooks")
        run_hooks(order.hooks["createContainer"], state)
        root_fd = root.enter()
        forbid_imports()
        os.umask(0o022)
        root.attach(root_fd)
        self._set_stage("set the host name")
        if order.hostname:
            syscalls.sethostname(order.hostname)
        if order.domainname:
            syscalls.setdomainname(order.domainname)
        self._set_stage("set resource limits")
        for resource, soft, hard in order.rlimits:
            syscalls.prlimit(resource, (soft, hard))
        ids = Ids(order.uid, order.gid, order.groups, "/")
        if order.terminal:
            self._set_stage("make a terminal")
            take_terminal(root_fd, self._error_fd, order.terminal_size, ids.uid, console=True)
        self._set_stage("exec")
        check_command(order.argv[0], dict(order.env))
        # Nothing in a shared PID namespace may look into this process while it waits.
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        self._wait_for_start(channel)
        self._set_stage("run the startContainer hooks")
        run_hooks(order.hooks["startContainer"], state)
        self._set_stage(f"enter the working directory {os.fsdecode(order.cwd)}")
        enter_directory(root_fd, order.cwd, Ids(0, 0, (), "/"))
        os.umask(order.umask)
        self._environment = dict(order.env)
        self._become(ids)
        reset_signals()
        syscalls.close_range(3, 0xFFFF_FFFF, syscalls.CLOSE_RANGE_CLOEXEC)

    def _wait_for_start(self, channel: _socket.socket) -> None:
        """Say that the container is made, and wait; from then on `start` is told of failures."""
        channel.send(READY)
        channel.close()
        self._set_stage("wait for start")
        listening: Any = _socket.socket(fileno=self._listening_fd)
        while True:
            fd, _ = listening._accept()
            connection = _socket.socket(fileno=fd)
            if connection.recv(16) == b"start":
                break
            connection.close()
        listening.close()
        self._error_fd = connection.detach()

    def _become(self, ids: Ids) -> None:
        """Be the user, with just the capabilities of the config."""
        become(self._order, ids, self._last_capability, self._set_stage)


class EnteredBundleChild(Child):
    """A further process of a bundle's container, in its namespaces already."""

    def _set_up(self) -> None:
        order: Any = self._order
        self._set_stage("wait for exec")
        channel = _socket.socket(fileno=os.dup(self._error_fd))
        if not channel.recv(1 << 16):
            os._exit(1)
        channel.close()
        os.setsid()
        root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._set_stage("set resource limits")
        for resource, soft, hard in order.rlimits:
            syscalls.prlimit(resource, (soft, hard))
        ids = Ids(order.uid, order.gid, order.groups, "/")
        self._set_stage(f"enter the working directory {os.fsdecode(order.cwd)}")
        enter_directory(root_fd, order.cwd, None)
        if order.terminal:
            self._set_stage("make a terminal")
            take_terminal(root_fd, self._error_fd, order.terminal_size, ids.uid, console=False)
        os.umask(order.umask)
        self._environment = dict(order.env)
        become(order, ids, self._last_capability, self._set_stage)
        reset_signals()
        syscalls.close_range(3, 0xFFFF_FFFF, syscalls.CLOSE_RANGE_CLOEXEC)


def become(order: Any, ids: Ids, last_capability: int, stage: Any) -> None:
    """Give up all privileges but those that the order has."""
    sets = order.capability_sets
    if order.seccomp and not order.no_new_privileges:
        # Needs CAP_SYS_ADMIN, so before it is gone.
        _filter(order, stage)
    stage("give up privileges")
    for number in range(last_capability + 1):
        if not sets["bounding"] >> number & 1:
            syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)
    syscalls.prctl(_PR_SET_KEEPCAPS, 1)
    _set_groups(ids.groups)
    os.setresgid(ids.gid, ids.gid, ids.gid)
    os.setresuid(ids.uid, ids.uid, ids.uid)
    _, held, _ = syscalls.capget()
    permitted = sets["permitted"] & held
    inheritable = sets["inheritable"] & (held | sets["permitted"])
    syscalls.prctl(_PR_SET_KEEPCAPS, 0)
    syscalls.capset(sets["effective"] & permitted, permitted, inheritable)
    for number in range(last_capability + 1):
        if sets["ambient"] & permitted & inheritable and sets["ambient"] >> number & 1:
            syscalls.prctl(syscalls.PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number)
    if order.no_new_privileges:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
        if order.seccomp:
            _filter(order, stage)


def _filter(order: Any, stage: Any) -> None:
    stage("install the system call filter")
    syscalls.seccomp(syscalls.SECCOMP_SET_MODE_FILTER, order.seccomp_flags, order.seccomp)


def _set_groups(groups: tuple[int, ...]) -> None:
    try:
        os.setgroups(groups)
    except PermissionError:
        # A user namespace that a plain user made alone has no others than its one.
        if groups:
            raise
