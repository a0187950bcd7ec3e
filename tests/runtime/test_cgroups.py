"""Cgroups: limits as what is written for them, and where hierarchies are."""

from __future__ import annotations

import pytest

from runtime.cgroups.layout import default_parent, parse_layout
from runtime.cgroups.limits import Limits
from runtime.cgroups.plan import plan_v1, plan_v2, weight_of_blkio, weight_of_shares

MEGA = 1 << 20


@pytest.mark.parametrize(
    ("limits", "v1", "v2"),
    [
        (
            Limits(memory=64 * MEGA),
            ["memory.limit_in_bytes=67108864", "memory.memsw.limit_in_bytes=134217728"],
            ["memory.max=67108864", "memory.swap.max=67108864"],
        ),
        (
            Limits(memory=64 * MEGA, memory_swap=64 * MEGA),
            ["memory.limit_in_bytes=67108864", "memory.memsw.limit_in_bytes=67108864"],
            ["memory.max=67108864", "memory.swap.max=0"],
        ),
        (
            Limits(memory=64 * MEGA, memory_swap=-1),
            ["memory.limit_in_bytes=67108864", "memory.memsw.limit_in_bytes=-1"],
            ["memory.max=67108864", "memory.swap.max=max"],
        ),
        (
            Limits(memory_reservation=MEGA, memory_swappiness=10, oom_kill_disable=True),
            [
                "memory.soft_limit_in_bytes=1048576",
                "memory.swappiness=10",
                "memory.oom_control=1",
            ],
            ["memory.low=1048576", "", ""],
        ),
        (
            Limits(cpu_period=50_000, cpu_quota=25_000),
            ["cpu.cfs_period_us=50000", "cpu.cfs_quota_us=25000"],
            ["cpu.max=25000 50000"],
        ),
        (Limits(cpu_quota=25_000), ["cpu.cfs_quota_us=25000"], ["cpu.max=25000 100000"]),
        (Limits(cpu_period=50_000), ["cpu.cfs_period_us=50000"], ["cpu.max=max 50000"]),
        (Limits(cpu_quota=-1), ["cpu.cfs_quota_us=-1"], ["cpu.max=max 100000"]),
        (Limits(cpu_shares=512), ["cpu.shares=512"], ["cpu.weight=20"]),
        (
            Limits(cpuset_cpus="0-1", cpuset_mems="0"),
            ["cpuset.cpus=0-1", "cpuset.mems=0"],
            ["cpuset.cpus=0-1", "cpuset.mems=0"],
        ),
        (Limits(pids=10), ["pids.max=10"], ["pids.max=10"]),
        (Limits(pids=-1), ["pids.max=max"], ["pids.max=max"]),
        (
            Limits(blkio_weight=500),
            ["blkio.weight=500|blkio.bfq.weight=500"],
            ["io.bfq.weight=500|io.weight=4950"],
        ),
        (
            Limits(read_bps=((8, 0, 1000),), write_iops=((8, 16, 5), (7, 1, 6))),
            [
                "blkio.throttle.read_bps_device=8:0 1000",
                "blkio.throttle.write_iops_device=8:16 5",
                "blkio.throttle.write_iops_device=7:1 6",
            ],
            ["io.max=8:0 rbps=1000", "io.max=8:16 wiops=5", "io.max=7:1 wiops=6"],
        ),
        (Limits(), [], []),
    ],
)
def test_what_is_written(limits: Limits, v1: list[str], v2: list[str]) -> None:
    for plan, expected in ((plan_v1(limits), v1), (plan_v2(limits), v2)):
        written = ["|".join(f"{file}={value}" for file, value in each[2]) for each in plan]
        assert written == expected
        for controller, option, choices in plan:
            assert option.startswith("--")
            assert all(file.startswith(f"{controller}.") for file, _ in choices)


@pytest.mark.parametrize(
    ("shares", "weight"), [(2, 1), (1024, 39), (262144, 10000), (1 << 30, 10000)]
)
def test_shares_become_weights_as_runc_has_it(shares: int, weight: int) -> None:
    assert weight_of_shares(shares) == weight


@pytest.mark.parametrize(("weight", "io"), [(10, 1), (500, 4950), (1000, 10000)])
def test_block_weights(weight: int, io: int) -> None:
    assert weight_of_blkio(weight) == io


HYBRID = """\
30 23 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
33 30 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:15 - cgroup cgroup rw,cpu,cpuacct
34 30 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
35 30 0:32 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
"""
V2 = "31 30 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
INSIDE = "31 30 0:27 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"


def test_a_hybrid_layout() -> None:
    groups = "5:cpu,cpuacct:/a\n4:memory:/b\n1:name=systemd:/c\n0::/d\n"
    layout = parse_layout(HYBRID, groups)
    assert layout.kind == "hybrid"
    assert layout.unified == "/sys/fs/cgroup/unified"
    assert layout.v1 == {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "memory": "/sys/fs/cgroup/memory",
    }
    assert layout.own == {"cpu": "/a", "cpuacct": "/a", "memory": "/b", "": "/d"}


@pytest.mark.parametrize(
    ("mounts", "groups", "kind", "own"),
    [
        (V2, "0::/user.slice/x.scope\n", "v2", "/user.slice/x.scope"),
        (V2, "0::/\n", "v2", ""),
        (INSIDE, "0::/docker/abc/sub\n", "v2", "/sub"),
        (INSIDE, "0::/docker/abc\n", "v2", ""),
        ("", "0::/\n", "none", None),
    ],
)
def test_other_layouts(mounts: str, groups: str, kind: str, own: str | None) -> None:
    layout = parse_layout(mounts, groups)
    assert layout.kind == kind
    assert layout.own.get("") == own


def test_a_plain_users_groups_are_in_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.cgroups.layout.owns_hierarchies", lambda: False)
    for own in ("/user.slice/x.scope", "/user.slice/x.scope/lamina-init"):
        assert default_parent(parse_layout(V2, f"0::{own}\n")) == "/user.slice/x.scope/lamina"
    monkeypatch.setattr("runtime.cgroups.layout.owns_hierarchies", lambda: True)
    assert default_parent(parse_layout(V2, "0::/user.slice/x.scope\n")) == "/lamina"
