"""What a container uses: read from its cgroups, or summed over its processes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from runtime.cgroups.groups import Groups
from runtime.cgroups.layout import read_text

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Processor time in nanoseconds since its start; bytes; processes and threads.

    `memory` is without what the kernel can take back at once, `memory_limit` that of the machine
    if there is none.
    """

    cpu_ns: int = 0
    memory: int = 0
    memory_limit: int = 0
    received: int = 0
    sent: int = 0
    read: int = 0
    written: int = 0
    pids: int = 0


def usage_of(groups: Groups | None, pid: int, pids: Iterable[int]) -> Usage:
    """What a container uses whose first process is `pid`; without groups that of `pids`."""
    received, sent = _network(pid)
    if groups is not None and groups.unified and not groups.v1:
        used = _of_v2(groups.unified)
    elif groups is not None and "memory" in groups.v1 and "cpuacct" in groups.v1:
        used = _of_v1(groups.v1)
    else:
        used = _of_processes(pids)
    cpu_ns, memory, limit, read, written, count = used
    total = _memory_of_machine()
    return Usage(
        cpu_ns=cpu_ns,
        memory=memory,
        memory_limit=min(limit, total) if limit > 0 else total,
        received=received,
        sent=sent,
        read=read,
        written=written,
        pids=count,
    )


_Used = tuple[int, int, int, int, int, int]


def _of_v1(folders: dict[str, str]) -> _Used:
    memory = folders["memory"]
    inactive = _numbers(f"{memory}/memory.stat").get("total_inactive_file", 0)
    read = written = 0
    blkio = folders.get("blkio", "")
    for line in read_text(f"{blkio}/blkio.throttle.io_service_bytes_recursive").splitlines():
        words = line.split()
        if len(words) == 3:
            read += int(words[2]) if words[1] == "Read" else 0
            written += int(words[2]) if words[1] == "Write" else 0
    return (
        _number(f"{folders['cpuacct']}/cpuacct.usage"),
        max(0, _number(f"{memory}/memory.usage_in_bytes") - inactive),
        _number(f"{memory}/memory.limit_in_bytes"),
        read,
        written,
        _number(f"{folders.get('pids', '')}/pids.current"),
    )


def _of_v2(folder: str) -> _Used:
    inactive = _numbers(f"{folder}/memory.stat").get("inactive_file", 0)
    read = written = 0
    for line in read_text(f"{folder}/io.stat").splitlines():
        for word in line.split()[1:]:
            key, _, value = word.partition("=")
            read += int(value) if key == "rbytes" else 0
            written += int(value) if key == "wbytes" else 0
    return (
        _numbers(f"{folder}/cpu.stat").get("usage_usec", 0) * 1000,
        max(0, _number(f"{folder}/memory.current") - inactive),
        _number(f"{folder}/memory.max"),
        read,
        written,
        _number(f"{folder}/pids.current"),
    )


def _of_processes(pids: Iterable[int]) -> _Used:
    """Where there is no group: what processes say of themselves. What has ended is not counted."""
    cpu = memory = threads = read = written = 0
    for pid in pids:
        fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if not fields:
            continue
        # proc_pid_stat(5): user, system time, that of children waited for; threads; pages.
        cpu += sum(map(int, fields[11:15])) * _TICK
        threads += int(fields[17])
        memory += int(fields[21]) * _PAGE
        storage = _numbers(f"/proc/{pid}/io", ":")
        read += storage.get("read_bytes", 0)
        written += storage.get("write_bytes", 0)
    return cpu, memory, 0, read, written, threads


def _network(pid: int) -> tuple[int, int]:
    """Bytes that came and went over the interfaces of a process's network, but for loopback."""
    received = sent = 0
    for name, fields in _interfaces(pid):
        if name != "lo":
            received += int(fields[0])
            sent += int(fields[8])
    return received, sent


def _interfaces(pid: int) -> Iterator[tuple[str, list[str]]]:
    if _same_network(pid):
        return  # The host's: it is not the container that used it.
    for line in read_text(f"/proc/{pid}/net/dev").splitlines()[2:]:
        name, _, numbers = line.partition(":")
        yield name.strip(), numbers.split()


def _same_network(pid: int) -> bool:
    try:
        own, theirs = os.stat("/proc/self/ns/net"), os.stat(f"/proc/{pid}/ns/net")
    except OSError:
        return False
    return own.st_ino == theirs.st_ino


def _memory_of_machine() -> int:
    return os.sysconf("SC_PHYS_PAGES") * _PAGE


def _number(path: str) -> int:
    """The number in a file; 0 for none, and for "max"."""
    text = read_text(path)
    return int(text) if text.isdecimal() else 0


def _numbers(path: str, separator: str = "") -> dict[str, int]:
    found = {}
    for line in read_text(path).splitlines():
        name, _, value = line.partition(separator or " ")
        if value.strip().isdecimal():
            found[name] = int(value)
    return found
