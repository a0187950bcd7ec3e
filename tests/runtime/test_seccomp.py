"""The system call filter: run by an interpreter here, held against others' where they are there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import SandboxUnavailable
from runtime.sandbox import seccomp_policy as policy
from runtime.sandbox.bpf import ALLOW, ENOSYS, EPERM, KILL
from runtime.sandbox.capabilities import ALL_CAPABILITIES, DEFAULT_CAPABILITIES, capability_mask
from runtime.sandbox.seccomp import default_filter
from support.filters import LibSeccomp, verdict

pytestmark = pytest.mark.any_user

X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ordinary() -> bytes:
    return default_filter(machine="x86_64")


@pytest.fixture(scope="module")
def privileged() -> bytes:
    return default_filter(ALL_CAPABILITIES, machine="x86_64")


def numbers() -> dict[str, int]:
    return policy.numbers("x86_64")


def refused_names() -> list[str]:
    return [name for line in policy.REFUSED for name in line.split()]


@pytest.mark.parametrize("name", [name for name in refused_names() if name in numbers()])
def test_what_is_never_allowed(ordinary: bytes, privileged: bytes, name: str) -> None:
    assert verdict(ordinary, X86_64, numbers()[name]) == EPERM
    assert verdict(privileged, X86_64, numbers()[name]) == EPERM


@pytest.mark.parametrize(
    "name",
    [
        "mount",
        "umount2",
        "unshare",
        "setns",
        "bpf",
        "perf_event_open",
        "open_tree",
        "fsopen",
        "reboot",
    ],
)
def test_what_needs_a_capability(ordinary: bytes, privileged: bytes, name: str) -> None:
    assert verdict(ordinary, X86_64, numbers()[name]) == EPERM
    assert verdict(privileged, X86_64, numbers()[name]) == ALLOW


def test_one_of_several_capabilities_is_enough() -> None:
    for capability in ("CAP_BPF", "CAP_SYS_ADMIN"):
        program = default_filter(capability_mask(capability), machine="x86_64")
        assert verdict(program, X86_64, numbers()["bpf"]) == ALLOW


def test_what_every_program_needs(ordinary: bytes) -> None:
    # read write openat execve mmap ptrace chroot seccomp memfd_create landlock_create_ruleset
    for number in (0, 1, 257, 59, 9, 101, 161, 317, 319, 444):
        assert verdict(ordinary, X86_64, number) == ALLOW


def test_what_is_newer_than_the_policy_does_not_exist(ordinary: bytes) -> None:
    assert verdict(ordinary, X86_64, policy.NEWEST) == ALLOW
    for number in (policy.NEWEST + 1, 1000, 0x3FFFFFFF, 0x40000000, 0x40000001, -1):
        assert verdict(ordinary, X86_64, number) == ENOSYS


def test_another_architecture_is_killed(ordinary: bytes) -> None:
    assert verdict(ordinary, AARCH64, 0) == KILL


def test_families_of_sockets(ordinary: bytes) -> None:
    socket = numbers()["socket"]
    for family in (1, 2, 10, 16, 17, 37, 39, 41):
        assert verdict(ordinary, X86_64, socket, (family, 1)) == ALLOW
    for family in (38, 40):
        assert verdict(ordinary, X86_64, socket, (family, 1)) == EPERM
        # The kernel takes an int: a bit above it must not make another family of it.
        assert verdict(ordinary, X86_64, socket, (family | 1 << 32, 1)) == EPERM


def test_no_way_around_by_socketcall(ordinary: bytes) -> None:
    number = policy.numbers("i386")["socketcall"]
    assert verdict(ordinary, I386, number, (policy.SOCKETCALL_SOCKET,)) == EPERM
    assert verdict(ordinary, I386, number, (3,)) == ALLOW


def test_personalities(ordinary: bytes) -> None:
    number = numbers()["personality"]
    for persona in policy.PERSONALITIES:
        assert verdict(ordinary, X86_64, number, (persona,)) == ALLOW
    # READ_IMPLIES_EXEC, ADDR_NO_RANDOMIZE
    for persona in (0x0400000, 0x0040000, 1):
        assert verdict(ordinary, X86_64, number, (persona,)) == EPERM


def test_threads_but_no_namespaces(ordinary: bytes, privileged: bytes) -> None:
    clone = numbers()["clone"]
    assert verdict(ordinary, X86_64, clone, (0x3D0F00,)) == ALLOW
    # NEWUSER, NEWNS, NEWCGROUP, NEWNET
    for flag in (0x10000000, 0x20000, 0x2000000, 0x40000000):
        assert verdict(ordinary, X86_64, clone, (flag | 17,)) == EPERM
        assert verdict(privileged, X86_64, clone, (flag | 17,)) == ALLOW
    assert verdict(ordinary, X86_64, numbers()["clone3"]) == ENOSYS
    assert verdict(privileged, X86_64, numbers()["clone3"]) == ALLOW


def test_clone_on_s390() -> None:
    program = default_filter(machine="s390x")
    clone, audit = policy.numbers("s390x")["clone"], policy.ARCHITECTURES["s390x"][0]
    assert verdict(program, audit, clone, (0x20000, 17)) == ALLOW
    assert verdict(program, audit, clone, (0, 0x20000)) == EPERM


@pytest.mark.parametrize("machine", policy.ARCHITECTURES)
def test_every_architecture_has_the_whole_policy(machine: str) -> None:
    program = default_filter(machine=machine)
    assert len(program) % 8 == 0
    assert len(program) // 8 < 4096  # BPF_MAXINSNS
    for name in (machine, *policy.ALSO.get(machine, ())):
        audit, column = policy.ARCHITECTURES[name]
        there = policy.numbers(column)
        for call in ("mount", "bpf", "keyctl", "io_uring_setup"):
            assert verdict(program, audit, there[call]) == EPERM, (name, call)
        assert verdict(program, audit, there["clone3"]) == ENOSYS
        assert verdict(program, audit, policy.NEWEST + 1) == ENOSYS
    listed = {word for names in (*policy.REFUSED, *policy.NEEDS.values()) for word in names.split()}
    columns = {column for _, column in policy.ARCHITECTURES.values()}
    known = {call for column in columns for call in policy.numbers(column)}
    assert listed <= known


def test_arm_has_calls_of_its_own() -> None:
    program = default_filter(machine="armv7l")
    audit = policy.ARCHITECTURES["armv7l"][0]
    assert verdict(program, audit, 0xF0002) == ALLOW
    assert verdict(program, audit, 0xF0006) == ENOSYS


def test_an_unknown_machine_is_refused() -> None:
    with pytest.raises(SandboxUnavailable, match="mips"):
        default_filter(machine="mips")


HEADERS = Path("/usr/include/x86_64-linux-gnu/asm")


@pytest.mark.parametrize(("header", "column"), [("unistd_64.h", "x86_64"), ("unistd_32.h", "i386")])
def test_numbers_are_the_kernels(header: str, column: str) -> None:
    if not (HEADERS / header).exists():
        pytest.skip(f"{header} is not installed")
    rows = (line.split() for line in (HEADERS / header).read_text().splitlines())
    kernels = {
        row[1].removeprefix("__NR_"): row[2]
        for row in rows
        if len(row) == 3 and row[1].startswith("__NR_")
    }
    ours = policy.numbers(column)
    assert {name: str(number) for name, number in ours.items() if name in kernels} == {
        name: kernels[name] for name in ours if name in kernels
    }


# What Podman's profile has otherwise than Docker's: it allows namespaces, mounts and key rings
# inside containers, and does not know of some calls.
PODMANS_OWN = {
    "clone3", "fsconfig", "fsmount", "fsopen", "fspick", "get_mempolicy", "io_pgetevents",
    "keyctl", "mbind", "mount", "move_mount", "open_tree", "pivot_root", "reboot",
    "set_mempolicy", "setns", "syslog", "umount2", "unshare", "vmsplice",
}  # fmt: skip


def podman_profile() -> dict[str, Any]:
    path = Path("/usr/share/containers/seccomp.json")
    if not path.exists():
        pytest.skip("no seccomp profile of Podman's is installed")
    document = json.loads(path.read_text())
    assert isinstance(document, dict)
    return document


def test_as_libseccomp_would_have_it(ordinary: bytes) -> None:
    """The same policy, compiled by libseccomp: the same verdict for every call."""
    library = LibSeccomp()
    conditional = {"socket", "personality", "clone"}
    refused = {}
    for number in range(450):
        name = library.name(X86_64, number)
        if name is not None and name not in conditional:
            action = verdict(ordinary, X86_64, number)
            if action != ALLOW:
                refused[number] = action
    theirs = library.compiled(refused)
    assert len(refused) > 50
    for number in range(450):
        name = library.name(X86_64, number)
        if name is not None and name not in conditional:
            assert verdict(ordinary, X86_64, number) == verdict(theirs, X86_64, number), name


@pytest.mark.parametrize("architecture", [X86_64, I386, AARCH64])
def test_numbers_are_libseccomps(architecture: int) -> None:
    library = LibSeccomp()
    column = next(c for audit, c in policy.ARCHITECTURES.values() if audit == architecture)
    for name, number in policy.numbers(column).items():
        theirs = library.name(architecture, number)
        assert theirs in (name, None), number


def allowed_by(profile: dict[str, Any], has: Callable[[str], bool]) -> set[str]:
    """The calls that a profile in Docker's format allows, on x86-64, with any arguments."""
    names: set[str] = set()
    for rule in profile["syscalls"]:
        includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        applies = (
            all(has(c) for c in includes.get("caps", []))
            and not any(has(c) for c in excludes.get("caps", []))
            and ("amd64" in includes["arches"] if includes.get("arches") else True)
        )
        if applies and rule["action"] == "SCMP_ACT_ALLOW":
            names |= set(rule["names"])
    return names


def test_held_against_podmans_profile(ordinary: bytes) -> None:
    profile, library = podman_profile(), LibSeccomp()
    default = {"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SYS_CHROOT", "CAP_AUDIT_WRITE", "CAP_MKNOD"}
    allowed = allowed_by(profile, default.__contains__)
    # Calls that kernels have no more: whatever a filter says, they fail.
    gone = {
        "_sysctl", "afs_syscall", "create_module", "epoll_ctl_old", "epoll_wait_old",
        "get_kernel_syms", "getpmsg", "nfsservctl", "putpmsg", "query_module", "security",
        "tuxcall", "vserver",
    }  # fmt: skip
    different = set()
    for number in range(436):  # What libseccomp 2.5 and this profile know.
        name = library.name(X86_64, number)
        if name is None or name in gone or name in ("socket", "personality"):
            continue
        if (verdict(ordinary, X86_64, number) == ALLOW) != (name in allowed):
            different.add(name)
    assert different == PODMANS_OWN
    assert DEFAULT_CAPABILITIES & capability_mask("CAP_SYS_CHROOT")
