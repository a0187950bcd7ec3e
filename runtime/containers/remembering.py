"""Remembering the start of a container that was prepared in the ordinary way.

Nothing is remembered that is not understood: a field that is not known here and is not what it
is for the plainest container, a file that is none of those known, or a start that does not give
this very container again. Such containers always take the ordinary way.
"""

from __future__ import annotations

import json
import marshal
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any, Final

from runtime.containers.entry_file import ENTRY
from runtime.containers.execute import entry_order
from runtime.containers.holding import containers_directory
from runtime.containers.record import Container, State, state_document
from runtime.containers.remove import event_attributes
from runtime.containers.spec import ContainerSpec, environment
from runtime.containers.starts import (
    DIRECTORY,
    EMPTY,
    FOLDER,
    HOSTNAME,
    HOSTNAME_FILE,
    HOSTS,
    RESOLV_CONF,
    Start,
    conditions,
    files_sum,
    write_start,
)
from runtime.containers.surroundings import sandbox_network
from runtime.image.errors import ImageError
from runtime.image.reference import Reference
from runtime.image.store.images import Image, row_name
from runtime.image.store.paths import LOCK_USE, use_lock
from runtime.image.store.store import Store
from runtime.monitor import files
from runtime.network.model import NO_NETWORK, HostNetwork, NoNetwork
from runtime.network_files import hosts, resolv_conf
from runtime.sandbox.spec import SandboxSpec
from runtime.sandbox.wire import encode_order

_MOST: Final = 64
"""How many starts are remembered."""
_RECORDED: Final = (files.CONFIG, files.STATE, files.PASSING, ENTRY)
_OUR_OWN: Final = (
    "builder/start.py", "builder/call_words.py", "builder/quick.py",
    "runtime/containers/wanted.py", "runtime/containers/quick.py",
    "runtime/containers/quick_made.py", "runtime/containers/confirming.py",
)  # fmt: skip
_KNOWN_ORDER: Final = frozenset((
    "argv", "capabilities", "cwd", "die_with_parent", "enter", "env", "hostname", "init", "lower",
    "masked_paths", "mounts", "network", "network_fd", "new_session", "no_new_privileges",
    "read_only_paths", "read_only_root", "rlimits", "seccomp", "shm_size", "terminal",
    "terminal_size", "umask", "upper", "user", "volatile", "work",
))  # fmt: skip
_KNOWN_SPEC: Final = frozenset((
    "capabilities", "command", "entrypoint", "env", "extra_hosts", "hostname", "image", "init",
    "labels", "log", "mounts", "name", "network", "no_new_privileges", "open_stdin", "read_only",
    "remove", "seccomp", "shell", "shm_size", "stdin_once", "stop_seconds", "stop_signal", "user",
    "working_dir",
))  # fmt: skip


class _Unknown(Exception):
    """It is not to be remembered."""


class Remembering:
    """One container whose start may be remembered, under `key`: see `runtime.containers.quick`."""

    def __init__(self, store: Store, container: Container, key: str, order: bytes) -> None:
        """To be made when the container is prepared, and not started yet."""
        self._store = store
        self._start: Start | None = None
        with suppress(_Unknown, ImageError):
            self._start = self._understood(container, key, order)

    def write(self) -> None:
        """Remember it, if it can be; a disk that has no room for it is no reason to fail."""
        if self._start is None:
            return
        containers = containers_directory(self._store.root)
        with suppress(OSError):
            os.makedirs(f"{containers}/starts", mode=0o700, exist_ok=True)
            _forget_the_oldest(f"{containers}/starts")
            write_start(containers, self._start)

    def _understood(self, container: Container, key: str, order: bytes) -> Start:
        spec, description, root = container.spec, container.description, self._store.root
        image = self._store.image(description.image_id)
        _check_spec(spec)
        config = json.loads(_read(f"{container.folder}/{files.CONFIG}"))
        entry, default = _words(spec, image)
        base = environment(replace(spec, env=()), image.config.config, HOSTNAME)
        joined = "\0".join(_program())
        start = Start({
            "key": key,
            "conditions": conditions(root),
            "files": joined,
            "files_sum": files_sum(joined),
            "database": None,
            "image": str(image.id),
            "name": self._name(spec.image, image),
            "diff_ids": tuple(map(str, description.diff_ids)),
            "locks": (LOCK_USE, use_lock(image.id), *map(use_lock, description.diff_ids)),
            "trees": tuple(os.fsencode(self._store.tree(each)) for each in description.diff_ids),
            "entry": entry,
            "default": default,
            "env": base,
            "hostname": spec.hostname,
            "extra_hosts": spec.extra_hosts,
            "network": sandbox_network(spec),
            "made": tuple(_made(container)),
            "order": _order(order, container.folder),
            "entry_order": entry_order(container),
            "config": config,
            "state": state_document(State(status="created")),
            "attributes": event_attributes(container),
        })  # fmt: skip
        _check(start, container, order, config)
        return start

    def _name(self, text: str, image: Image) -> str:
        """The name by which the image was found; by a part of its ID another may be, next time."""
        name = row_name(Reference.parse(text))
        row = self._store.parts.database.row("SELECT image FROM names WHERE name = ?", (name,))
        if row is None or row[0] != image.id:
            raise _Unknown
        return name


def _check_spec(spec: ContainerSpec) -> None:
    plain = ContainerSpec(image=spec.image)
    for field in fields(spec):
        known = field.name in _KNOWN_SPEC
        if not known and getattr(spec, field.name) != getattr(plain, field.name):
            raise _Unknown
    network = spec.network
    if not isinstance(network.mode, NoNetwork | HostNetwork):
        raise _Unknown
    if replace(network, mode=NO_NETWORK.mode) != NO_NETWORK or not spec.remove:
        raise _Unknown


def _words(spec: ContainerSpec, image: Image) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What comes before the command's words, and what instead of none."""
    if spec.entrypoint is not None:
        return spec.entrypoint, ()
    config = image.config.config
    return config.entrypoint or (), config.cmd or ()


def _order(data: bytes, folder: str) -> dict[str, Any]:
    """The order with paths below `FOLDER` instead of the container's folder."""
    order: dict[str, Any] = marshal.loads(data)
    plain = marshal.loads(encode_order(SandboxSpec(lower=("/",), argv=("true",))))
    for name in set(order) - _KNOWN_ORDER:
        if name not in plain or order[name] != plain[name]:
            raise _Unknown
    return {name: _unplaced(value, os.fsencode(folder)) for name, value in order.items()}


def _unplaced(value: Any, folder: bytes) -> Any:
    if isinstance(value, bytes):
        if value == folder or value.startswith(folder + b"/"):
            return FOLDER + value[len(folder) :]
        return value
    if isinstance(value, tuple):
        return tuple(_unplaced(each, folder) for each in value)
    return value


def _made(container: Container) -> Iterator[tuple[Any, ...]]:
    """What is in the container's folder besides its records: what lies above comes first."""
    pending = [name for name in sorted(os.listdir(container.folder)) if name not in _RECORDED]
    while pending:
        path = pending.pop(0)
        place = f"{container.folder}/{path}"
        status = os.lstat(place)
        attributes = tuple((name, os.getxattr(place, name)) for name in os.listxattr(place))
        mode, owner = stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)
        # One from an image has the image's time; what was made just now has none of its own.
        old = status.st_mtime_ns < container.description.created_ns - 1_000_000_000
        if stat.S_ISDIR(status.st_mode):
            mtime_ns = status.st_mtime_ns if old else None
            yield path, DIRECTORY, mode, *owner, attributes, mtime_ns
            pending += [f"{path}/{name}" for name in sorted(os.listdir(place))]
        elif stat.S_ISREG(status.st_mode) and owner == (0, 0) and not attributes:
            yield path, _kind(container, _read(place)), mode, *owner, (), None
        else:
            raise _Unknown


def _kind(container: Container, content: bytes) -> int:
    spec, hostname = container.spec, container.description.hostname
    text = content.decode("utf-8", "surrogateescape")
    if not text:
        return EMPTY
    if text == hosts(hostname, spec.extra_hosts):
        return HOSTS
    if text == f"{hostname}\n":
        return HOSTNAME_FILE
    if text == resolv_conf(sandbox_network(spec)):
        return RESOLV_CONF
    raise _Unknown


def _check(start: Start, container: Container, order: bytes, config: dict[str, Any]) -> None:
    """Whether it gives this very container."""
    description, spec = container.description, container.spec
    hostname = start.hostname_of(container.id)
    env = start.environment(spec.env, hostname)
    argv = start.argv(spec.command)
    again = start.order_for(container.folder, argv, env, hostname)
    recorded = start.config_for(
        container.id,
        container.name,
        given=(spec.name, spec.command, spec.env),
        argv=argv,
        env=env,
        hostname=hostname,
    )
    recorded["created_ns"] = description.created_ns
    if (
        marshal.loads(again) != marshal.loads(order)
        or start.entry_order_for(env) != entry_order(container)
        or json.loads(json.dumps(recorded)) != config
        or start.files_sum == 0
    ):
        raise _Unknown


def _program() -> list[str]:
    """The files of this program that had a part in it."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    found = {f"{root}/{name}" for name in _OUR_OWN}
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if path and path.startswith((f"{root}/builder/", f"{root}/runtime/", f"{root}/grammar/")):
            found.add(path)
    return sorted(found)


def _forget_the_oldest(folder: str) -> None:
    names = os.listdir(folder)
    if len(names) >= _MOST:
        names.sort(key=lambda name: os.stat(f"{folder}/{name}").st_mtime_ns)
        for name in names[: len(names) - _MOST + 1]:
            os.unlink(f"{folder}/{name}")


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
