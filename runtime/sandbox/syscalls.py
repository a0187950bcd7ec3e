"""Linux system calls Python does not wrap.

One function per call, named as in section 2 of the manual; each raises `OSError` with the
call's errno and, where there is one, its path. Nothing else is here. Descriptors that are
returned are close-on-exec. Only `os` and the least of `ctypes` are imported: the fork server
needs this module, and starts in the time its imports take.
"""

from __future__ import annotations

import os

from runtime.sandbox import foreign as ctypes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

Path = str | bytes

AT_FDCWD: Final = -100
AT_SYMLINK_NOFOLLOW: Final = 0x100
AT_EMPTY_PATH: Final = 0x1000
AT_RECURSIVE: Final = 0x8000

CLONE_NEWNS: Final = 0x0002_0000
CLONE_PARENT: Final = 0x8000
CLONE_PIDFD: Final = 0x1000
CLONE_NEWCGROUP: Final = 0x0200_0000
CLONE_NEWUTS: Final = 0x0400_0000
CLONE_NEWIPC: Final = 0x0800_0000
CLONE_NEWUSER: Final = 0x1000_0000
CLONE_NEWPID: Final = 0x2000_0000
CLONE_NEWNET: Final = 0x4000_0000

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 1 << 18
MS_SLAVE: Final = 1 << 19
MNT_DETACH: Final = 2

MOUNT_ATTR_RDONLY: Final = 1
MOUNT_ATTR_NOSUID: Final = 2
MOUNT_ATTR_NODEV: Final = 4
MOUNT_ATTR_NOEXEC: Final = 8
MOUNT_ATTR_IDMAP: Final = 0x0010_0000
MOUNT_ATTR_NOATIME: Final = 0x10
MOUNT_ATTR_STRICTATIME: Final = 0x20
MOUNT_ATTR_NODIRATIME: Final = 0x80

OPEN_TREE_CLONE: Final = 1
OPEN_TREE_CLOEXEC: Final = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH: Final = 0x4
MOVE_MOUNT_T_EMPTY_PATH: Final = 0x40
FSOPEN_CLOEXEC: Final = 1
FSMOUNT_CLOEXEC: Final = 1
FSCONFIG_SET_FLAG: Final = 0
FSCONFIG_SET_STRING: Final = 1
FSCONFIG_CMD_CREATE: Final = 6

RESOLVE_NO_XDEV: Final = 1
RESOLVE_NO_MAGICLINKS: Final = 2
RESOLVE_NO_SYMLINKS: Final = 4
RESOLVE_BENEATH: Final = 8
RESOLVE_IN_ROOT: Final = 16

PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_CAPBSET_DROP: Final = 24
PR_SET_NO_NEW_PRIVS: Final = 38
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4

SECCOMP_SET_MODE_FILTER: Final = 1
SECCOMP_FILTER_FLAG_SPEC_ALLOW: Final = 4
SECCOMP_FILTER_FLAG_NEW_LISTENER: Final = 8
CLOSE_RANGE_CLOEXEC: Final = 4

# Numbers from 424 on are the same on every architecture.
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 428, 429, 430, 431, 432
_CLONE3, _CLOSE_RANGE, _OPENAT2, _MOUNT_SETATTR = 435, 436, 437, 442
_PIVOT_ROOT, _SECCOMP = {
    "x86_64": (155, 317),
    "i686": (217, 354),
    "aarch64": (41, 277),
    "armv7l": (218, 383),
    "riscv64": (41, 277),
    "ppc64le": (203, 358),
    "s390x": (217, 348),
}.get(os.uname().machine, (41, 277))

_NEWFSTATAT, _STATX, _STAT_SIZE = {
    "x86_64": (262, 332, 144),
    "ppc64le": (291, 383, 144),
    "s390x": (293, 379, 144),
}.get(os.uname().machine, (79, 291, 128))


def _check(result: Any, function: Any, arguments: tuple[Any, ...]) -> Any:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


_libc: Final = ctypes.CDLL(None, use_errno=True)


def _prototype(name: str, *argtypes: Any) -> Any:
    function = getattr(_libc, name)
    function.argtypes, function.restype, function.errcheck = argtypes, ctypes.c_int, _check
    return function


_int, _ulong, _text = ctypes.c_int, ctypes.c_ulong, ctypes.c_char_p
_mount: Final = _prototype("mount", _text, _text, _text, _ulong, _text)
_umount2: Final = _prototype("umount2", _text, _int)
_unshare: Final = _prototype("unshare", _int)
_setns: Final = _prototype("setns", _int, _int)
_prctl: Final = _prototype("prctl", _int, _ulong, _ulong, _ulong, _ulong)
_setdomainname: Final = _prototype("setdomainname", _text, ctypes.c_size_t)
_sethostname: Final = _prototype("sethostname", _text, ctypes.c_size_t)
_capget: Final = _prototype("capget", ctypes.c_void_p, ctypes.c_void_p)
_capset: Final = _prototype("capset", ctypes.c_void_p, ctypes.c_void_p)
_prlimit: Final = _prototype("prlimit", _int, _int, ctypes.c_void_p, ctypes.c_void_p)

_syscall: Final = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.errcheck = _check
_long: Final = ctypes.c_long


def _bytes(path: Path | None) -> bytes | None:
    return os.fsencode(path) if path is not None else None


def _naming(error: OSError, path: Path | None) -> OSError:
    """The same error, with its path."""
    return OSError(error.errno, error.strerror, path) if path else error


def syscall(number: int, *arguments: Any) -> int:
    """Any system call; integers are passed as long."""
    given = (_long(each) if isinstance(each, int) else each for each in arguments)
    return int(_syscall(_long(number), *given))


# ---- processes and namespaces


class _CloneArguments(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            "flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size",
            "tls", "set_tid", "set_tid_size", "cgroup",
        )
    )  # fmt: skip


_CLONE_INTO_CGROUP: Final = 0x2_0000_0000

# PyDLL keeps the GIL: between the hooks below no other thread may run.
_with_gil: Final = ctypes.PyDLL(None, use_errno=True)
_syscall_with_gil: Final = _with_gil.syscall
_syscall_with_gil.restype = ctypes.c_long


def _hook(name: str) -> Any:
    function = getattr(_with_gil, name)
    function.restype = None
    return function


_before_fork: Final = _hook("PyOS_BeforeFork")
_after_fork_parent: Final = _hook("PyOS_AfterFork_Parent")
_after_fork_child: Final = _hook("PyOS_AfterFork_Child")


def clone3(flags: int, exit_signal: int, *, cgroup_fd: int = -1) -> tuple[int, int]:
    """Fork with these flags: (pid, pidfd) in the parent, (0, -1) in the child.

    With `cgroup_fd` the child begins in that cgroup of version 2.
    The C library does not know of the child: it must soon execute something.
    """
    pidfd = ctypes.c_int(-1)
    arguments = _CloneArguments(
        flags=flags | CLONE_PIDFD, pidfd=ctypes.addressof(pidfd), exit_signal=exit_signal
    )
    if cgroup_fd >= 0:
        arguments.flags |= _CLONE_INTO_CGROUP
        arguments.cgroup = cgroup_fd
    _before_fork()
    result = _syscall_with_gil(
        _long(_CLONE3), ctypes.byref(arguments), _long(ctypes.sizeof(arguments))
    )
    if result == 0:
        _after_fork_child()
        return 0, -1
    number = ctypes.get_errno()
    _after_fork_parent()
    if result < 0:
        raise OSError(number, os.strerror(number))
    return result, pidfd.value


def unshare(flags: int) -> None:
    _unshare(flags)


def setns(fd: int, kind: int) -> None:
    _setns(fd, kind)


def sethostname(name: bytes) -> None:
    _sethostname(name, len(name))


def setdomainname(name: bytes) -> None:
    _setdomainname(name, len(name))


def prctl(option: int, argument2: int = 0, argument3: int = 0) -> int:
    return int(_prctl(option, argument2, argument3, 0, 0))


def prlimit(resource: int, limits: tuple[int, int] | None) -> tuple[int, int]:
    """Set this process's limits, if given; the limits it had. -1 is no limit."""
    old = (ctypes.c_uint64 * 2)()
    new = None
    if limits is not None:
        new = (ctypes.c_uint64 * 2)(*(limit & 0xFFFF_FFFF_FFFF_FFFF for limit in limits))
    _prlimit(0, resource, new, old)
    soft, hard = (-1 if limit == 0xFFFF_FFFF_FFFF_FFFF else limit for limit in old)
    return soft, hard


_CAPABILITY_VERSION_3: Final = 0x2008_0522


def capget() -> tuple[int, int, int]:
    """This thread's capabilities: effective, permitted, inheritable, as masks."""
    words = (ctypes.c_uint32 * 6)()
    _capget((ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0), words)
    effective, permitted, inheritable = (words[n] | words[n + 3] << 32 for n in range(3))
    return effective, permitted, inheritable


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set this thread's capabilities, as masks."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (effective, permitted, inheritable)
    words = [mask & 0xFFFF_FFFF for mask in sets] + [mask >> 32 for mask in sets]
    _capset(header, (ctypes.c_uint32 * 6)(*words))


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def seccomp(operation: int, flags: int, program: bytes) -> None:
    """Install a filter: instructions of classic BPF, eight bytes each."""
    argument = _FilterProgram(len(program) // 8, program)
    _syscall(_long(_SECCOMP), _long(operation), _long(flags), ctypes.byref(argument))


def seccomp_listener(program: bytes) -> int:
    """Install a filter whose calls wait for who has the descriptor."""
    argument = _FilterProgram(len(program) // 8, program)
    flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_SPEC_ALLOW
    return int(
        _syscall(
            _long(_SECCOMP), _long(SECCOMP_SET_MODE_FILTER), _long(flags), ctypes.byref(argument)
        )
    )


def close_range(first: int, last: int, flags: int) -> None:
    _syscall(_long(_CLOSE_RANGE), ctypes.c_uint(first), ctypes.c_uint(last), _long(flags))


# ---- files


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def openat2(dir_fd: int, path: Path, flags: int, *, mode: int = 0, resolve: int = 0) -> int:
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    try:
        return int(
            _syscall(
                _long(_OPENAT2),
                _long(dir_fd),
                ctypes.c_char_p(_bytes(path)),
                ctypes.byref(how),
                _long(ctypes.sizeof(how)),
            )
        )
    except OSError as error:
        raise _naming(error, path) from None


STATX_UID_AT: Final = 20
"""Where in a `struct statx` uid and gid are, 32 bits each."""
_STATX_SIZE: Final = 256


def fstat(fd: int) -> bytearray:
    """`struct stat` as this machine's newfstatat(2) has it; the descriptor may be O_PATH."""
    status = (ctypes.c_uint32 * (_STAT_SIZE // 4))()
    _syscall(
        _long(_NEWFSTATAT), _long(fd), ctypes.c_char_p(b""), ctypes.byref(status),
        _long(AT_EMPTY_PATH),
    )  # fmt: skip
    return bytearray(status)


def statx(fd: int, flags: int, mask: int) -> bytearray:
    """`struct statx` of a descriptor; `flags` with AT_EMPTY_PATH."""
    status = (ctypes.c_uint32 * (_STATX_SIZE // 4))()
    _syscall(
        _long(_STATX), _long(fd), ctypes.c_char_p(b""), _long(flags), ctypes.c_uint(mask),
        ctypes.byref(status),
    )  # fmt: skip
    return bytearray(status)


# ---- mounts


def mount(
    source: Path | None,
    target: Path,
    filesystem: str | None = None,
    flags: int = 0,
    data: Path | None = None,
) -> None:
    kind = filesystem.encode() if filesystem is not None else None
    try:
        _mount(_bytes(source), _bytes(target), kind, flags, _bytes(data))
    except OSError as error:
        raise _naming(error, target) from None


def umount2(target: Path, flags: int = 0) -> None:
    try:
        _umount2(_bytes(target), flags)
    except OSError as error:
        raise _naming(error, target) from None


def pivot_root(new_root: Path, put_old: Path) -> None:
    _syscall(
        _long(_PIVOT_ROOT), ctypes.c_char_p(_bytes(new_root)), ctypes.c_char_p(_bytes(put_old))
    )


def open_tree(dir_fd: int, path: Path, flags: int) -> int:
    try:
        return int(
            _syscall(
                _long(_OPEN_TREE),
                _long(dir_fd),
                ctypes.c_char_p(_bytes(path)),
                _long(flags | OPEN_TREE_CLOEXEC),
            )
        )
    except OSError as error:
        raise _naming(error, path) from None


def move_mount(from_fd: int, from_path: Path, to_fd: int, to_path: Path, flags: int) -> None:
    _syscall(
        _long(_MOVE_MOUNT),
        _long(from_fd),
        ctypes.c_char_p(_bytes(from_path)),
        _long(to_fd),
        ctypes.c_char_p(_bytes(to_path)),
        _long(flags),
    )


def fsopen(filesystem: str) -> int:
    return int(
        _syscall(_long(_FSOPEN), ctypes.c_char_p(filesystem.encode()), _long(FSOPEN_CLOEXEC))
    )


def fsconfig(fd: int, command: int, key: str | None = None, value: Path | None = None) -> None:
    _syscall(
        _long(_FSCONFIG),
        _long(fd),
        _long(command),
        ctypes.c_char_p(_bytes(key)),
        ctypes.c_char_p(_bytes(value)),
        _long(0),
    )


def fsmount(fd: int, attributes: int) -> int:
    return int(_syscall(_long(_FSMOUNT), _long(fd), _long(FSMOUNT_CLOEXEC), _long(attributes)))


class _MountAttributes(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")
    )


def mount_setattr(
    dir_fd: int,
    path: Path,
    flags: int,
    *,
    attr_set: int = 0,
    attr_clr: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
) -> None:
    attributes = _MountAttributes(attr_set, attr_clr, propagation, userns_fd)
    try:
        _syscall(
            _long(_MOUNT_SETATTR),
            _long(dir_fd),
            ctypes.c_char_p(_bytes(path)),
            _long(flags),
            ctypes.byref(attributes),
            _long(ctypes.sizeof(attributes)),
        )
    except OSError as error:
        raise _naming(error, path) from None
