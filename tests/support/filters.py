"""Judges of system call filters: an interpreter of what the kernel runs, and libseccomp."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

import pytest

from runtime.sandbox.bpf import ALLOW
from support import probes


def verdict(program: bytes, architecture: int, number: int, arguments: Iterable[int] = ()) -> int:
    """What the kernel would do: an interpreter of classic BPF (seccomp(2), bpf(4))."""
    words = [argument & 0xFFFF_FFFF_FFFF_FFFF for argument in arguments]
    words += [0] * (6 - len(words))
    data = struct.pack("=iIQ6Q", number, architecture, 0, *words)
    counter = accumulator = 0
    while True:
        code, if_true, if_false, operand = struct.unpack_from("=HBBI", program, counter * 8)
        counter += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, operand)
            case 0x54:
                accumulator &= operand
            case 0x15:
                counter += if_true if accumulator == operand else if_false
            case 0x25:
                counter += if_true if accumulator > operand else if_false
            case 0x35:
                counter += if_true if accumulator >= operand else if_false
            case 0x45:
                counter += if_true if accumulator & operand else if_false
            case 0x05:
                counter += operand
            case 0x06:
                assert isinstance(operand, int)
                return operand
            case _:
                pytest.fail(f"instruction {code:#x}")


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("index", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


class LibSeccomp:
    """libseccomp, as far as it is needed here."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
        except OSError:
            probes.unmet("libseccomp.so.2 is not installed")
        library = self._library
        library.seccomp_init.restype = ctypes.c_void_p
        library.seccomp_init.argtypes = [ctypes.c_uint32]
        library.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
        library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
        library.seccomp_release.argtypes = [ctypes.c_void_p]
        library.seccomp_syscall_resolve_num_arch.restype = ctypes.c_char_p
        library.seccomp_rule_add_array.argtypes = [
            ctypes.c_void_p,
            ctypes.c_uint32,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_void_p,
        ]

    def name(self, architecture: int, number: int) -> str | None:
        found = self._library.seccomp_syscall_resolve_num_arch(
            ctypes.c_uint32(architecture), number
        )
        return found.decode() if found else None

    def number(self, architecture: int, name: str) -> int:
        """The number of a call; negative if there is none."""
        return int(
            self._library.seccomp_syscall_resolve_name_arch(
                ctypes.c_uint32(architecture), name.encode()
            )
        )

    def compiled_rules(
        self, default: int, rules: list[tuple[str, int, list[tuple[int, int, int, int]]]]
    ) -> bytes:
        """A filter for x86-64 and i386 of rules: a name, an action, and conditions on arguments
        (index, `enum scmp_compare`, two values)."""
        library = self._library
        context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(default)))
        fd = os.memfd_create("filter")
        try:
            assert library.seccomp_arch_add(context, 0x40000003) == 0
            for name, action, conditions in rules:
                number = library.seccomp_syscall_resolve_name(name.encode())
                if number == -1:  # __NR_SCMP_ERROR: it knows none of that name.
                    continue
                array = (_Comparison * max(1, len(conditions)))(
                    *(_Comparison(*one) for one in conditions)
                )
                added = library.seccomp_rule_add_array(
                    context, ctypes.c_uint32(action), number, len(conditions), array
                )
                assert added == 0, (name, added)
            assert library.seccomp_export_bpf(context, fd) == 0
            return os.pread(fd, 1 << 20, 0)
        finally:
            library.seccomp_release(context)
            os.close(fd)

    def compiled(self, refused: dict[int, int]) -> bytes:
        """A filter for x86-64 that refuses calls by number, and allows all else."""
        context = self._library.seccomp_init(ALLOW)
        try:
            for number, action in refused.items():
                added = self._library.seccomp_rule_add(
                    ctypes.c_void_p(context), ctypes.c_uint32(action), number, 0
                )
                assert added == 0, number
            fd = os.memfd_create("filter")
            assert self._library.seccomp_export_bpf(context, fd) == 0
            return os.pread(fd, 1 << 20, 0)
        finally:
            self._library.seccomp_release(context)
            os.close(fd)
