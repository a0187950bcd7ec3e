"""Rules for devices: as lines of version 1, and as the program that version 2 asks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from runtime.cgroups.devices import DEFAULT_RULES, Rule, lines_v1, program
from runtime.cgroups.groups import Groups
from runtime.cgroups.layout import Layout, find_layout, owns_hierarchies
from support import probes

BITS = {"m": 1, "r": 2, "w": 4}
KINDS = {"b": 1, "c": 2}


def allowed(rules: tuple[Rule, ...], kind: str, major: int, minor: int, access: str) -> bool:
    """What rules mean: one of them allows all of it."""
    return any(
        rule_kind in ("a", kind)
        and rule_major in (-1, major)
        and rule_minor in (-1, minor)
        and set(access) <= set(rule_access)
        for rule_kind, rule_major, rule_minor, rule_access in rules
    )


def run(code: bytes, kind: str, major: int, minor: int, access: str) -> int:
    """Do what the kernel does with a program, as far as ours go; a jump may only go forward."""
    context = (sum(BITS[letter] for letter in access) << 16 | KINDS[kind], major, minor)
    registers: dict[int, int] = {}
    at = 0
    while True:
        operation, both = code[at], code[at + 1]
        register, source = both & 15, both >> 4
        offset = int.from_bytes(code[at + 2 : at + 4], "little", signed=True)
        value = int.from_bytes(code[at + 4 : at + 8], "little")
        at += 8
        if operation == 0x61:
            registers[register] = context[offset // 4]
        elif operation == 0x54:
            registers[register] &= value
        elif operation == 0x74:
            registers[register] >>= value
        elif operation == 0xBC:
            registers[register] = registers[source]
        elif operation == 0xB7:
            registers[register] = value
        elif operation in (0x55, 0x5D):
            assert offset > 0
            other = value if operation == 0x55 else registers[source]
            at += 8 * offset if registers[register] != other else 0
        else:
            assert operation == 0x95
            return registers[0]


RULES: tuple[tuple[Rule, ...], ...] = (
    (),
    DEFAULT_RULES,
    (("a", -1, -1, "rwm"),),
    (("b", 8, -1, "r"), ("b", 8, 1, "w"), ("c", -1, 3, "rw"), ("a", 7, 7, "m")),
)


@pytest.mark.parametrize("rules", RULES)
def test_the_program_allows_what_the_rules_allow(rules: tuple[Rule, ...]) -> None:
    code = program(rules)
    accesses = ("r", "w", "m", "rw", "rm", "wm", "rwm")
    for kind, major, minor, access in product("bc", (1, 5, 7, 8, 136), (0, 1, 3, 7), accesses):
        expected = allowed(rules, kind, major, minor, access)
        assert run(code, kind, major, minor, access) == expected, (kind, major, minor, access)


def test_lines_of_version_1() -> None:
    rules = (("c", -1, -1, "m"), ("b", 8, -1, "r"), ("c", 10, 200, "rwm"))
    assert lines_v1(rules) == ("c *:* m", "b 8:* r", "c 10:200 rwm")


@pytest.fixture(params=["v1", "v2"])
def groups(request: pytest.FixtureRequest) -> Iterator[Groups]:
    """A group whose devices are limited by either version."""
    found = find_layout()
    if not owns_hierarchies():
        probes.unmet("only root limits devices")
    if request.param == "v1":
        if "devices" not in found.v1:
            probes.unmet("no controller of version 1 for devices")
        layout = Layout(v1={"devices": found.v1["devices"]}, unified="", own={})
    else:
        if not found.unified:
            probes.unmet("no cgroup version 2")
        layout = Layout(v1={}, unified=found.unified, own={})
    made = Groups(layout, f"/lamina-test-{os.urandom(6).hex()}")
    made.make()
    yield made
    made.remove()


TRY = """
import os, sys
folder, place = sys.argv[1:]
open(f"{folder}/cgroup.procs", "w").write("0")
for name, number in (("null", (1, 3)), ("kmsg", (1, 11)), ("zero", (1, 5))):
    path = f"{place}/{name}"
    os.mknod(path, 0o20666, os.makedev(*number))
    for flags in (os.O_RDONLY, os.O_WRONLY | os.O_NONBLOCK):
        try:
            os.close(os.open(path, flags))
            print(name, flags & 1, "open")
        except PermissionError:
            print(name, flags & 1, "refused")
"""


@pytest.mark.root
def test_the_kernel_refuses_other_devices(groups: Groups, tmp_path: Path) -> None:
    rules: tuple[Rule, ...] = (("c", -1, -1, "m"), ("c", 1, 3, "rw"), ("c", 1, 5, "r"))
    assert groups.limit_devices(rules)
    (folder,) = groups.directories
    told = subprocess.run(
        [sys.executable, "-I", "-S", "-c", TRY, folder, tmp_path],
        capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    assert told.stdout.splitlines() == [
        "null 0 open", "null 1 open", "kmsg 0 refused", "kmsg 1 refused", "zero 0 open",
        "zero 1 refused",
    ]  # fmt: skip
