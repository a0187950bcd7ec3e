"""The default policy for system calls in the form that OCI's runtimes read. Pure.

It says the same as `runtime.sandbox.seccomp`, but for what the form cannot say:

- A personality that is refused gives ENOSYS, not EPERM: there is one answer for all that no rule
  allows, and it must be ENOSYS for calls that are newer than the policy.
- Programs of the machine's other architecture (i386) are killed. Their socket(2) may be
  socketcall(2), whose arguments no filter sees: libseccomp would allow every family.
- No flags: runc 1.1 refuses to start with any.
"""

from __future__ import annotations

import os
from typing import Any, Final

from runtime.errors import SandboxUnavailable
from runtime.sandbox import seccomp_policy as policy
from runtime.sandbox.capabilities import capability_mask
from runtime.sandbox.seccomp_profile import numbers

_EPERM: Final = 1
_ENOSYS: Final = 38
_ARM_PRIVATE: Final = ("breakpoint", "cacheflush", "set_tls")
_ARCHITECTURES: Final = {
    "x86_64": "SCMP_ARCH_X86_64",
    "i686": "SCMP_ARCH_X86",
    "aarch64": "SCMP_ARCH_AARCH64",
    "armv7l": "SCMP_ARCH_ARM",
    "riscv64": "SCMP_ARCH_RISCV64",
    "ppc64le": "SCMP_ARCH_PPC64LE",
    "s390x": "SCMP_ARCH_S390X",
}
_LARGEST: Final = (1 << 32) - 1

_Rule = dict[str, Any]


def default_profile(capabilities: int, *, machine: str | None = None) -> dict[str, Any]:
    """Docker's default policy for a container with these capabilities: `linux.seccomp`.

    `SandboxUnavailable` for a machine whose system calls are not known.
    """
    machine = machine or os.uname().machine
    if machine not in _ARCHITECTURES:
        raise SandboxUnavailable(
            "a system call filter",
            f"this machine's architecture, {machine}, is not known",
            "run without one: --security-opt seccomp=unconfined",
        )
    refused = {name for line in policy.REFUSED for name in line.split()}
    for needed, names in policy.NEEDS.items():
        if not capabilities & capability_mask(*needed.split()):
            refused |= set(names.split())
    rules: list[_Rule] = []
    conditional = {"socket", "socketcall", "personality"}
    may_make_namespaces = bool(capabilities & capability_mask("CAP_SYS_ADMIN"))
    if not may_make_namespaces:
        conditional |= {"clone", "clone3"}
        rules += _clone_rules(second=machine == "s390x")
    allowed = _known(machine) - refused - conditional
    if machine == "armv7l":
        allowed |= set(_ARM_PRIVATE)
    rules += _socket_rules()
    rules += [_allow("personality", [_is(0, value)]) for value in policy.PERSONALITIES]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _ENOSYS,
        "architectures": [_ARCHITECTURES[machine]],
        "syscalls": [
            {"names": sorted(allowed), "action": "SCMP_ACT_ALLOW"},
            {"names": sorted(refused), "action": "SCMP_ACT_ERRNO", "errnoRet": _EPERM},
            *rules,
        ],
    }


def _known(machine: str) -> set[str]:
    """The calls that somebody has thought about."""
    _, column = policy.ARCHITECTURES[machine]
    return {name for name, number in numbers(column).items() if number <= policy.NEWEST}


def _socket_rules() -> list[_Rule]:
    """Every family but the refused ones, as ranges between them."""
    rules: list[_Rule] = []
    following = 0
    for family in sorted(policy.REFUSED_FAMILIES):
        rules.append(_refuse("socket", [_is(0, family)]))
        if family == following + 1:
            rules.append(_allow("socket", [_is(0, following)]))
        elif following == 0:
            rules.append(_allow("socket", [_compared(0, "SCMP_CMP_LT", family)]))
        following = family + 1
    rules.append(_allow("socket", [_compared(0, "SCMP_CMP_GT", following - 1)]))
    return rules


def _clone_rules(*, second: bool) -> list[_Rule]:
    """No namespaces; where their flags are in memory, the call does not exist."""
    index = 1 if second else 0
    flags = policy.NAMESPACE_FLAGS
    rules = [_allow("clone", [_masked(index, flags, 0)])]
    for bit in range(flags.bit_length()):
        if flags >> bit & 1:
            rules.append(_refuse("clone", [_masked(index, 1 << bit, 1 << bit)]))
    rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS})
    return rules


def _allow(name: str, conditions: list[_Rule]) -> _Rule:
    return {"names": [name], "action": "SCMP_ACT_ALLOW", "args": conditions}


def _refuse(name: str, conditions: list[_Rule]) -> _Rule:
    return {"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": _EPERM, "args": conditions}


def _is(index: int, value: int) -> _Rule:
    return _compared(index, "SCMP_CMP_EQ", value)


def _compared(index: int, operator: str, value: int) -> _Rule:
    return {"index": index, "value": value & _LARGEST, "op": operator}


def _masked(index: int, mask: int, value: int) -> _Rule:
    return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
