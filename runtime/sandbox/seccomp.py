"""The system call filter of a container: the policy, compiled to what the kernel runs.

The calls that are treated differently are found by a binary search over their numbers. Arguments
are compared by their lower half alone, because that is what the kernel uses of them: a
comparison of the whole would be got around with a bit that the kernel ignores.
"""

from __future__ import annotations

import functools
import os

from runtime.errors import SandboxUnavailable
from runtime.sandbox import seccomp_policy as policy
from runtime.sandbox.bpf import (
    ALLOW,
    AND,
    ENOSYS,
    EPERM,
    IF_EQUAL,
    KILL,
    Code,
    Segments,
    added,
    assembled,
    low_half,
    returned,
    searched,
)
from runtime.sandbox.capabilities import DEFAULT_CAPABILITIES, capability_mask


@functools.cache
def default_filter(
    capabilities: int = DEFAULT_CAPABILITIES, *, machine: str | None = None
) -> bytes:
    """Docker's default policy for a container that has these capabilities.

    `SandboxUnavailable` for a machine whose system calls are not known.
    """
    machine = machine or os.uname().machine
    if machine not in policy.ARCHITECTURES:
        raise SandboxUnavailable(
            "a system call filter",
            f"this machine's architecture, {machine}, is not known",
            "run without one: --security-opt seccomp=unconfined",
        )
    sections = []
    for name in (machine, *policy.ALSO.get(machine, ())):
        audit, column = policy.ARCHITECTURES[name]
        sections.append((audit, _section(column, capabilities)))
    return assembled(sections, KILL)


def _section(column: str, capabilities: int) -> Code:
    """The part for one architecture: load the number, search, return."""
    treated = _treatments(column, capabilities)
    segments: Segments = []
    following = 0
    for number in sorted(treated):
        if number > following:
            added(segments, following, returned(ALLOW))
        added(segments, number, treated[number])
        following = number + 1
    if following <= policy.NEWEST:
        added(segments, following, returned(ALLOW))
    added(segments, policy.NEWEST + 1, returned(ENOSYS))
    if column == "arm":
        added(segments, policy.ARM_PRIVATE.start, returned(ALLOW))
        added(segments, policy.ARM_PRIVATE.stop, returned(ENOSYS))
    return searched(segments)


def _treatments(column: str, capabilities: int) -> dict[int, Code]:
    """What is done about the calls that are not simply allowed."""
    numbers = policy.numbers(column)
    treated = {name: returned(EPERM) for line in policy.REFUSED for name in line.split()}
    for needed, names in policy.NEEDS.items():
        if not capabilities & capability_mask(*needed.split()):
            treated |= {name: returned(EPERM) for name in names.split()}
    treated["socket"] = _refuse(0, policy.REFUSED_FAMILIES)
    treated["socketcall"] = _refuse(0, (policy.SOCKETCALL_SOCKET,))
    treated["personality"] = _allow_only(0, policy.PERSONALITIES)
    if not capabilities & capability_mask("CAP_SYS_ADMIN"):
        # The flags come second on s390 (clone(2)).
        treated["clone"] = _allow_without(1 if column == "s390x" else 0, policy.NAMESPACE_FLAGS)
        # Its flags are in memory, where no filter sees them; the C libraries fall back on clone.
        treated["clone3"] = returned(ENOSYS)
    return {numbers[name]: code for name, code in treated.items() if name in numbers}


def _refuse(index: int, values: tuple[int, ...]) -> Code:
    tests = [(IF_EQUAL, len(values) - n, 0, value) for n, value in enumerate(values)]
    return (low_half(index), *tests, *returned(ALLOW), *returned(EPERM))


def _allow_only(index: int, values: tuple[int, ...]) -> Code:
    tests = [(IF_EQUAL, len(values) - n, 0, value) for n, value in enumerate(values)]
    return (low_half(index), *tests, *returned(EPERM), *returned(ALLOW))


def _allow_without(index: int, bits: int) -> Code:
    return (
        low_half(index),
        (AND, 0, 0, bits),
        (IF_EQUAL, 0, 1, 0),
        *returned(ALLOW),
        *returned(EPERM),
    )
