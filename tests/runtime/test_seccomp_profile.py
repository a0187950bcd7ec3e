"""Profiles in Docker's format: run by an interpreter here, and held against libseccomp."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import InvalidContainer
from runtime.sandbox import seccomp_policy as policy
from runtime.sandbox.bpf import ALLOW, ENOSYS, EPERM, ERRNO, KILL, KILL_THREAD, LOG, TRACE, TRAP
from runtime.sandbox.capabilities import (
    ALL_CAPABILITIES,
    DEFAULT_CAPABILITIES,
    capability_mask,
    capability_names,
)
from runtime.sandbox.seccomp_profile import compiled_profile, numbers
from support import probes
from support.filters import LibSeccomp, verdict

pytestmark = pytest.mark.any_user

X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
READ, MOUNT, PERSONALITY = 0, 165, 135


def compiled(*rules: dict[str, Any], capabilities: int = 0, **fields: Any) -> bytes:
    document = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(rules), **fields}
    return compiled_profile(json.dumps(document), capabilities, machine="x86_64", kernel=(6, 1))


def rule(names: str, action: str = "ALLOW", **fields: Any) -> dict[str, Any]:
    return {"names": names.split(), "action": f"SCMP_ACT_{action}", **fields}


def argument(operation: str, value: int, second: int = 0, index: int = 0) -> dict[str, Any]:
    return {"index": index, "op": f"SCMP_CMP_{operation}", "value": value, "valueTwo": second}


OPERATORS: dict[str, Callable[[int, int], bool]] = {
    "EQ": operator.eq,
    "NE": operator.ne,
    "GT": operator.gt,
    "GE": operator.ge,
    "LT": operator.lt,
    "LE": operator.le,
}
WORDS = (0, 1, 5, 0xFFFFFFFF, 1 << 32, (1 << 32) + 5, 7 << 32, (1 << 64) - 1)


@pytest.mark.parametrize("name", OPERATORS)
def test_comparisons_are_of_all_64_bits(name: str) -> None:
    for value in WORDS:
        program = compiled(rule("read", args=[argument(name, value)]))
        for given in {*WORDS, value - 1, value + 1}:
            given &= (1 << 64) - 1
            expected = ALLOW if OPERATORS[name](given, value) else EPERM
            assert verdict(program, X86_64, READ, (given,)) == expected, (given, value)


def test_masked_comparisons() -> None:
    mask, value = (1 << 40) | 0xF0, (1 << 40) | 0x20
    program = compiled(rule("read", args=[argument("MASKED_EQ", mask, value, index=3)]))
    for given in (value, value | 0xF, 0x20, 1 << 40, value | 0x10, 0):
        expected = ALLOW if given & mask == value else EPERM
        assert verdict(program, X86_64, READ, (0, 0, 0, given)) == expected


def test_conditions_on_several_arguments_must_all_hold() -> None:
    both = [argument("EQ", 1), argument("GT", 7, index=5)]
    program = compiled(rule("read", args=both))
    assert verdict(program, X86_64, READ, (1, 0, 0, 0, 0, 8)) == ALLOW
    assert verdict(program, X86_64, READ, (1, 0, 0, 0, 0, 7)) == EPERM
    assert verdict(program, X86_64, READ, (2, 0, 0, 0, 0, 8)) == EPERM


def test_conditions_on_one_argument_are_alternatives() -> None:
    program = compiled(rule("read", args=[argument("EQ", 1), argument("EQ", 3)]))
    results = [verdict(program, X86_64, READ, (n,)) for n in range(5)]
    assert results == [EPERM, ALLOW, EPERM, ALLOW, EPERM]


def test_the_first_rule_that_fits_and_one_without_conditions_before_all() -> None:
    some = rule("read", "KILL", args=[argument("LT", 10)])
    more = rule("read", args=[argument("LT", 20)])
    program = compiled(some, more)
    assert verdict(program, X86_64, READ, (5,)) == KILL_THREAD
    assert verdict(program, X86_64, READ, (15,)) == ALLOW
    assert verdict(program, X86_64, READ, (25,)) == EPERM
    program = compiled(some, more, rule("read", "LOG"))
    assert verdict(program, X86_64, READ, (5,)) == LOG


@pytest.mark.parametrize(
    ("action", "result"),
    [
        ("ALLOW", ALLOW),
        ("ERRNO", EPERM),
        ("KILL", KILL_THREAD),
        ("KILL_THREAD", KILL_THREAD),
        ("KILL_PROCESS", KILL),
        ("LOG", LOG),
        ("TRACE", TRACE),
        ("TRAP", TRAP),
    ],
)
def test_actions(action: str, result: int) -> None:
    assert verdict(compiled(rule("read", action)), X86_64, READ) == result
    default = compiled(rule("write mount"), defaultAction=f"SCMP_ACT_{action}")
    assert verdict(default, X86_64, READ) == result


def test_error_numbers() -> None:
    program = compiled(
        rule("read", "ERRNO", errnoRet=22), rule("mount", "TRACE", errnoRet=3), defaultErrnoRet=38
    )
    assert verdict(program, X86_64, READ) == ERRNO | 22
    assert verdict(program, X86_64, MOUNT) == TRACE | 3
    assert verdict(program, X86_64, 1) == ENOSYS


def test_what_is_newer_than_the_profile_does_not_exist() -> None:
    program = compiled(rule("read mount"))
    assert verdict(program, X86_64, MOUNT - 1) == EPERM
    assert verdict(program, X86_64, MOUNT + 1) == ENOSYS
    # Where all is allowed that is not refused it exists; but what x32 calls it does not.
    program = compiled(rule("mount", "ERRNO"), defaultAction="SCMP_ACT_ALLOW")
    assert verdict(program, X86_64, 9999) == ALLOW
    assert verdict(program, X86_64, MOUNT) == EPERM
    assert verdict(program, X86_64, MOUNT | 0x40000000) == ENOSYS


def test_for_whom_a_rule_is() -> None:
    for which, given, holds in (
        ({"includes": {"caps": ["CAP_SYS_ADMIN"]}}, 0, False),
        ({"includes": {"caps": ["CAP_SYS_ADMIN"]}}, capability_mask("SYS_ADMIN"), True),
        ({"includes": {"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]}}, capability_mask("BPF"), False),
        ({"includes": {"caps": ["CAP_FROM_THE_FUTURE"]}}, ALL_CAPABILITIES, False),
        ({"excludes": {"caps": ["CAP_SYS_ADMIN"]}}, 0, True),
        ({"excludes": {"caps": ["CAP_BPF", "CAP_KILL"]}}, capability_mask("KILL"), False),
        ({"includes": {"arches": ["amd64", "x32"]}}, 0, True),
        ({"includes": {"arches": ["arm64"]}}, 0, False),
        ({"excludes": {"arches": ["amd64"]}}, 0, False),
        ({"includes": {"minKernel": "4.8"}}, 0, True),
        ({"includes": {"minKernel": "6.10"}}, 0, False),
        ({"excludes": {"minKernel": "4.8"}}, 0, False),
    ):
        program = compiled(rule("read", **which), capabilities=given)
        assert (verdict(program, X86_64, READ) == ALLOW) == holds, (which, given)


def test_architectures() -> None:
    mapped = [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}
    ]
    program = compiled(rule("read"), archMap=mapped)
    assert verdict(program, I386, 3) == ALLOW
    assert verdict(program, I386, READ) == EPERM
    assert verdict(program, AARCH64, 63) == KILL
    assert verdict(compiled(rule("read")), I386, 3) == KILL
    listed = compiled(rule("read"), architectures=["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"])
    assert verdict(listed, I386, 3) == ALLOW


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "it is no JSON"),
        ("[]", "no object"),
        ('{"defaultAction": "SCMP_ACT_NOTIFY"}', "'SCMP_ACT_NOTIFY' is not supported"),
        ("{}", "defaultAction None"),
        ('{"defaultAction": "SCMP_ACT_KILL", "listenerPath": "/x"}', "listenerPath"),
        ('{"defaultAction": "SCMP_ACT_KILL", "flags": ["SECCOMP_FILTER_FLAG_LOG"]}', "FLAG_LOG"),
    ],
)
def test_profiles_that_are_none(text: str, said: str) -> None:
    with pytest.raises(InvalidContainer, match=said):
        compiled_profile(text, 0, machine="x86_64")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"action": "SCMP_ACT_ALLOW"}, "rule 1 names no system call"),
        (rule("read", "NOTIFY"), "rule 1: action 'SCMP_ACT_NOTIFY'"),
        (rule("read", args=[argument("OR", 1)]), "rule 1: .* is no condition"),
        (rule("read", args=[argument("EQ", 1, index=6)]), "no argument 6"),
        (rule("read", args=[argument("EQ", -1)]), "no number"),
        (rule("read", "ERRNO", errnoRet=70000), "errnoRet 70000"),
        (rule("read", includes={"minKernel": "new"}), "minKernel 'new'"),
        (rule("read", includes={"distribution": ["x"]}), "includes by 'distribution'"),
    ],
)
def test_rules_that_are_none(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidContainer, match=said):
        compiled(wrong)


def test_a_call_that_is_to_be_refused_must_be_known() -> None:
    """What is passed over in a list of refusals would be allowed."""
    assert compiled(rule("read frobnicate"))
    with pytest.raises(InvalidContainer, match="rule 1 refuses frobnicate"):
        compiled(rule("mount frobnicate", "ERRNO"), defaultAction="SCMP_ACT_ALLOW")


@pytest.mark.parametrize("architecture", [X86_64, I386, AARCH64])
def test_all_numbers_are_libseccomps(architecture: int) -> None:
    library = LibSeccomp()
    column = next(c for audit, c in policy.ARCHITECTURES.values() if audit == architecture)
    ours = numbers(column)
    compared = 0
    for name, number in ours.items():
        theirs = library.name(architecture, number)
        assert theirs in (name, None), number
        compared += theirs is not None
    assert compared > 300


COMPARISONS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
"""In the order of libseccomp's `enum scmp_compare`, from 1."""


def of_libseccomp(document: dict[str, Any], capabilities: int) -> bytes:
    """What libseccomp makes of a profile on x86-64, its rules given to it as runc does."""
    errors = {"SCMP_ACT_ALLOW": ALLOW, "SCMP_ACT_ERRNO": ERRNO}
    default = errors[document["defaultAction"]] | document.get("defaultErrnoRet", 1)
    rules = []
    for each in document["syscalls"]:
        includes, excludes = each.get("includes") or {}, each.get("excludes") or {}
        held = set(capability_names(capabilities))
        if includes.get("arches") and "amd64" not in includes["arches"]:
            continue
        if not held.issuperset(includes.get("caps", ())) or held & set(excludes.get("caps", ())):
            continue
        action = errors[each["action"]]
        if action == ERRNO:
            action |= each.get("errnoRet", 1)
        if action == default:
            continue
        conditions = [
            (a["index"], COMPARISONS.index(a["op"][9:]) + 1, a["value"], a.get("valueTwo", 0))
            for a in each.get("args") or ()
        ]
        rules += [(name, action, conditions) for name in each["names"]]
    return LibSeccomp().compiled_rules(default, rules)


@pytest.mark.parametrize("capabilities", [DEFAULT_CAPABILITIES, ALL_CAPABILITIES, 0])
def test_podmans_profile_means_what_libseccomp_makes_of_it(capabilities: int) -> None:
    path = Path("/usr/share/containers/seccomp.json")
    if not path.exists():
        probes.unmet("no seccomp profile of Podman's is installed")
    document = json.loads(path.read_text())
    ours = compiled_profile(path.read_text(), capabilities, machine="x86_64")
    theirs = of_libseccomp(document, capabilities)
    assert len(ours) < len(theirs)
    some = [(0,), (8,), (0x20000,), (0xFFFFFFFF,), (16, 3, 9), (16, 3, 0), (2, 1, 9)]
    library = LibSeccomp()
    allowed = 0
    for architecture in (X86_64, I386):
        for number in range(450):
            if library.name(architecture, number) is None:
                continue
            # The words of i386 have no upper halves.
            for words in [*some, (1 << 32 | 16, 0, 9)] if architecture == X86_64 else some:
                result = verdict(ours, architecture, number, words)
                assert result == verdict(theirs, architecture, number, words), (number, words)
                allowed += result == ALLOW
    assert allowed > 3000
