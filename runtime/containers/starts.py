"""Starts that are remembered: what a container of an image, run with certain options, comes to.

The ordinary way to a container looks into its image, its options, the layers and the policies,
and all of it gives the same each time, but for a few words. So it is written down once, with what
it depended on: this program's files, the user, the machine's boot, and what the store's database
says of the image. Whoever finds one that still holds needs no more than to put in the words.

A remembered start is a file in `containers/starts`. It is a cache: one that is damaged, or made
under other conditions, is none. Imported ahead of every `lamina run`: it imports next to nothing.
"""

from __future__ import annotations

import binascii
import marshal
import os
import sys
import time

from runtime.containers.wanted import start_path
from runtime.monitor.files import read_own
from runtime.monitor.identity import boot_id
from runtime.network_files import hosts, resolv_conf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Final

    from runtime.containers.wanted import Pairs

_FORM: Final = 2
"""To be raised when the meaning of what is written changes."""
GRAIN_NS: Final = 50_000_000
"""How far behind a file's times may be: kernels take them from a clock that ticks (4-10 ms)."""
FOLDER: Final = b"\0folder"
"""In place of the path of the container's folder."""
HOSTNAME: Final = "\0hostname"
"""In place of its host name, in its environment."""

# What a file below `made` holds.
DIRECTORY, EMPTY, HOSTS, RESOLV_CONF, HOSTNAME_FILE = range(5)


class Start:
    """A remembered start.

    key         what was asked for
    conditions  what decides about it, besides files and the database
    files       this program's, joined by NULs, and their sum
    database    the stamp of the store's database when it said this, if that is sure
    image, name, diff_ids  the image's ID, the name's row that stands for it, its layers
    locks       bytes of the store's lock file that keep all that
    trees       the layers' directories
    entry, default  words before the command's own, and the command if none is given
    env         name and value; `HOSTNAME` is to be replaced
    hostname    the container's, if it is not its ID or (with the host's network) the host's
    extra_hosts, network  of the generated files
    made        what has to be in the folder: path, kind, mode, owner, attributes, time
    order       its sandbox; paths below `FOLDER` are in the container's own
    entry_order  that of commands of `exec`
    config, state, attributes  what is recorded of it
    """

    key: str
    conditions: str
    files: str
    files_sum: int
    database: tuple[int, ...] | None
    image: str
    name: str
    diff_ids: tuple[str, ...]
    locks: tuple[int, ...]
    trees: tuple[bytes, ...]
    entry: tuple[str, ...]
    default: tuple[str, ...]
    env: Pairs
    hostname: str | None
    extra_hosts: Pairs
    network: str
    made: tuple[tuple[Any, ...], ...]
    order: dict[str, Any]
    entry_order: dict[str, Any]
    config: dict[str, Any]
    state: dict[str, Any]
    attributes: dict[str, str]

    def __init__(self, fields: dict[str, Any]) -> None:
        self.__dict__.update(fields)

    def holds(self, root: str) -> bool:
        """Whether it was made under the same conditions, by the same program."""
        return self.conditions == conditions(root) and self.files_sum == files_sum(self.files)

    def argv(self, command: tuple[str, ...]) -> tuple[str, ...]:
        """All words of the command; none if there is nothing to run."""
        return (*self.entry, *(command or self.default))

    def hostname_of(self, container_id: str) -> str:
        """What the container calls itself."""
        if self.hostname is not None:
            return self.hostname
        return os.uname().nodename if self.network == "host" else container_id[:12]

    def environment(self, own: Pairs, hostname: str) -> Pairs:
        """Its variables, with the caller's."""
        env = {name: hostname if value == HOSTNAME else value for name, value in self.env}
        env |= dict(own)
        return tuple(env.items())

    def order_for(self, folder: str, argv: tuple[str, ...], env: Pairs, hostname: str) -> bytes:
        """The order of its sandbox, as `runtime.sandbox.wire` has it."""
        own = os.fsencode(folder)
        order = {name: _replaced(value, own) for name, value in self.order.items()}
        order["argv"] = tuple(map(_text, argv))
        order["env"] = tuple((_text(name), _text(value)) for name, value in env)
        order["hostname"] = _text(hostname)
        return marshal.dumps(order)

    def entry_order_for(self, env: Pairs) -> dict[str, Any]:
        """The order of commands of `exec`, to be kept beside the container."""
        pairs = tuple((_text(name), _text(value)) for name, value in env)
        return {**self.entry_order, "env": pairs}

    def config_for(
        self,
        container_id: str,
        name: str,
        *,
        given: tuple[str | None, tuple[str, ...], Pairs],
        argv: tuple[str, ...],
        env: Pairs,
        hostname: str,
    ) -> dict[str, Any]:
        """What is recorded of what it is to be; `given` are name, command and variables."""
        named, command, own = given
        return {
            **self.config,
            "id": container_id,
            "name": name,
            "created_ns": time.time_ns(),
            "argv": argv,
            "env": env,
            "hostname": hostname,
            "spec": {**self.config["spec"], "name": named, "command": command, "env": own},
        }

    def make(self, folder: str, hostname: str) -> None:
        """Make what has to be in a container's folder."""
        above = []
        for path, kind, mode, uid, gid, attributes, mtime_ns in self.made:
            place = f"{folder}/{path}"
            if kind == DIRECTORY:
                os.mkdir(place, 0o700)
                above.append((place, mode, uid, gid, attributes, mtime_ns))
                continue
            fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                if kind != EMPTY:
                    os.write(fd, self.content(kind, hostname))
                os.fchmod(fd, mode)
            finally:
                os.close(fd)
        for place, mode, uid, gid, attributes, mtime_ns in reversed(above):
            if (uid, gid) != (0, 0):
                os.chown(place, uid, gid)
            os.chmod(place, mode)
            for name, value in attributes:
                os.setxattr(place, name, value)
            if mtime_ns is not None:
                os.utime(place, ns=(mtime_ns, mtime_ns))

    def content(self, kind: int, hostname: str) -> bytes:
        """What a generated file holds."""
        if kind == HOSTS:
            return _text(hosts(hostname, self.extra_hosts))
        return _text(resolv_conf(self.network) if kind == RESOLV_CONF else f"{hostname}\n")


def read_start(containers: str, key: str) -> Start | None:
    """The start that was asked for so; `None` if it is not remembered, or not as it should be."""
    # Marshal is for what we wrote ourselves, whole, with this very Python.
    data = read_own(start_path(containers, key))
    if data is None:
        return None
    content = data[len(_head(b"")) :]
    if data[: -len(content)] != _head(content):
        return None
    start = Start(marshal.loads(content))
    return start if start.key == key else None


def write_start(containers: str, start: Start) -> None:
    """Remember a start, in the place of the one that is."""
    path = start_path(containers, start.key)
    data = marshal.dumps(start.__dict__)
    aside = f"{path}.{os.getpid()}"
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, _head(data) + data)
    finally:
        os.close(fd)
    os.rename(aside, path)


def conditions(root: str) -> str:
    """What decides about a start, besides this program and what the database says."""
    machine = os.uname()
    return "\0".join((root, boot_id(), machine.release, machine.machine))


def files_sum(joined: str) -> int:
    """A sum of files, which changes when one does; 0 if one is missing."""
    total = 0
    try:
        for number, path in enumerate(joined.split("\0"), 1):
            status = os.stat(path)
            total += number * (status.st_mtime_ns ^ status.st_size)
    except OSError:
        return 0
    return total


def database_stamp(root: str) -> tuple[int, ...]:
    """What changes whenever something is written to the store's database."""
    stamp: list[int] = []
    for name in ("store.db", "store.db-wal"):
        try:
            status = os.stat(f"{root}/{name}")
        except FileNotFoundError:
            continue
        if status.st_size:  # An empty log is as good as none.
            stamp += (
                status.st_dev, status.st_ino, status.st_size,
                status.st_mtime_ns, status.st_ctime_ns,
            )  # fmt: skip
    return tuple(stamp)


def is_settled(stamp: Iterable[int], now_ns: int) -> bool:
    """Whether the files are old enough that none could have changed again unseen."""
    numbers = tuple(stamp)
    times = [max(numbers[n + 3 : n + 5]) for n in range(0, len(numbers), 5)]
    return bool(times) and max(times) < now_ns - GRAIN_NS


def _head(data: bytes) -> bytes:
    return b"%08x %08x %08x\n" % (_FORM, sys.hexversion, binascii.crc32(data))


def _replaced(value: Any, folder: bytes) -> Any:
    if isinstance(value, bytes):
        return folder + value[len(FOLDER) :] if value.startswith(FOLDER) else value
    if isinstance(value, tuple):
        return tuple([_replaced(each, folder) for each in value])
    return value


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
