"""What a container may use, as a value; the fields are those of docker's options."""

from __future__ import annotations

from dataclasses import dataclass

Rate = tuple[int, int, int]
"""Major and minor number of a block device, and how much a second."""

UNLIMITED = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits; what is `None` is not limited.

    memory              bytes
    memory_swap         bytes of memory and swap together; -1 is any. Twice `memory` if `None`
    memory_reservation  bytes that are left to it when memory gets short
    cpu_period, cpu_quota  microseconds of processor time, `quota` in each `period`
    cpu_shares          relative to others; 1024 is usual
    cpuset_cpus, cpuset_mems  as `0-2,4`
    pids                processes and threads; -1 is any number
    blkio_weight        10 to 1000, relative to others
    *_bps, *_iops       bytes, operations a second of a block device
    """

    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    memory_swappiness: int | None = None
    oom_kill_disable: bool = False
    cpu_period: int | None = None
    cpu_quota: int | None = None
    cpu_shares: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    pids: int | None = None
    blkio_weight: int | None = None
    read_bps: tuple[Rate, ...] = ()
    write_bps: tuple[Rate, ...] = ()
    read_iops: tuple[Rate, ...] = ()
    write_iops: tuple[Rate, ...] = ()


NO_LIMITS = Limits()
