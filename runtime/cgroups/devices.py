"""Which devices a container may use: rules, and how the kernel is told of them.

Version 1 has a controller that takes them as lines. In version 2 a program decides, which the
kernel asks each time a device file is opened or made; it is put together here.
"""

from __future__ import annotations

import os

from runtime.sandbox import foreign as ctypes
from runtime.sandbox.syscalls import syscall

# Kind ("a" all, "b" block, "c" character), major and minor number (-1 is any), and what is
# allowed of `rwm`: to read, to write, to make.
Rule = tuple[str, int, int, str]

DEFAULT_RULES: tuple[Rule, ...] = (
    ("c", -1, -1, "m"),
    ("b", -1, -1, "m"),
    ("c", 1, 3, "rwm"),  # null
    ("c", 1, 5, "rwm"),  # zero
    ("c", 1, 7, "rwm"),  # full
    ("c", 1, 8, "rwm"),  # random
    ("c", 1, 9, "rwm"),  # urandom
    ("c", 5, 0, "rwm"),  # tty
    ("c", 5, 1, "rwm"),  # console
    ("c", 5, 2, "rwm"),  # ptmx
    ("c", 136, -1, "rwm"),  # pts
)
"""Docker's: a container may make any device file, and open these."""

_BPF = {
    "x86_64": 321, "aarch64": 280, "armv7l": 386, "i686": 357, "riscv64": 280, "ppc64le": 361,
    "s390x": 351,
}.get(os.uname().machine, 280)  # fmt: skip
_PROG_LOAD, _PROG_ATTACH = 5, 8
_TYPE_CGROUP_DEVICE, _CGROUP_DEVICE, _ALLOW_MULTI = 15, 6, 2
_KINDS = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}
_ALL_ACCESS = 7


def lines_v1(rules: tuple[Rule, ...]) -> tuple[str, ...]:
    """What is written to `devices.allow`, a line at a time, after everything was denied."""
    return tuple(
        f"{kind} {_any(major)}:{_any(minor)} {access}" for kind, major, minor, access in rules
    )


def _any(number: int) -> str:
    return "*" if number < 0 else str(number)


def program(rules: tuple[Rule, ...]) -> bytes:
    """The program that allows what one of the rules allows (bpf-helpers(7), `bpf_cgroup_dev_ctx`).

    It is given what is to be done (kind in the lower half of a word, access in the upper), the
    major and the minor number, and gives 1 or 0.
    """
    code = bytearray()
    code += _load(2, 0) + _instruction(0x54, 2, value=0xFFFF)  # r2: kind
    code += _load(3, 0) + _instruction(0x74, 3, value=16)  # r3: access
    code += _load(4, 4) + _load(5, 8)  # r4, r5: major, minor
    for rule in rules:
        code += _rule(rule)
    return bytes(code + _answer(0))


def _rule(rule: Rule) -> bytes:
    """Answer 1 if a rule allows it; else go on behind."""
    kind, major, minor, access = rule
    # Each test: instructions before it, and the jump that is taken where it fails.
    tests: list[tuple[bytes, tuple[int, int, int, int]]] = []
    if kind != "a":
        tests.append((b"", (0x55, 2, 0, _KINDS[kind])))
    allowed = sum(_ACCESS[letter] for letter in set(access))
    if allowed != _ALL_ACCESS:
        only = _instruction(0xBC, 1, source=3) + _instruction(0x54, 1, value=allowed)
        tests.append((only, (0x5D, 1, 3, 0)))
    for register, number in ((4, major), (5, minor)):
        if number >= 0:
            tests.append((b"", (0x55, register, 0, number)))
    end = _answer(1)
    code = b""
    for before, (operation, register, source, value) in reversed(tests):
        distance = (len(code) + len(end)) // 8
        jump = _instruction(operation, register, source=source, offset=distance, value=value)
        code = before + jump + code
    return code + end


def _load(register: int, offset: int) -> bytes:
    """Load a word of what the program is given, which register 1 points to."""
    return _instruction(0x61, register, source=1, offset=offset)


def _answer(number: int) -> bytes:
    return _instruction(0xB7, 0, value=number) + _instruction(0x95, 0)


def _instruction(
    operation: int, register: int, *, source: int = 0, offset: int = 0, value: int = 0
) -> bytes:
    fields = bytes((operation, register | source << 4))
    return fields + offset.to_bytes(2, "little") + value.to_bytes(4, "little")


class _ProgLoad(ctypes.Structure):
    _fields_ = (
        ("prog_type", ctypes.c_uint32), ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_char_p), ("license", ctypes.c_char_p),
        ("log_level", ctypes.c_uint32), ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64), ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
    )  # fmt: skip


class _ProgAttach(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint32)
        for name in ("target_fd", "attach_bpf_fd", "attach_type", "attach_flags")
    )


def attach_program(folder: str, code: bytes) -> None:
    """Have a program decide for a group of version 2 and all below it; `OSError`."""
    load = _ProgLoad(
        prog_type=_TYPE_CGROUP_DEVICE,
        insn_cnt=len(code) // 8,
        insns=code,
        license=b"Apache-2.0",
    )
    group = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = syscall(_BPF, _PROG_LOAD, ctypes.byref(load), ctypes.sizeof(load))
        try:
            attach = _ProgAttach(group, fd, _CGROUP_DEVICE, _ALLOW_MULTI)
            syscall(_BPF, _PROG_ATTACH, ctypes.byref(attach), ctypes.sizeof(attach))
        finally:
            # The group holds it as long as it is there.
            os.close(fd)
    finally:
        os.close(group)
