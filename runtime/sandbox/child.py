"""The code that runs in a container's first process, up to its command.

It begins as a copy of the fork server, in namespaces of its own and with the host's files
around it. After the pivot the files are an image's: nothing is imported from then on, and
nothing is looked up but through the calls of this package.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import select
import stat
import sys

from runtime.errors import UserNotFound
from runtime.sandbox import syscalls
from runtime.sandbox.command import Unexecutable, execute
from runtime.sandbox.mounts import open_in_root
from runtime.sandbox.root import Root
from runtime.sandbox.wire import encode_failure
from runtime.user import find_user, with_groups

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from typing import NoReturn

    from runtime.sandbox.single_id import SingleId
    from runtime.sandbox.wire import Order
    from runtime.user import Ids
else:
    import _signal

_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x41
_LARGEST_FILE = 8 << 20
_LAST_SIGNAL = 64


class Child:
    """One container on its way to its command. `stage` says what is being done."""

    makes_directory = True
    """Whether a working directory that is missing is made."""

    def __init__(self, order: Order, error_fd: int, last_capability: int) -> None:
        self._order = order
        self._error_fd = error_fd
        self._last_capability = last_capability
        self._stage = "start"
        self._single: SingleId | None = None
        if order.supervisor >= 0:
            # Each of these only where it is needed: this is before the process is cloned.
            from runtime.sandbox.single_id import SingleId

            self._single = SingleId(order.supervisor)
        if order.init:
            import runtime.sandbox.reaper
        if order.terminal:
            import runtime.sandbox.terminal  # noqa: F401

    def run(self) -> NoReturn:
        """Become the command, or say why not and end."""
        try:
            self._set_up()
            if self._order.init:
                self._set_stage("start the command under an init")
                from runtime.sandbox.reaper import fork_command  # imported already

                fork_command(terminal=self._order.terminal)
            self._set_stage("exec")
            execute(self._order.argv, self._environment)
        except Unexecutable as error:
            self._report(error.errno or 0, error.strerror or "")
        except UserNotFound as error:
            self._report(0, error.message)
        except OSError as error:
            self._report(error.errno or 0, _text(error))
        except BaseException as error:
            self._report(0, f"{type(error).__name__}: {error}")
        finally:
            os._exit(127)

    def _set_up(self) -> None:
        order = self._order
        if order.new_session:
            os.setsid()
        os.umask(order.umask)
        root_fd = self._enter_root()
        self._set_stage("set resource limits")
        _set_limits(order.rlimits)
        if order.oom_score_adj is not None:
            self._set_stage(f"set oom_score_adj to {order.oom_score_adj}")
            _set_oom_score(root_fd, order.oom_score_adj)
        self._set_stage("find the user")
        passwd, group = _read(root_fd, b"/etc/passwd"), _read(root_fd, b"/etc/group")
        ids = with_groups(find_user(passwd, group, order.user), group, order.groups)
        self._environment = _environment(order, ids)
        self._set_stage(f"enter the working directory {os.fsdecode(order.cwd)}")
        makes = ids if self.makes_directory else None
        give = os.fchown if self._single is None else self._single.record_owner
        enter_directory(root_fd, order.cwd, makes, give)
        if order.terminal:
            self._set_stage("make a terminal")
            from runtime.sandbox.terminal import take_terminal  # imported already

            console = not order.enter
            owner = ids.uid if self._single is None else 0
            take_terminal(root_fd, self._error_fd, order.terminal_size, owner, console=console)
        self._set_stage("give up privileges")
        self._give_up_privileges(ids)
        self._set_stage("reset signals")
        reset_signals()
        if order.die_with_parent:
            # After the last change of credentials, which would undo it.
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, _signal.SIGKILL)
            self._check_parent()
        syscalls.close_range(3, 0xFFFF_FFFF, syscalls.CLOSE_RANGE_CLOEXEC)

    def _enter_root(self) -> int:
        """Make the container's root and be in it; a descriptor of it."""
        order = self._order
        if order.user_namespace is None:
            enter_surroundings(order, self._set_stage)
        root = Root(order, self._set_stage)
        root.make()
        root_fd = root.enter()
        forbid_imports()
        root.attach(root_fd)
        if order.namespaces["uts"][0] == "new":
            self._set_stage("set the host name")
            syscalls.sethostname(order.hostname)
            if order.domainname:
                syscalls.setdomainname(order.domainname)
        if order.network == "none":
            self._set_stage("bring up the loopback interface")
            bring_up_loopback()
        return root_fd

    def _give_up_privileges(self, ids: Ids) -> None:
        order = self._order
        if self._single is not None:
            self._give_up_as_single_id(ids, self._single)
            return
        if order.seccomp is not None and not order.no_new_privileges:
            # Needs CAP_SYS_ADMIN, so before it is gone.
            self._filter(order.seccomp)
        self._set_stage("give up privileges")
        kept = self._bound_capabilities()
        os.setgroups(ids.groups)
        os.setresgid(ids.gid, ids.gid, ids.gid)
        os.setresuid(ids.uid, ids.uid, ids.uid)
        if ids.uid == 0:
            syscalls.capset(kept, kept, 0)
        else:
            syscalls.capset(0, 0, 0)
        if order.no_new_privileges:
            syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
            if order.seccomp is not None:
                self._filter(order.seccomp)

    def _give_up_as_single_id(self, ids: Ids, single: SingleId) -> None:
        """The same, where there is but one ID: others are that one under another number."""
        order = self._order
        if ids.uid != 0:
            self._set_stage("become the user")
            syscalls.unshare(syscalls.CLONE_NEWUSER)
        if order.seccomp is not None:
            self._filter(order.seccomp)
        self._set_stage("give up privileges")
        if ids.uid != 0:
            # Filtered by now: meanwhile a process of the container could take this one over.
            single.map_to(ids.uid, ids.gid)
        kept = self._bound_capabilities()
        if ids.uid == 0:
            self._set_stage("install the filter of what one ID cannot do")
            single.emulate(kept)
            syscalls.capset(kept, kept, 0)
        else:
            syscalls.capset(0, 0, 0)
        if order.no_new_privileges:
            syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)

    def _bound_capabilities(self) -> int:
        """Limit what can be had to what the container is to have; gives that.

        No more than there is to give: a surrounding container may have taken some away.
        """
        _, permitted, _ = syscalls.capget()
        kept = self._order.capabilities & permitted
        for number in range(self._last_capability + 1):
            if not kept >> number & 1:
                syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)
        return kept

    def _filter(self, program: bytes) -> None:
        self._set_stage("install the system call filter")
        # Docker's: what a filter costs everywhere is not worth what the mitigation gives.
        flags = syscalls.SECCOMP_FILTER_FLAG_SPEC_ALLOW
        syscalls.seccomp(syscalls.SECCOMP_SET_MODE_FILTER, flags, program)

    def _check_parent(self) -> None:
        """End if whoever wants this container is gone already.

        Its process ID says nothing in a new namespace; but it holds the pipe's other end.
        """
        poll = select.poll()
        poll.register(self._error_fd, 0)
        if poll.poll(0):
            os._exit(127)

    def _set_stage(self, stage: str) -> None:
        self._stage = stage

    def _report(self, number: int, text: str) -> None:
        os.write(self._error_fd, encode_failure(self._stage, number, text))


def forbid_imports() -> None:
    """From now on an import would run an image's code with our privileges."""
    sys.path.clear()
    sys.meta_path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()


def bring_up_loopback() -> None:
    """Bring up the loopback interface of this process's network namespace."""
    socket = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM, 0)
    request = b"lo".ljust(16, b"\0") + _IFF_UP_RUNNING.to_bytes(2, sys.byteorder) + bytes(22)
    fcntl.ioctl(socket.fileno(), _SIOCSIFFLAGS, request)
    socket.close()


def enter_surroundings(order: Order, stage: Callable[[str], None]) -> None:
    """Enter the network and the cgroups that have been made for a container."""
    if order.network == "joined":
        stage("join the network")
        # Before /sys is made, which shows the network of who makes it.
        syscalls.setns(order.network_fd, syscalls.CLONE_NEWNET)
    if order.cgroups or order.unified_cgroup is not None:
        stage("enter its cgroups")
        _enter_cgroups(order)


def _enter_cgroups(order: Order) -> None:
    """Be in the cgroups of version 1, and have what is above all of ours hidden."""
    for _, folder in order.cgroups:
        # As a thread, which is what there is: to move a process the kernel locks out all forks.
        fd = os.open(folder + b"/tasks", os.O_WRONLY)
        os.write(fd, b"0")
        os.close(fd)
    if order.namespaces["cgroup"][0] == "new":
        syscalls.unshare(syscalls.CLONE_NEWCGROUP)


def _set_oom_score(root_fd: int, score: int) -> None:
    fd = open_in_root(root_fd, b"/proc/self/oom_score_adj", os.O_WRONLY)
    try:
        os.write(fd, b"%d" % score)
    finally:
        os.close(fd)


def _set_limits(limits: tuple[tuple[int, int, int], ...]) -> None:
    """Set limits, as far as this process may raise them."""
    for resource, soft, hard in limits:
        try:
            syscalls.prlimit(resource, (soft, hard))
        except PermissionError:
            _, most = syscalls.prlimit(resource, None)
            if most != -1:
                hard = most if hard == -1 else min(hard, most)
                soft = hard if soft == -1 else min(soft, hard)
            syscalls.prlimit(resource, (soft, hard))


def _environment(order: Order, ids: Ids) -> dict[bytes, bytes]:
    env = dict(order.env)
    if not env.get(b"HOME"):
        env[b"HOME"] = ids.home.encode("utf-8", "surrogateescape")
    return env


def _read(root_fd: int, path: bytes) -> bytes:
    """A regular file's content; empty if there is none, cut where it is absurdly long."""
    try:
        fd = open_in_root(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return b""
    content = b""
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            while len(content) < _LARGEST_FILE and (data := os.read(fd, 1 << 16)):
                content += data
    finally:
        os.close(fd)
    return content


def enter_directory(
    root_fd: int,
    path: bytes,
    ids: Ids | None,
    give: Callable[[int, int, int], None] = os.fchown,
) -> None:
    """Go there; with `ids` made if it is missing, owned by them, its missing parents by root.

    Resolved inside the root and never through a magic link of /proc (CVE-2024-21626).
    """
    flags = os.O_PATH | os.O_DIRECTORY
    try:
        fd = open_in_root(root_fd, path, flags)
    except FileNotFoundError:
        if ids is None:
            raise
        fd = _make_directory(root_fd, path, ids, give)
    os.fchdir(fd)
    os.close(fd)
    if not os.getcwdb().startswith(b"/"):
        raise OSError(errno.EPERM, "is outside of the container's root", path)


def _make_directory(
    root_fd: int, path: bytes, ids: Ids, give: Callable[[int, int, int], None]
) -> int:
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    fd = os.dup(root_fd)
    for number in range(len(parts)):
        # From the root each time: a link or `..` in the middle means what it means there.
        so_far = b"/" + b"/".join(parts[: number + 1])
        try:
            below = open_in_root(root_fd, so_far, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            os.mkdir(parts[number], dir_fd=fd)
            below = os.open(parts[number], os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            os.fchmod(below, 0o755)
            if number == len(parts) - 1:
                give(below, ids.uid, ids.gid)
        os.close(fd)
        fd = below
    return fd


def reset_signals() -> None:
    """As after a reboot: nothing ignored (Python ignores SIGPIPE), nothing blocked."""
    for number in range(1, _LAST_SIGNAL + 1):
        try:
            _signal.signal(number, _signal.SIG_DFL)
        except (OSError, ValueError):
            continue  # SIGKILL, SIGSTOP and those of the C library's own
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def _text(error: OSError) -> str:
    text = (error.strerror or "unknown error").lower()
    path = error.filename
    if path is None:
        return text
    return f"{os.fsdecode(path) if isinstance(path, bytes) else path}: {text}"
