"""A sandbox's description as an OCI config: the rules, without any container."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runtime.cgroups.limits import Limits
from runtime.errors import InvalidContainer, SandboxUnavailable
from runtime.oci.config import IdRange, Surroundings, oci_config
from runtime.oci.resources import resources
from runtime.oci.seccomp_profile import default_profile
from runtime.sandbox import seccomp_policy
from runtime.sandbox.capabilities import DEFAULT_CAPABILITIES, capability_mask
from runtime.sandbox.seccomp import default_filter
from runtime.sandbox.seccomp_profile import compiled_profile
from runtime.sandbox.seccomp_profile import numbers as all_numbers
from runtime.sandbox.spec import BindMount, SandboxSpec, TmpfsMount
from runtime.user import Ids
from support.filters import verdict

X86_64 = 0xC000003E

ROOT = Ids(0, 0, (0, 10), "/root")
MAPPED = Surroundings(
    uid_mappings=(IdRange(inside=0, outside=1000, count=1),),
    gid_mappings=(IdRange(inside=0, outside=1000, count=1),),
)


def config(ids: Ids = ROOT, surroundings: Surroundings | None = None, **fields: Any) -> Any:
    spec = SandboxSpec(lower=("/layer",), argv=("true",), **fields)
    return oci_config(spec, ids, surroundings or Surroundings())


def mounts(document: Any) -> dict[str, Any]:
    return {mount["destination"]: mount for mount in document["mounts"]}


def test_a_user_that_is_not_root_has_no_capabilities_but_could_get_some() -> None:
    capabilities = config()["process"]["capabilities"]
    assert len(capabilities["effective"]) == len(capabilities["bounding"]) == 14
    capabilities = config(Ids(7, 8, (8,), "/"))["process"]["capabilities"]
    assert (capabilities["effective"], capabilities["permitted"]) == ([], [])
    assert len(capabilities["bounding"]) == 14


def test_environment_and_limits() -> None:
    process = config(env=(("A", "1"), ("A", "2")), rlimits=((7, 1, -1),))["process"]
    assert process["env"] == ["A=2", "HOME=/root"]
    assert process["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": (1 << 64) - 1}]
    assert "consoleSize" not in process
    process = config(terminal=True, terminal_size=(24, 80), env=(("HOME", "/h"),))["process"]
    assert process["consoleSize"] == {"height": 24, "width": 80}
    assert process["env"] == ["HOME=/h"]


def test_namespaces() -> None:
    def kinds(document: Any) -> set[str]:
        return {namespace["type"] for namespace in document["linux"]["namespaces"]}

    everything = {"mount", "pid", "ipc", "uts", "cgroup", "network"}
    assert kinds(config()) == everything
    assert kinds(config(network="host")) == everything - {"network"}
    assert kinds(config(surroundings=MAPPED)) == everything | {"user"}
    mapping = {"containerID": 0, "hostID": 1000, "size": 1}
    assert config(surroundings=MAPPED)["linux"]["uidMappings"] == [mapping]


def test_what_a_user_namespace_cannot_have() -> None:
    assert "gid=5" in mounts(config())["/dev/pts"]["options"]
    mapped = mounts(config(surroundings=MAPPED, network="host"))
    assert "gid=5" not in mapped["/dev/pts"]["options"]
    assert mapped["/sys"]["type"] == "bind"
    assert mounts(config(network="host"))["/sys"]["type"] == "sysfs"


def test_mounts_come_after_what_they_are_in() -> None:
    document = config(
        mounts=(
            BindMount(source="/b", target="/x/y/z", recursive=False, slave=True, read_only=True),
            TmpfsMount(target="/x", size=4096, mode=0o700, no_exec=True, options=("uid=7",)),
        )
    )
    outer, inner = document["mounts"][-2:]
    assert (outer["destination"], inner["destination"]) == ("/x", "/x/y/z")
    assert inner["options"] == ["bind", "slave", "nodev", "ro"]
    assert set(outer["options"]) == {
        "nodev", "nosuid", "noexec", "mode=700", "size=4096", "uid=7",
    }  # fmt: skip


def test_what_no_config_can_say() -> None:
    with pytest.raises(InvalidContainer, match="--init"):
        config(init=True)
    with pytest.raises(InvalidContainer, match="subpath"):
        config(mounts=(BindMount(source="/v", target="/t", subpath="a"),))


def test_the_filter_is_there_if_the_sandbox_has_one() -> None:
    assert "seccomp" not in config()["linux"]
    profile = config(seccomp=default_filter())["linux"]["seccomp"]
    assert profile == default_profile(DEFAULT_CAPABILITIES)


@pytest.mark.parametrize("machine", sorted(seccomp_policy.ARCHITECTURES))
def test_the_profile_refuses_what_the_filter_refuses(machine: str) -> None:
    profile = default_profile(0, machine=machine)
    allowed, refused, *rules = profile["syscalls"]
    names = {name for line in seccomp_policy.REFUSED for name in line.split()}
    names |= {name for line in seccomp_policy.NEEDS.values() for name in line.split()}
    assert set(refused["names"]) == names
    assert not names & set(allowed["names"])
    assert {"read", "openat2", "execve"} <= set(allowed["names"])
    assert {name for rule in rules for name in rule["names"]} == {
        "clone", "clone3", "socket", "personality",
    }  # fmt: skip
    free = default_profile(capability_mask("SYS_ADMIN"), machine=machine)["syscalls"][0]["names"]
    assert {"mount", "clone", "clone3", "unshare"} <= set(free)
    with pytest.raises(SandboxUnavailable, match="m68k"):
        default_profile(0, machine="m68k")


def test_the_profile_is_the_filter() -> None:
    """Compiled, it gives the same answers, but for the one difference that is written down."""
    for capabilities in (DEFAULT_CAPABILITIES, DEFAULT_CAPABILITIES | capability_mask("SYS_ADMIN")):
        ours = default_filter(capabilities, machine="x86_64")
        text = json.dumps(default_profile(capabilities, machine="x86_64"))
        theirs = compiled_profile(text, capabilities, machine="x86_64")
        numbers = dict(all_numbers("x86_64"))
        for number in (*sorted(set(numbers.values())), *range(seccomp_policy.NEWEST + 1, 600)):
            if number != numbers["personality"]:
                assert verdict(theirs, X86_64, number) == verdict(ours, X86_64, number), number
        cases = [("socket", family) for family in range(50)]
        cases += [("clone", 1 << bit) for bit in range(32)] + [("clone", 0x50F00)]
        cases += [("personality", value) for value in seccomp_policy.PERSONALITIES]
        for name, argument in cases:
            words = (numbers[name], (argument,))
            assert verdict(theirs, X86_64, *words) == verdict(ours, X86_64, *words), name


def test_resources() -> None:
    limits = Limits(memory=64 << 20, pids=-1, cpu_quota=5000, read_bps=((8, 0, 1000),))
    found = resources(limits, (("c", 10, -1, "rw"),))
    assert found == {
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 10, "access": "rw"},
        ],
        "memory": {"limit": 64 << 20, "swap": 128 << 20},
        "cpu": {"quota": 5000},
        "pids": {"limit": -1},
        "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1000}]},
    }
    assert config(surroundings=Surroundings(resources=found))["linux"]["resources"] == found
