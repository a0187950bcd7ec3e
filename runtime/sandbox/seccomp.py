"""The system call filter of a container: the policy, compiled to what the kernel runs.

Classic BPF (seccomp(2)): eight bytes an instruction, jumps go forward only. The calls that are
treated differently are found by a binary search over their numbers. Arguments are compared by
their lower half alone, because that is what the kernel uses of them: a comparison of the whole
would be got around with a bit that the kernel ignores.
"""

from __future__ import annotations

import functools
import os
import struct
import sys
from typing import Final

from runtime.errors import SandboxUnavailable
from runtime.sandbox import seccomp_policy as policy
from runtime.sandbox.capabilities import DEFAULT_CAPABILITIES, capability_mask

ALLOW: Final = 0x7FFF0000
KILL: Final = 0x80000000
EPERM: Final = 0x00050000 | 1
ENOSYS: Final = 0x00050000 | 38

_LOAD, _AND = 0x20, 0x54
_IF_EQUAL, _IF_GREATER, _IF_AT_LEAST, _JUMP, _RETURN = 0x15, 0x25, 0x35, 0x05, 0x06
_X32_BIT: Final = 0x40000000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_FARTHEST: Final = 255

_Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand."""
_Code = tuple[_Instruction, ...]


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
    code: _Code = ((_LOAD, 0, 0, _ARCHITECTURE_AT),)
    for name in (machine, *policy.ALSO.get(machine, ())):
        audit, column = policy.ARCHITECTURES[name]
        section = _section(column, capabilities)
        code += ((_IF_EQUAL, 1, 0, audit), (_JUMP, 0, 0, len(section)), *section)
    code += _return(KILL)
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _section(column: str, capabilities: int) -> _Code:
    """The part for one architecture: load the number, search, return."""
    treated = _treatments(column, capabilities)
    segments: list[tuple[int, _Code]] = []
    following = 0
    for number in sorted(treated):
        if number > following:
            _add(segments, following, _return(ALLOW))
        _add(segments, number, treated[number])
        following = number + 1
    if following <= policy.NEWEST:
        _add(segments, following, _return(ALLOW))
    _add(segments, policy.NEWEST + 1, _return(ENOSYS))
    if column == "arm":
        _add(segments, policy.ARM_PRIVATE.start, _return(ALLOW))
        _add(segments, policy.ARM_PRIVATE.stop, _return(ENOSYS))
    return ((_LOAD, 0, 0, _NUMBER_AT), *_search(segments))


def _treatments(column: str, capabilities: int) -> dict[int, _Code]:
    """What is done about the calls that are not simply allowed."""
    numbers = policy.numbers(column)
    treated = {name: _return(EPERM) for line in policy.REFUSED for name in line.split()}
    for needed, names in policy.NEEDS.items():
        if not capabilities & capability_mask(*needed.split()):
            treated |= {name: _return(EPERM) for name in names.split()}
    treated["socket"] = _refuse(0, policy.REFUSED_FAMILIES)
    treated["socketcall"] = _refuse(0, (policy.SOCKETCALL_SOCKET,))
    treated["personality"] = _allow_only(0, policy.PERSONALITIES)
    if not capabilities & capability_mask("CAP_SYS_ADMIN"):
        # The flags come second on s390 (clone(2)).
        treated["clone"] = _allow_without(1 if column == "s390x" else 0, policy.NAMESPACE_FLAGS)
        # Its flags are in memory, where no filter sees them; the C libraries fall back on clone.
        treated["clone3"] = _return(ENOSYS)
    return {numbers[name]: code for name, code in treated.items() if name in numbers}


def _add(segments: list[tuple[int, _Code]], start: int, code: _Code) -> None:
    if not segments or segments[-1][1] != code:
        segments.append((start, code))


def _search(segments: list[tuple[int, _Code]]) -> _Code:
    """Find the last segment that starts at or below the number, and do as it says."""
    if len(segments) == 1:
        return segments[0][1]
    middle = len(segments) // 2
    below, above = _search(segments[:middle]), _search(segments[middle:])
    start = segments[middle][0]
    if len(below) <= _FARTHEST:
        return ((_IF_AT_LEAST, len(below), 0, start), *below, *above)
    return ((_IF_AT_LEAST, 0, 1, start), (_JUMP, 0, 0, len(below)), *below, *above)


def _return(action: int) -> _Code:
    return ((_RETURN, 0, 0, action),)


def _argument(index: int) -> _Instruction:
    """Load the lower half of an argument."""
    half = 4 if sys.byteorder == "big" else 0
    return (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * index + half)


def _refuse(index: int, values: tuple[int, ...]) -> _Code:
    tests = [(_IF_EQUAL, len(values) - n, 0, value) for n, value in enumerate(values)]
    return (_argument(index), *tests, *_return(ALLOW), *_return(EPERM))


def _allow_only(index: int, values: tuple[int, ...]) -> _Code:
    tests = [(_IF_EQUAL, len(values) - n, 0, value) for n, value in enumerate(values)]
    return (_argument(index), *tests, *_return(EPERM), *_return(ALLOW))


def _allow_without(index: int, bits: int) -> _Code:
    return (
        _argument(index),
        (_AND, 0, 0, bits),
        (_IF_EQUAL, 0, 1, 0),
        *_return(ALLOW),
        *_return(EPERM),
    )
