"""Which system calls root's programs make that a user with one id cannot, as a filter.

Files cannot be given away and devices cannot be made: those calls wait for the supervisor
(`runtime.sandbox.supervisor`), which records what was wanted; so do those that ask for a file's
owner in order to copy it. There is no other user to become:
those calls do nothing and succeed, as charliecloud's and podman's rootless modes found that
package managers need it. What the container has no capability for fails as ever.
Only what is cheap is imported.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_LOAD, _AND, _IF_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
ALLOW: Final = 0x7FFF0000
ASK: Final = 0x7FC00000
SUCCEED: Final = 0x00050000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16

# AUDIT_ARCH_* of linux/audit.h, and the column in the table.
_X86_64, _I386 = (0xC000003E, 1), (0x40000003, 2)
_AARCH64, _ARM = (0xC00000B7, 3), (0x40000028, 4)
_ARCHITECTURES: Final = {
    "x86_64": (_X86_64, _I386),
    "i686": (_I386,),
    "aarch64": (_AARCH64, _ARM),
    "armv7l": (_ARM,),
    "riscv64": ((0xC00000F3, 3),),
    "ppc64le": ((0xC0000015, 5),),
    "s390x": ((0x80000016, 6),),
}
_ASKED: Final = """
chown        92  212    -  212  181  212
fchown       93  207   55  207   95  207
lchown       94  198    -  198   16  198
fchownat    260  298   54  325  289  291
mknod       133   14    -   14   14   14
mknodat     259  297   33  324  288  290
fstat         5    -   80    -  108  108
lstat         6    -    -    -  107  107
newfstatat  262    -   79    -  291  293
statx       332    -  291    -  383  379
"""
OWNER_AT: Final = 24 if os.uname().machine in ("aarch64", "riscv64") else 28
"""Where in this machine's `struct stat` uid and gid are, 32 bits each."""
_FLAGS_ARGUMENT: Final = {"newfstatat": 3, "statx": 2}
_OF_A_COPY: Final = 0x1100
"""AT_SYMLINK_NOFOLLOW and AT_EMPTY_PATH: what a program asks with that copies a file, or shows it.
Without them it asks whether something is there, a hundred times as often as anything else, or
whether it is its own, and then it should be told so."""
_SUCCEEDING: Final = """
setuid      105  213  146  213   23  213
setgid      106  214  144  214   46  214
setreuid    113  203  145  203   70  203
setregid    114  204  143  204   71  204
setresuid   117  208  147  208  164  208
setresgid   119  210  149  210  169  210
setfsuid    122  215  151  215  138  215
setfsgid    123  216  152  216  139  216
setgroups   116  206  159  206   81  206
"""
_NEEDS: Final = {
    "chown": 1 << 0, "fchown": 1 << 0, "lchown": 1 << 0, "fchownat": 1 << 0,
    "mknod": 1 << 27, "mknodat": 1 << 27,
    "setuid": 1 << 7, "setreuid": 1 << 7, "setresuid": 1 << 7, "setfsuid": 1 << 7,
    "setgid": 1 << 6, "setregid": 1 << 6, "setresgid": 1 << 6, "setfsgid": 1 << 6,
    "setgroups": 1 << 6,
}  # fmt: skip
"""CAP_CHOWN, CAP_MKNOD, CAP_SETUID, CAP_SETGID: what lets root make a call, if it takes one."""
_MODE_ARGUMENT: Final = {"mknod": 1, "mknodat": 2}
_KIND, _CHARACTER, _BLOCK = 0o170000, 0o020000, 0o060000

_Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand."""


def asked_calls() -> dict[tuple[int, int], str]:
    """The calls that wait for an answer: their names, by architecture (AUDIT_ARCH_*) and number."""
    calls = {}
    for audit, column in _ARCHITECTURES.get(os.uname().machine, ()):
        for name, number in _numbers(_ASKED, column):
            calls[audit, number] = name
    return calls


def emulation_filter(capabilities: int, machine: str | None = None) -> bytes:
    """The filter, as seccomp(2) takes it, for a process with these capabilities; on this machine,
    unless another is named."""
    code: list[_Instruction] = [(_LOAD, 0, 0, _ARCHITECTURE_AT)]
    for audit, column in _ARCHITECTURES.get(machine or os.uname().machine, ()):
        section = _section(column, capabilities)
        code += [(_IF_EQUAL, 0, len(section), audit), *section]
    code.append((_RETURN, 0, 0, ALLOW))
    return b"".join(
        operation.to_bytes(2, sys.byteorder)
        + bytes((if_true, if_false))
        + operand.to_bytes(4, sys.byteorder)
        for operation, if_true, if_false, operand in code
    )


def _section(column: int, capabilities: int) -> list[_Instruction]:
    """The part for one architecture. Its jumps are short: it has fewer than 255 instructions."""
    code: list[_Instruction] = [(_LOAD, 0, 0, _NUMBER_AT)]
    for name, number in _numbers(_SUCCEEDING, column):
        if not _is_allowed(name, capabilities):
            continue
        code += [(_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, SUCCEED)]
    for name, number in _numbers(_ASKED, column):
        if not _is_allowed(name, capabilities):
            continue
        half = 4 if sys.byteorder == "big" else 0
        if name in _FLAGS_ARGUMENT:
            code += [
                (_IF_EQUAL, 0, 5, number),
                (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * _FLAGS_ARGUMENT[name] + half),
                (_AND, 0, 0, _OF_A_COPY),
                (_IF_EQUAL, 1, 0, 0),
                (_RETURN, 0, 0, ASK),
                (_RETURN, 0, 0, ALLOW),
            ]
            continue
        if name not in _MODE_ARGUMENT:
            code += [(_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, ASK)]
            continue
        mode_at = _ARGUMENTS_AT + 8 * _MODE_ARGUMENT[name] + half
        code += [
            (_IF_EQUAL, 0, 6, number),
            (_LOAD, 0, 0, mode_at),
            (_AND, 0, 0, _KIND),
            (_IF_EQUAL, 1, 0, _CHARACTER),
            (_IF_EQUAL, 0, 1, _BLOCK),
            (_RETURN, 0, 0, ASK),
            (_RETURN, 0, 0, ALLOW),
        ]
    return [*code, (_RETURN, 0, 0, ALLOW)]


def _is_allowed(name: str, capabilities: int) -> bool:
    """Whether root could make the call, with these capabilities."""
    needed = _NEEDS.get(name)
    return needed is None or bool(capabilities & needed)


def _numbers(table: str, column: int) -> list[tuple[str, int]]:
    rows = [line.split() for line in table.splitlines() if line]
    return [(row[0], int(row[column])) for row in rows if row[column] != "-"]
