"""The cgroups of a bundle's container: at the path its config names, with its limits."""

from __future__ import annotations

import errno
import os
import signal as _signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from runtime.cgroups.devices import DEFAULT_RULES, Rule, attach_program, program
from runtime.cgroups.removal import remove_groups
from runtime.errors import SetupFailed
from runtime.oci.plan import Plan
from runtime.oci.section import Section

Write = tuple[str, str, str]
"""A controller, a file, a value."""

_UNIFIED: Final = ""
_V1: Final = ("memory", "pids", "cpu", "cpuacct", "cpuset", "blkio", "devices", "freezer")
_REFUSALS: Final = (errno.EROFS, errno.EACCES, errno.EPERM)
_ALWAYS: Final = (
    # What every runtime adds: making any node, and using the ones a container has.
    "c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm",
    "c 5:0 rwm", "c 5:1 rwm", "c 5:2 rwm", "c 136:* rwm",
)  # fmt: skip


class BundleGroups:
    """A container's group in each hierarchy. Nothing is made before `make`."""

    def __init__(self, plan: Plan, container_id: str, warn: Callable[[str], None]) -> None:
        self._plan = plan
        self._warn = warn
        self._tops = hierarchies()
        self._path = _path(plan.cgroups_path, container_id)
        self._is_v2 = set(self._tops) == {_UNIFIED}

    @property
    def directories(self) -> tuple[str, ...]:
        """The directory in each hierarchy, each once."""
        return tuple(dict.fromkeys(f"{top}{self._path}" for top in self._tops.values()))

    @property
    def mounts(self) -> tuple[tuple[str, str], ...]:
        """What a mount of type cgroup shows: names of folders, and what is in them."""
        if self._is_v2:
            return (("", f"{self._tops[_UNIFIED]}{self._path}"),)
        tops = dict.fromkeys(self._tops.values())
        return tuple((os.path.basename(top), f"{top}{self._path}") for top in tops)

    def make(self, pid: int) -> None:
        """Make the groups, set their limits and put a process into them.

        Without the right to, the container is where we are, and its limits are ignored.
        """
        resources = self._plan.resources
        writes = list(_writes(resources, v2=self._is_v2))
        rules = list(resources.sections("devices"))
        try:
            for controller, top in self._tops.items():
                _make(top, self._path, fill=controller == "cpuset")
            for controller, file, value in writes:
                self._write(controller, file, value)
            if rules:
                self._write_devices(rules)
            for directory in self.directories:
                _put(f"{directory}/cgroup.procs", str(pid))
        except OSError as error:
            if error.errno not in _REFUSALS:
                text = f"{error.filename}: {(error.strerror or '').lower()}"
                raise SetupFailed("make cgroups", error.errno or 0, text) from error
            self.remove()
            if writes:
                self._warn(f"linux.resources is ignored: {error.filename}: {error.strerror}")
        for name in resources.unread:
            self._warn(f"{name} is ignored")

    def remove(self) -> None:
        """Remove what was made, with all processes in it."""
        self.remove_all(self.directories)

    @staticmethod
    def remove_all(directories: Iterable[str]) -> None:
        """Kill what is in groups, and remove those that are there."""

        def kill(directory: str) -> None:
            BundleGroups.signal([directory], _signal.SIGKILL)

        try:
            remove_groups(directories, kill, refusals=_REFUSALS)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            text = f"{error.filename} stays busy"
            raise SetupFailed("remove cgroups", errno.EBUSY, text) from error

    @staticmethod
    def signal(directories: Iterable[str], number: int) -> None:
        """Send a signal to every process in the groups."""
        for pid in {pid for directory in directories for pid in _pids(directory)}:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    @staticmethod
    def freeze(directories: Iterable[str], frozen: bool) -> bool:
        """Stop every process in the groups, or let it go on; whether there is a way to."""
        words = {"freezer.state": ("THAWED", "FROZEN"), "cgroup.freeze": ("0", "1")}
        for directory in directories:
            for file, values in words.items():
                if os.path.exists(path := f"{directory}/{file}"):
                    _put(path, values[frozen])
                    return True
        return False

    @staticmethod
    def is_frozen(directories: Iterable[str]) -> bool:
        """Whether the groups are frozen."""
        files = ("freezer.state", "cgroup.freeze")
        for path in (f"{directory}/{file}" for directory in directories for file in files):
            try:
                with open(path, encoding="ascii") as file:
                    if file.read().strip() in ("FROZEN", "FREEZING", "1"):
                        return True
            except OSError:
                continue
        return False

    @staticmethod
    def join(directories: Iterable[str]) -> None:
        """Be in groups, those that are there, with all children to come."""
        for directory in directories:
            try:
                _put(f"{directory}/cgroup.procs", "0")
            except FileNotFoundError:
                continue

    def _write(self, controller: str, file: str, value: str) -> None:
        top = self._tops.get(_UNIFIED if self._is_v2 else controller)
        path = f"{top}{self._path}/{file}"
        if top is None or not os.path.exists(path):
            self._warn(f"linux.resources: this kernel has no {file}")
            return
        _put(path, value)

    def _write_devices(self, rules: list[Section]) -> None:
        if self._is_v2:
            allowed = _allowed(rules, self._plan.order["devices"])
            attach_program(f"{self._tops[_UNIFIED]}{self._path}", program(allowed))
            return
        top = self._tops.get("devices")
        if top is None:
            self._warn("linux.resources.devices is ignored: there is no devices controller")
            return
        folder = f"{top}{self._path}"
        for rule in rules:
            file = "devices.allow" if rule.flag("allow") else "devices.deny"
            _put(f"{folder}/{file}", _device_rule(rule))
        for text in _ALWAYS:
            _put(f"{folder}/devices.allow", text)
        for _, kind, major, minor, *_ in self._plan.order["devices"]:
            if kind != "p":
                _put(f"{folder}/devices.allow", f"{kind} {major}:{minor} rwm")


def hierarchies() -> dict[str, str]:
    """Where the hierarchies are mounted, by controller; that of version 2 under ""."""
    found: dict[str, str] = {}
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            kind, _, options = after.rstrip("\n").split(" ", 2)
            place = before.split(" ")[4]
            if kind == "cgroup2":
                found.setdefault(_UNIFIED, place)
            elif kind == "cgroup":
                for name in set(options.split(",")).intersection(_V1):
                    found.setdefault(name, place)
    return found


def _path(wanted: str, container_id: str) -> str:
    """The path below each hierarchy; systemd's form is `slice:prefix:name`."""
    if wanted.count(":") == 2:
        unit, prefix, name = wanted.split(":")
        wanted = f"{unit or 'system.slice'}/{prefix}-{name}.scope"
    path = os.path.normpath("/" + (wanted or f"lamina-oci/{container_id}"))
    return "/" + path.lstrip("/")


def _writes(resources: Section, *, v2: bool) -> Iterator[Write]:
    memory, cpu = resources.section("memory"), resources.section("cpu")
    limit, swap = memory.number("limit"), memory.number("swap")
    if v2:
        yield from _numbers("memory", ("memory.max", limit))
        if swap is not None:
            rest = -1 if swap < 0 else max(0, swap - max(0, limit or 0))
            yield from _numbers("memory", ("memory.swap.max", rest))
        yield from _numbers("memory", ("memory.low", memory.number("reservation")))
        shares, quota, period = cpu.number("shares"), cpu.number("quota"), cpu.number("period")
        if shares:
            weight = 1 + (min(max(shares, 2), 262144) - 2) * 9999 // 262142
            yield "cpu", "cpu.weight", str(weight)
        if quota is not None or period is not None:
            most = "max" if quota is None or quota <= 0 else str(quota)
            yield "cpu", "cpu.max", f"{most} {period or 100000}"
    else:
        reservation = memory.number("reservation")
        yield from _plain("memory", "memory.limit_in_bytes", limit)
        yield from _plain("memory", "memory.memsw.limit_in_bytes", swap)
        yield from _plain("memory", "memory.soft_limit_in_bytes", reservation)
        yield from _plain("memory", "memory.swappiness", memory.number("swappiness"))
        if memory.flag("disableOOMKiller"):
            yield "memory", "memory.oom_control", "1"
        yield from _plain("cpu", "cpu.shares", cpu.number("shares") or None)
        yield from _plain("cpu", "cpu.cfs_period_us", cpu.number("period") or None)
        yield from _plain("cpu", "cpu.cfs_quota_us", cpu.number("quota") or None)
    for name, file in (("cpus", "cpuset.cpus"), ("mems", "cpuset.mems")):
        if text := cpu.text(name):
            yield "cpuset", file, text
    yield from _numbers("pids", ("pids.max", resources.section("pids").number("limit") or None))
    weight_of_blocks = resources.section("blockIO").number("weight")
    if weight_of_blocks:
        if v2:
            yield "io", "io.weight", str(1 + (weight_of_blocks - 10) * 9999 // 990)
        else:
            yield "blkio", "blkio.weight", str(weight_of_blocks)
    for file, value in resources.table("unified").items():
        if "/" in file:
            raise resources.wrong(f"unified.{file}", "it is no file of a cgroup")
        yield file.partition(".")[0], file, value


def _plain(controller: str, file: str, value: int | None) -> Iterator[Write]:
    if value is not None:
        yield controller, file, str(value)


def _numbers(controller: str, *files: tuple[str, int | None]) -> Iterator[Write]:
    """Values of which a negative one means any number."""
    for file, value in files:
        if value is not None:
            yield controller, file, "max" if value < 0 else str(value)


def _allowed(rules: list[Section], devices: Iterable[tuple[Any, ...]]) -> tuple[Rule, ...]:
    """What may be used: what is allowed after all was denied, and what every container has."""
    found: list[Rule] = []
    for rule in rules:
        kind, access = rule.text("type") or "a", rule.text("access") or "rwm"
        major, minor = rule.number("major"), rule.number("minor")
        if rule.flag("allow"):
            numbers = (-1 if number is None else number for number in (major, minor))
            first, second = numbers
            found += [(each, first, second, access) for each in ("bc" if kind == "a" else kind)]
        elif kind == "a" and major is None and minor is None:
            found.clear()
        else:
            raise rule.wrong("allow", "version 2 of cgroups denies all devices or none")
    own = [(kind, major, minor, "rwm") for _, kind, major, minor, *_ in devices if kind != "p"]
    return (*DEFAULT_RULES, *found, *own)


def _device_rule(rule: Section) -> str:
    kind = rule.text("type") or "a"
    access = rule.text("access") or "rwm"
    major, minor = rule.number("major"), rule.number("minor")
    if kind == "a" and major is None and minor is None:
        return "a"
    shown = ["*" if number is None or number < 0 else str(number) for number in (major, minor)]
    return f"{kind} {':'.join(shown)} {access}"


def _make(top: str, path: str, *, fill: bool) -> None:
    folder = top
    for part in path.strip("/").split("/"):
        above, folder = folder, f"{folder}/{part}"
        try:
            os.mkdir(folder, 0o755)
        except FileExistsError:
            continue
        if fill:
            # A cpuset of version 1 begins empty, and then nothing can run in it.
            for name in ("cpuset.cpus", "cpuset.mems"):
                with open(f"{above}/{name}", encoding="ascii") as file:
                    _put(f"{folder}/{name}", file.read().strip())


def _put(path: str, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(fd)


def _pids(directory: str) -> list[int]:
    try:
        with open(f"{directory}/cgroup.procs", encoding="ascii") as file:
            return [int(line) for line in file if line.strip() != "0"]
    except OSError:
        return []
