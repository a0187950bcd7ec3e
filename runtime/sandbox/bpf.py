"""Programs for the kernel's filter of system calls, put together from pieces.

Classic BPF (seccomp(2), bpf(4)): eight bytes an instruction, jumps go forward only.
"""

from __future__ import annotations

import struct
import sys
from typing import Final

LOAD, AND = 0x20, 0x54
IF_EQUAL, IF_GREATER, IF_AT_LEAST, JUMP, RETURN = 0x15, 0x25, 0x35, 0x05, 0x06
NUMBER_AT, ARCHITECTURE_AT, ARGUMENTS_AT = 0, 4, 16
MOST_INSTRUCTIONS: Final = 4096
_FARTHEST: Final = 255

ALLOW: Final = 0x7FFF0000
LOG: Final = 0x7FFC0000
TRACE: Final = 0x7FF00000
TRAP: Final = 0x00030000
ERRNO: Final = 0x00050000
KILL: Final = 0x80000000
KILL_THREAD: Final = 0x00000000
EPERM: Final = ERRNO | 1
ENOSYS: Final = ERRNO | 38

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand."""
Code = tuple[Instruction, ...]
Segments = list[tuple[int, Code]]
"""What is done from a number on, up to the next segment's."""


def assembled(sections: list[tuple[int, Code]], otherwise: int) -> bytes:
    """A program of sections, each for an AUDIT_ARCH_*; other architectures get `otherwise`."""
    code: Code = ((LOAD, 0, 0, ARCHITECTURE_AT),)
    for audit, section in sections:
        code += ((IF_EQUAL, 1, 0, audit), (JUMP, 0, 0, len(section)), *section)
    code += returned(otherwise)
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def added(segments: Segments, start: int, code: Code) -> None:
    """Have a segment from a number on, unless the one before does the same."""
    if not segments or segments[-1][1] != code:
        segments.append((start, code))


def searched(segments: Segments) -> Code:
    """Find the last segment that starts at or below the call's number, and do as it says."""
    return ((LOAD, 0, 0, NUMBER_AT), *_search(segments))


def _search(segments: Segments) -> Code:
    if len(segments) == 1:
        return segments[0][1]
    middle = len(segments) // 2
    below, above = _search(segments[:middle]), _search(segments[middle:])
    start = segments[middle][0]
    if len(below) <= _FARTHEST:
        return ((IF_AT_LEAST, len(below), 0, start), *below, *above)
    return ((IF_AT_LEAST, 0, 1, start), (JUMP, 0, 0, len(below)), *below, *above)


def returned(action: int) -> Code:
    """End with an action."""
    return ((RETURN, 0, 0, action),)


def low_half(index: int) -> Instruction:
    """Load the lower half of an argument."""
    return (LOAD, 0, 0, ARGUMENTS_AT + 8 * index + (4 if sys.byteorder == "big" else 0))


def high_half(index: int) -> Instruction:
    """Load the upper half of an argument."""
    return (LOAD, 0, 0, ARGUMENTS_AT + 8 * index + (0 if sys.byteorder == "big" else 4))
