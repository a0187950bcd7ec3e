"""What is kept about containers: a directory each, `containers/<id>` in the store.

    config.json     what was asked for; written once
    state.json      what became of it; replaced as a whole, so never half written
    upper work …    its changes to the image, and what was made for its mounts

Whoever runs a container holds a lock on its directory. A process is known by its ID, the time it
was started and the boot: an ID alone may be another process's by now.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from runtime.errors import ContainerNotFound, ContainerRunning, InvalidContainer, SetupFailed
from runtime.image.store.remove import remove_tree
from runtime.image.store.store import Store

Status = Literal["created", "running", "exited"]

_CONFIG: Final = "config.json"
_STATE: Final = "state.json"
_KILL_SECONDS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """A process, and no other one that gets its ID later."""

    pid: int
    start_time: int
    boot_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container as it is recorded. Times are Unix seconds.

    `status` is "exited" with an `exit_status` of `None` if whoever ran it was killed.
    """

    id: str
    image: str
    image_id: str
    command: tuple[str, ...]
    created: int
    status: Status
    process: ProcessIdentity | None = None
    owner: ProcessIdentity | None = None
    exit_status: int | None = None
    finished: int | None = None
    remove: bool = False


def containers_directory(root: str) -> str:
    """Where the containers of a store are."""
    return os.path.join(root, "containers")


@contextmanager
def new_container(root: str) -> Iterator[tuple[str, str]]:
    """A new container's ID and its directory, held by this process until the end of the block."""
    parent = containers_directory(root)
    os.makedirs(parent, mode=0o700, exist_ok=True)
    while True:
        container_id = os.urandom(32).hex()
        path = os.path.join(parent, container_id)
        os.mkdir(path, 0o700)
        fd = _hold(path)
        if fd is not None:
            break
        # A sweep took it for litter before we could hold it.
    try:
        yield container_id, path
    finally:
        os.close(fd)


def write_config(path: str, config: Mapping[str, Any]) -> None:
    """Record what was asked for."""
    _write_json(os.path.join(path, _CONFIG), config)


def write_state(path: str, container: Container) -> None:
    """Record what has become of a container."""
    document = {
        "id": container.id,
        "image": container.image,
        "image_id": container.image_id,
        "command": container.command,
        "created": container.created,
        "status": container.status,
        "process": _identity_document(container.process),
        "owner": _identity_document(container.owner),
        "exit_status": container.exit_status,
        "finished": container.finished,
        "remove": container.remove,
    }
    _write_json(os.path.join(path, _STATE), document)


def identify(pid: int) -> ProcessIdentity | None:
    """Who a process is; `None` if there is none of that ID."""
    start_time = _start_time(pid)
    if start_time is None:
        return None
    return ProcessIdentity(pid=pid, start_time=start_time, boot_id=_boot_id())


def list_containers(root: str) -> list[Container]:
    """All containers of the store at `root`, the newest first."""
    parent = containers_directory(root)
    found = [_read(os.path.join(parent, name)) for name in _names(parent)]
    return sorted(
        (container for container in found if container is not None),
        key=lambda container: (-container.created, container.id),
    )


def find_container(root: str, name: str) -> Container:
    """The container whose ID is or begins with `name`.

    `ContainerNotFound`; `InvalidContainer` if that is said of several.
    """
    matching = [other for other in list_containers(root) if other.id.startswith(name)]
    if not name or not matching:
        raise ContainerNotFound(name)
    if len(matching) > 1:
        raise InvalidContainer(f"several containers have IDs that begin with {name}")
    return matching[0]


def remove_container(store: Store, name: str, *, force: bool = False) -> str:
    """Remove a container and its changes; gives its ID.

    `ContainerRunning` if it runs, unless forced: then it is killed.
    """
    container = find_container(store.root, name)
    path = os.path.join(containers_directory(store.root), container.id)
    if container.status == "running":
        if not force:
            raise ContainerRunning(container.id)
        _kill(container)
    _remove(store, container.id, path)
    return container.id


def sweep_containers(store: Store) -> None:
    """Remove what was to be removed at its end, but whose process was killed before that."""
    parent = containers_directory(store.root)
    for name in _names(parent):
        path = os.path.join(parent, name)
        container = _read(path)
        if container is not None and not container.remove:
            continue
        fd = _hold(path)
        if fd is None:
            continue
        try:
            with suppress(OSError):
                _remove(store, name, path)
        finally:
            os.close(fd)


def discard(store: Store, container_id: str) -> None:
    """Remove the directory of a container that this process holds."""
    _remove(store, container_id, os.path.join(containers_directory(store.root), container_id))


def _remove(store: Store, container_id: str, path: str) -> None:
    remove_tree(path)
    store.release(container_id)


def _kill(container: Container) -> None:
    """End a container and the process that runs it, and wait until both are gone.

    The latter is always the user's own, while the container's may run as another ID of a
    namespace that this process is not in; it dies with it.
    """
    for identity in (container.owner, container.process):
        fd = _open_process(identity)
        if fd is None:
            continue
        try:
            with suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            if not poll.poll(_KILL_SECONDS * 1000):
                raise SetupFailed("kill the container", 0, "it does not end")
        finally:
            os.close(fd)


def _open_process(identity: ProcessIdentity | None) -> int | None:
    """A descriptor of exactly that process; `None` if it has ended."""
    if identity is None:
        return None
    try:
        fd = os.pidfd_open(identity.pid)
    except OSError:
        return None
    # Compared when the ID can no longer change hands.
    if identify(identity.pid) == identity:
        return fd
    os.close(fd)
    return None


def _read(path: str) -> Container | None:
    """What is recorded of a container; `None` if that is not (yet) a container."""
    try:
        with open(os.path.join(path, _STATE), encoding="utf-8") as file:
            document = json.load(file)
        container = Container(
            id=os.path.basename(path),
            image=document["image"],
            image_id=document["image_id"],
            command=tuple(document["command"]),
            created=document["created"],
            status=document["status"],
            process=_identity(document["process"]),
            owner=_identity(document["owner"]),
            exit_status=document["exit_status"],
            finished=document["finished"],
            remove=document["remove"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if container.status == "running" and not _is_alive(container.process):
        return replace(container, status="exited", process=None)
    return container


def _is_alive(identity: ProcessIdentity | None) -> bool:
    return identity is not None and identify(identity.pid) == identity


def _hold(path: str) -> int | None:
    """Lock a container's directory; `None` if somebody holds it, or it is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), os.lstat(path)):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _names(parent: str) -> list[str]:
    try:
        return os.listdir(parent)
    except FileNotFoundError:
        return []


def _start_time(pid: int) -> int | None:
    """When a process was started, in ticks since the boot (proc(5), stat, field 22)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    # A zombie has ended.
    return int(fields[19]) if fields[0] not in (b"Z", b"X") else None


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def _identity_document(identity: ProcessIdentity | None) -> dict[str, Any] | None:
    if identity is None:
        return None
    return {
        "pid": identity.pid,
        "start_time": identity.start_time,
        "boot_id": identity.boot_id,
    }


def _identity(document: Mapping[str, Any] | None) -> ProcessIdentity | None:
    return ProcessIdentity(**document) if document is not None else None


def _write_json(path: str, document: Mapping[str, Any]) -> None:
    aside = f"{path}.new"
    with open(aside, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1, sort_keys=True)
        file.write("\n")
    os.rename(aside, path)
