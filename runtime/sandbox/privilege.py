"""Getting what containers need: as root a mount namespace, else a user namespace too.

A user namespace is entered in-process: a helper that stays outside maps the user to root and
its subordinate IDs (/etc/subuid, /etc/subgid) to the rest. A user that has none, or no program to
map them, is root and nobody else: then owners are recorded (`runtime.owner_record`).

Call `acquire` early, while the process has one thread.
"""

from __future__ import annotations

import errno
import os

from runtime.errors import SandboxUnavailable
from runtime.owner_record import has_one_id
from runtime.sandbox.syscalls import (
    CLONE_NEWNS,
    CLONE_NEWUSER,
    MS_REC,
    MS_SLAVE,
    mount,
    setns,
    unshare,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Literal, NoReturn

_FEWEST_IDS: Final = 65536
_FIRST_ID: Final = 100000
_TOOLS_AT: Final = ("/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin")


class Privilege:
    """What was acquired: `root`; `user namespace` with subordinate IDs or with root's; or a
    `single id`, and then `missing` says what there are no more for."""

    __slots__ = ("kind", "missing")

    def __init__(
        self,
        kind: Literal["root", "user namespace", "single id"],
        missing: SandboxUnavailable | None = None,
    ) -> None:
        self.kind = kind
        self.missing = missing


def acquire() -> Privilege:
    """Become able to mount and to have containers; afterwards the effective user is 0.

    All mounts of this process are then its own and end with it; the host's still come in.
    `SandboxUnavailable` says what is missing where it cannot be had.
    """
    if os.geteuid() == 0:
        single = has_one_id()
        try:
            unshare(CLONE_NEWNS)
        except PermissionError:
            _enter_as_root_without_privileges()
            return Privilege("single id" if single else "user namespace")
        mount(None, "/", None, MS_SLAVE | MS_REC)
        return Privilege("single id" if single else "root")
    try:
        mapping = _Subordinate()
    except SandboxUnavailable as missing:
        _enter(_Single())
        return Privilege("single id", missing)
    _enter(mapping)
    return Privilege("user namespace")


def join(pid: int) -> None:
    """As `acquire`, but in the user namespace of a process, if that is not ours.

    Only there have containers' processes and files the owners that they have in theirs.
    `SandboxUnavailable` if that cannot be entered.
    """
    if os.stat(f"/proc/{pid}/ns/user").st_ino == os.stat("/proc/self/ns/user").st_ino:
        acquire()
        return
    fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(fd, CLONE_NEWUSER)
    except OSError as error:
        raise SandboxUnavailable(
            "the container's user namespace",
            f"the kernel refuses it ({os.strerror(error.errno or 0).lower()})",
            "be the user who started the container",
        ) from error
    finally:
        os.close(fd)
    _become_root()
    unshare(CLONE_NEWNS)
    mount(None, "/", None, MS_SLAVE | MS_REC)


def _become_root() -> None:
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    if not has_one_id():
        os.setgroups([])  # Else nobody may: what the user was refused for a group it would get.


class _Subordinate:
    """The mapping of a plain user, which only the setuid programs newuidmap and newgidmap may
    write. The constructor says what is missing for it."""

    def __init__(self) -> None:
        uid, gid = os.getuid(), os.getgid()
        name = _user_name(uid)
        self._commands = (
            (_tool("newuidmap"), uid, _ranges("/etc/subuid", name, uid)),
            (_tool("newgidmap"), gid, _ranges("/etc/subgid", name, uid)),
        )

    def write(self, pid: int) -> None:
        for tool, own, ranges in self._commands:
            arguments = [tool, str(pid), "0", str(own), "1"]
            inside = 1
            for start, count in ranges:
                arguments += [str(inside), str(start), str(count)]
                inside += count
            _run(tool, arguments)


class _Single:
    """The mapping that every user may write: itself to root, and nobody else."""

    def __init__(self) -> None:
        self._uid, self._gid = os.getuid(), os.getgid()

    def write(self, pid: int) -> None:
        _write(pid, "setgroups", "deny")
        _write(pid, "uid_map", f"0 {self._uid} 1\n")
        _write(pid, "gid_map", f"0 {self._gid} 1\n")


class _Everything:
    """The mapping of a root that may not mount: every ID it has, as itself."""

    def __init__(self) -> None:
        self._maps = tuple((kind, _mapped(kind)) for kind in ("uid_map", "gid_map"))

    def write(self, pid: int) -> None:
        for kind, ranges in self._maps:
            lines = "".join(f"{start} {start} {count}\n" for start, count in ranges)
            _write(pid, kind, lines)


def _write(pid: int, name: str, text: str) -> None:
    """Write a file of a process in /proc."""
    fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except PermissionError as error:
        raise _Failed(f"/proc/{pid}/{name}: {error.strerror}") from error
    finally:
        os.close(fd)


class _Failed(Exception):
    """The helper could not do it; its text goes to the process that waits."""


_Mapping = _Subordinate | _Single | _Everything


def _enter_as_root_without_privileges() -> None:
    try:
        _enter(_Everything())
    except SandboxUnavailable as error:
        raise SandboxUnavailable(
            "namespaces",
            f"root here has no CAP_SYS_ADMIN, and a user namespace cannot be had ({error.message})",
            "run as root outside of a container, or in one started with --privileged",
        ) from error


def _enter(mapping: _Mapping) -> None:
    """Enter a user and a mount namespace, mapped by a helper that stays outside."""
    ready_read, ready_write = os.pipe()
    answer_read, answer_write = os.pipe()
    me = os.getpid()
    helper = os.fork()
    if helper == 0:
        os.close(ready_write)
        os.close(answer_read)
        _help(mapping, me, ready_read, answer_write)
    os.close(ready_read)
    os.close(answer_write)
    try:
        try:
            unshare(CLONE_NEWUSER | CLONE_NEWNS)
        except OSError as error:
            raise _no_user_namespace(error) from error
        os.write(ready_write, b"!")
        answer = os.read(answer_read, 4096)
    finally:
        os.close(ready_write)
        os.close(answer_read)
        os.waitpid(helper, 0)
    if answer != b"!":
        raise SandboxUnavailable(
            "a user namespace",
            f"its IDs cannot be mapped: {answer.decode(errors='replace').strip() or 'no answer'}",
            "check that newuidmap and newgidmap are setuid root and that /etc/subuid and"
            " /etc/subgid give this user ranges of its own",
        )
    _become_root()
    try:
        mount(None, "/", None, MS_SLAVE | MS_REC)
    except PermissionError as error:
        raise _no_user_namespace(error) from error


def _help(mapping: _Mapping, pid: int, ready: int, answer: int) -> NoReturn:
    """The helper: waits for the namespace, writes its maps, and says `!` or why not."""
    try:
        if os.read(ready, 1):
            mapping.write(pid)
            os.write(answer, b"!")
    except _Failed as error:
        os.write(answer, str(error).encode())
    except OSError as error:
        os.write(answer, f"{error.filename or ''} {error.strerror}".encode())
    finally:
        os._exit(0)


def _run(tool: str, arguments: list[str]) -> None:
    """Run a program; `_Failed` with what it says if it fails."""
    read_fd, write_fd = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, write_fd, 1), (os.POSIX_SPAWN_DUP2, write_fd, 2)]
    try:
        pid = os.posix_spawn(tool, arguments, {}, file_actions=actions)
    finally:
        os.close(write_fd)
    said = b""
    while data := os.read(read_fd, 4096):
        said += data
    os.close(read_fd)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 0:
        text = said.decode(errors="replace").strip() or f"{tool} failed with status {status}"
        raise _Failed(text)


def _no_user_namespace(error: OSError) -> SandboxUnavailable:
    """Why the kernel refuses a user namespace, as far as its settings tell."""
    what = "a user namespace"
    for setting, refusing, remedy in (
        ("user.max_user_namespaces", 0, "as root: sysctl -w user.max_user_namespaces=65536"),
        (
            "kernel.unprivileged_userns_clone",
            0,
            "as root: sysctl -w kernel.unprivileged_userns_clone=1",
        ),
        (
            "kernel.apparmor_restrict_unprivileged_userns",
            1,
            "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ):
        if _setting(setting) == refusing:
            return SandboxUnavailable(what, f"{setting} is {refusing}", remedy)
    if error.errno == errno.EINVAL:
        return SandboxUnavailable(
            what, "this process has several threads", "call acquire() before any thread is started"
        )
    if error.errno == errno.ENOSPC:
        why = "too many of them exist, or they are nested too deeply"
        return SandboxUnavailable(what, why, "raise user.max_user_namespaces")
    return SandboxUnavailable(
        what,
        f"the kernel refuses it ({os.strerror(error.errno or 0).lower()})",
        "if this is inside a container, start that with --privileged or with"
        " --security-opt seccomp=unconfined",
    )


def _setting(name: str) -> int | None:
    try:
        with open(f"/proc/sys/{name.replace('.', '/')}", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _tool(name: str) -> str:
    for folder in (*os.environ.get("PATH", "").split(":"), *_TOOLS_AT):
        path = os.path.join(folder, name)
        if folder.startswith("/") and os.access(path, os.X_OK):
            return path
    raise SandboxUnavailable(
        "a user namespace with subordinate IDs",
        f"{name} is not installed",
        "install the package uidmap (Debian, Ubuntu) or shadow-utils (Fedora, Arch)",
    )


def _ranges(path: str, name: str, uid: int) -> tuple[tuple[int, int], ...]:
    """The subordinate IDs of a user: starts and counts (subuid(5))."""
    found = []
    for owner, start, count in _all_ranges(path):
        if owner in (name, str(uid)):
            found.append((start, count))
    if not found:
        raise SandboxUnavailable(
            "a user namespace with subordinate IDs",
            f"{path} has no line for {name}",
            f"as root: {_remedy(path, name, uid)}",
        )
    return tuple(found)


def _remedy(path: str, name: str, uid: int) -> str:
    """What gives the user its ranges, of both kinds: one remedy, not two, one after the other."""
    words, absent = ["usermod"], []
    for kind in ("subuid", "subgid"):
        file = os.path.join(os.path.dirname(path), kind)
        if not os.path.exists(file):
            absent.append(file)  # usermod does not make it.
        if not any(owner in (name, str(uid)) for owner, _, _ in _all_ranges(file)):
            words += [f"--add-{kind}s", _free_range(file)]
    make = f"touch {' '.join(absent)} && " if absent else ""
    return f"{make}{' '.join(words)} {name}"


def _free_range(path: str) -> str:
    """A range that is nobody's yet, as usermod(8) takes it."""
    first = max((start + count for _, start, count in _all_ranges(path)), default=_FIRST_ID)
    first = max(first, _FIRST_ID)
    return f"{first}-{first + _FEWEST_IDS - 1}"


def _all_ranges(path: str) -> list[tuple[str, int, int]]:
    """Whose subordinate IDs are which: starts and counts."""
    found = []
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                fields = line.strip().split(":")
                if len(fields) == 3 and fields[1].isdigit() and fields[2].isdigit():
                    found.append((fields[0], int(fields[1]), int(fields[2])))
    except FileNotFoundError:
        return []
    return [each for each in found if each[2] > 0]


def _mapped(kind: str) -> tuple[tuple[int, int], ...]:
    """The IDs that this process's user namespace has: starts and counts."""
    with open(f"/proc/self/{kind}", encoding="ascii") as file:
        rows = [line.split() for line in file]
    return tuple((int(inside), int(count)) for inside, _, count in rows)
