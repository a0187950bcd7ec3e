"""Profiles of system calls in Docker's format, compiled to what the kernel runs.

    {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "archMap": [{"architecture":
     "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
     "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0,
     "valueTwo": 0, "op": "SCMP_CMP_EQ"}], "includes": {"caps": [], "arches": [], "minKernel":
     "4.8"}, "excludes": {…}}]}

What it means is what runc and libseccomp make of it: a rule without conditions holds whatever
others say of the same call; of those with conditions, the first that fits. Several conditions on
one argument are alternatives. Arguments are compared as the 64-bit numbers they are: programs of
Docker's profiles are written for that. Calls that are newer than every one that the profile names
do not exist (ENOSYS), unless the default is to allow; nor do those of x32.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from runtime.errors import InvalidContainer
from runtime.sandbox import bpf
from runtime.sandbox.bpf import AND, IF_AT_LEAST, IF_EQUAL, IF_GREATER, Code, Instruction
from runtime.sandbox.capabilities import capability_mask
from runtime.sandbox.seccomp_policy import ARCHITECTURES

_ACTIONS: Final = {
    "SCMP_ACT_ALLOW": bpf.ALLOW,
    "SCMP_ACT_ERRNO": bpf.ERRNO,
    "SCMP_ACT_KILL": bpf.KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": bpf.KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": bpf.KILL,
    "SCMP_ACT_LOG": bpf.LOG,
    "SCMP_ACT_TRACE": bpf.TRACE,
    "SCMP_ACT_TRAP": bpf.TRAP,
}
_LETS_THROUGH: Final = (bpf.ALLOW, bpf.LOG)
_OPERATORS: Final = frozenset(
    f"SCMP_CMP_{name}" for name in ("EQ", "NE", "GT", "GE", "LT", "LE", "MASKED_EQ")
)
_NAMES: Final = {
    # Machine: what profiles call it, and Go.
    "x86_64": ("SCMP_ARCH_X86_64", "amd64"),
    "i686": ("SCMP_ARCH_X86", "386"),
    "aarch64": ("SCMP_ARCH_AARCH64", "arm64"),
    "armv7l": ("SCMP_ARCH_ARM", "arm"),
    "riscv64": ("SCMP_ARCH_RISCV64", "riscv64"),
    "ppc64le": ("SCMP_ARCH_PPC64LE", "ppc64le"),
    "s390x": ("SCMP_ARCH_S390X", "s390x"),
}
_X32: Final = 0x4000_0000
_HALF: Final = 0xFFFF_FFFF
_WHOLE: Final = 0xFFFF_FFFF_FFFF_FFFF
_EPERM: Final = 1
_ENTRIES: Final = 6
_PASS, _FAIL = -1, -2


@dataclass(frozen=True, slots=True)
class _Condition:
    index: int
    operator: str
    value: int
    second: int


@dataclass(frozen=True, slots=True)
class _Rule:
    names: tuple[str, ...]
    action: int
    conditions: tuple[_Condition, ...]


def compiled_profile(
    text: str,
    capabilities: int,
    *,
    machine: str | None = None,
    kernel: tuple[int, int] | None = None,
) -> bytes:
    """A profile's filter for a container that has these capabilities.

    `InvalidContainer` says what is wrong with it, and where.
    """
    machine = machine or os.uname().machine
    if machine not in _NAMES:
        _refuse(f"this machine's architecture, {machine}, is not known")
    document = _parsed(text)
    default = _action(document, "defaultAction", "defaultErrnoRet", "the profile")
    if flags := set(document.get("flags") or ()) - {"SECCOMP_FILTER_FLAG_SPEC_ALLOW"}:
        _refuse(f"the flag {min(flags)!r} is not supported")
    if document.get("listenerPath"):
        _refuse("listenerPath is not supported: nobody is there to be asked")
    rules = _rules(document, capabilities, machine, kernel or _running_kernel(), default)
    named = {name for each in document.get("syscalls") or () for name in _names_of(each)}
    sections = []
    for name in _architectures(document, machine):
        audit, column = ARCHITECTURES[name]
        sections.append((audit, _section(rules, named, numbers(column), default)))
    program = bpf.assembled(sections, bpf.KILL)
    if len(program) // 8 > bpf.MOST_INSTRUCTIONS:
        _refuse(f"{len(program) // 8} instructions are more than the kernel takes")
    return program


@functools.cache
def numbers(column: str) -> Mapping[str, int]:
    """The numbers of all system calls on an architecture, by name."""
    path = os.path.join(os.path.dirname(__file__), "syscall_numbers.txt")
    with open(path, encoding="ascii") as file:
        rows = [line.split() for line in file if not line.startswith("#")]
    position = rows[0].index(column)
    return {row[0]: int(row[position]) for row in rows[1:] if row[position] != "-"}


# ---- what a profile says


def _parsed(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError as error:
        _refuse(f"it is no JSON: {error}")
    if not isinstance(document, dict) or not isinstance(document.get("syscalls") or [], list):
        _refuse("it is no object with a list of syscalls")
    if document.get("architectures") and document.get("archMap"):
        _refuse("it has both architectures and archMap")
    return document


def _architectures(document: dict[str, Any], machine: str) -> list[str]:
    """The machines whose programs may run: this one first, then those the profile adds."""
    native = _NAMES[machine][0]
    wanted = list(document.get("architectures") or ())
    for each in document.get("archMap") or ():
        if isinstance(each, dict) and each.get("architecture") == native:
            wanted += each.get("subArchitectures") or ()
    known = {name: each for each, (name, _) in _NAMES.items()}
    others = [known[name] for name in wanted if name in known and known[name] != machine]
    return [machine, *dict.fromkeys(others)]


def _rules(
    document: dict[str, Any],
    capabilities: int,
    machine: str,
    kernel: tuple[int, int],
    default: int,
) -> list[_Rule]:
    rules = []
    for number, each in enumerate(document.get("syscalls") or (), 1):
        where = f"rule {number}"
        if not isinstance(each, dict):
            _refuse(f"{where} is no object")
        names = _names_of(each)
        if not names or not all(isinstance(name, str) for name in names):
            _refuse(f"{where} names no system call")
        if each.get("name") and each.get("names"):
            _refuse(f"{where} has both name and names")
        action = _action(each, "action", "errnoRet", where)
        conditions = tuple(_condition(one, where) for one in each.get("args") or ())
        if not _applies(each, capabilities, _NAMES[machine][1], kernel, where):
            continue
        if default in _LETS_THROUGH and action not in _LETS_THROUGH:
            _check_names(names, where)
        if action != default:
            rules.append(_Rule(tuple(names), action, conditions))
    return rules


def _names_of(rule: dict[str, Any]) -> list[str]:
    return rule.get("names") or ([rule["name"]] if rule.get("name") else [])


def _applies(
    rule: dict[str, Any], capabilities: int, go: str, kernel: tuple[int, int], where: str
) -> bool:
    """Whether a rule is for this container on this machine."""
    includes, excludes = (_filter(rule, name, where) for name in ("includes", "excludes"))

    def has(name: str) -> bool:
        # One that we do not know is one that nobody has.
        try:
            return bool(capabilities & capability_mask(name))
        except KeyError:
            return False

    if includes.get("arches") and go not in includes["arches"]:
        return False
    if go in (excludes.get("arches") or ()):
        return False
    if not all(has(name) for name in includes.get("caps") or ()):
        return False
    if any(has(name) for name in excludes.get("caps") or ()):
        return False
    if includes.get("minKernel") and kernel < _version(includes["minKernel"], where):
        return False
    return not (excludes.get("minKernel") and kernel >= _version(excludes["minKernel"], where))


def _filter(rule: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    found = rule.get(name) or {}
    if not isinstance(found, dict):
        _refuse(f"{where}: {name} is no object")
    if unknown := found.keys() - {"caps", "arches", "minKernel"}:
        _refuse(f"{where}: {name} by {min(unknown)!r} is not known")
    return found


def _version(text: object, where: str) -> tuple[int, int]:
    try:
        major, minor = str(text).split(".")[:2]
        return int(major), int(minor)
    except ValueError:
        _refuse(f"{where}: minKernel {text!r} is no version")


def _running_kernel() -> tuple[int, int]:
    release = os.uname().release.split("-")[0].split(".")
    return int(release[0]), int(release[1])


def _action(document: dict[str, Any], key: str, number_key: str, where: str) -> int:
    name = document.get(key)
    if name not in _ACTIONS:
        _refuse(f"{where}: {key} {name!r} is not supported")
    action = _ACTIONS[name]
    number = document.get(number_key)
    if number is not None and (not isinstance(number, int) or not 0 <= number <= 0xFFFF):
        _refuse(f"{where}: {number_key} {number!r} is no error number")
    if action == bpf.ERRNO:
        return action | (_EPERM if number is None else number)
    return action | (number or 0) if action == bpf.TRACE else action


def _condition(document: object, where: str) -> _Condition:
    if not isinstance(document, dict) or document.get("op") not in _OPERATORS:
        _refuse(f"{where}: {document!r} is no condition on an argument")
    index = document.get("index", 0)
    values = [document.get(key) or 0 for key in ("value", "valueTwo")]
    if not all(isinstance(each, int) and 0 <= each <= _WHOLE for each in (index, *values)):
        _refuse(f"{where}: {document!r} has what is no number")
    if index >= _ENTRIES:
        _refuse(f"{where}: a system call has no argument {index}")
    return _Condition(index, document["op"], *values)


def _check_names(names: list[str], where: str) -> None:
    """Of what is to be refused nothing may be passed over: it would be allowed."""
    known = {name for _, column in ARCHITECTURES.values() for name in numbers(column)}
    if unknown := set(names) - known:
        _refuse(f"{where} refuses {min(unknown)}, of which nothing is known")


def _refuse(why: str) -> NoReturn:
    raise InvalidContainer(f"cannot use the seccomp profile: {why}")


# ---- what the kernel runs


def _section(rules: list[_Rule], named: set[str], by_name: Mapping[str, int], default: int) -> Code:
    """The part for one architecture; `named` are all calls that the profile knows of."""
    of_call: dict[int, list[_Rule]] = {}
    for rule in rules:
        for name in rule.names:
            number = by_name.get(name)
            if number is not None:
                of_call.setdefault(number, []).append(rule)
    newest = max((by_name[name] for name in named if name in by_name), default=-1)
    segments: bpf.Segments = []
    following = 0
    for number in sorted(of_call):
        if number > following:
            bpf.added(segments, following, bpf.returned(default))
        bpf.added(segments, number, _decision(of_call[number], default))
        following = number + 1
    if following <= newest:
        bpf.added(segments, following, bpf.returned(default))
    lets_through = default in _LETS_THROUGH
    bpf.added(segments, newest + 1, bpf.returned(default if lets_through else bpf.ENOSYS))
    # On the others there are no such calls.
    bpf.added(segments, _X32, bpf.returned(bpf.ENOSYS))
    return bpf.searched(segments)


def _decision(rules: list[_Rule], default: int) -> Code:
    """What is done about one call."""
    for rule in rules:
        if not rule.conditions:
            return bpf.returned(rule.action)
    code: Code = ()
    for rule in rules:
        indices = [condition.index for condition in rule.conditions]
        if len(set(indices)) == len(indices):
            code += _conditional(rule.conditions, rule.action)
        else:
            for condition in rule.conditions:
                code += _conditional((condition,), rule.action)
    return code + bpf.returned(default)


def _conditional(conditions: tuple[_Condition, ...], action: int) -> Code:
    """End with the action if all hold, else go on after it."""
    parts = [_test(condition) for condition in conditions]
    total = sum(map(len, parts)) + 1
    code: list[Instruction] = []
    end = 0
    for part in parts:
        end += len(part)
        for operation, if_true, if_false, operand in part:
            at = len(code) + 1
            targets = {_PASS: end - at, _FAIL: total - at}
            code.append((operation, targets.get(if_true, 0), targets.get(if_false, 0), operand))
    return (*code, *bpf.returned(action))


def _test(condition: _Condition) -> list[Instruction]:
    """Compare an argument half by half; `_PASS` and `_FAIL` stand for where to go, 0 for on."""
    high, low = bpf.high_half(condition.index), bpf.low_half(condition.index)
    value, second = condition.value, condition.second
    upper, lower = value >> 32, value & _HALF
    hold, miss = _PASS, _FAIL
    operator = condition.operator.removeprefix("SCMP_CMP_")
    if operator == "MASKED_EQ":
        return [
            high, (AND, 0, 0, upper), (IF_EQUAL, 0, miss, second >> 32),
            low, (AND, 0, 0, lower), (IF_EQUAL, hold, miss, second & _HALF),
        ]  # fmt: skip
    if operator in ("NE", "LT", "LE"):
        hold, miss = miss, hold
    if operator in ("EQ", "NE"):
        return [high, (IF_EQUAL, 0, miss, upper), low, (IF_EQUAL, hold, miss, lower)]
    compare = IF_GREATER if operator in ("GT", "LE") else IF_AT_LEAST
    return [
        high, (IF_GREATER, hold, 0, upper), (IF_EQUAL, 0, miss, upper),
        low, (compare, hold, miss, lower),
    ]  # fmt: skip
