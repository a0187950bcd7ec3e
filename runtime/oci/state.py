"""What is kept of bundles' containers: a folder each, below a root.

state.json   who its first process is, its bundle, and what its end needs
start        a socket at which the first process waits, until it is started
lock         held by who changes it
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from runtime.errors import ContainerError
from runtime.monitor.identity import ProcessIdentity, is_alive
from runtime.oci.config import VERSION

Status = Literal["creating", "created", "running", "stopped"]

_NAME: Final = re.compile(r"[A-Za-z0-9_.+-]{1,1024}")
_STATE: Final = "state.json"
_START: Final = "start"
_LOCK: Final = "lock"


class LifecycleError(ContainerError):
    """A container is not in the state for what was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundled:
    """A container of a bundle.

    process   its first process; `None` while it is made
    order     what further processes of it are to be like, as `marshal` and JSON know it
    cgroups   the directories made for it
    hooks     those that are still to be run, by their names
    """

    id: str
    bundle: str
    folder: str
    process: ProcessIdentity | None = None
    command: str = ""
    annotations: dict[str, str] = field(default_factory=dict)
    cgroups: tuple[str, ...] = ()
    hooks: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> Status:
        """What is true of it now."""
        if self.process is None:
            return "creating"
        if not is_alive(self.process):
            return "stopped"
        return "created" if os.path.exists(self.start_path) else "running"

    @property
    def start_path(self) -> str:
        return os.path.join(self.folder, _START)

    def document(self, status: Status | None = None) -> dict[str, Any]:
        """Its state as the specification has it."""
        status = status or self.status
        pid = self.process.pid if self.process is not None and status != "stopped" else 0
        return {
            "ociVersion": VERSION,
            "id": self.id,
            "status": status,
            "pid": pid,
            "bundle": self.bundle,
            "annotations": self.annotations,
        }


def default_state_root() -> str:
    """Where containers of bundles are kept: it need not survive the machine."""
    run = os.environ.get("XDG_RUNTIME_DIR")
    if os.getuid() != 0 and run:
        return os.path.join(run, "lamina", "oci")
    return "/run/lamina/oci"


def check_id(container_id: str) -> str:
    """An ID that can be a folder's name; `LifecycleError`."""
    if not _NAME.fullmatch(container_id) or container_id in (".", ".."):
        raise LifecycleError(
            f"invalid container ID {container_id!r}", hint="letters, digits and any of _ . + -"
        )
    return container_id


@contextmanager
def new_container(root: str, container_id: str, bundle: str) -> Iterator[Bundled]:
    """A container's folder, which goes away if the block ends with an error."""
    os.makedirs(root, mode=0o700, exist_ok=True)
    folder = os.path.join(root, check_id(container_id))
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        raise LifecycleError(
            f"container {container_id} already exists", hint=f"delete it, or look at {folder}"
        ) from None
    container = Bundled(id=container_id, bundle=bundle, folder=folder)
    try:
        with _locked(folder):
            write(container)
            yield container
    except BaseException:
        forget(container)
        raise


@contextmanager
def held(root: str, container_id: str) -> Iterator[Bundled]:
    """A container that nobody else changes until the end of the block; `LifecycleError`."""
    read(root, container_id)
    with _locked(os.path.join(root, container_id)):
        yield read(root, container_id)


def read(root: str, container_id: str) -> Bundled:
    """A container as it is recorded; `LifecycleError` if there is none."""
    folder = os.path.join(root, check_id(container_id))
    try:
        with open(os.path.join(folder, _STATE), encoding="utf-8") as file:
            document = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        raise LifecycleError(f"container {container_id} does not exist") from None
    except ValueError as error:
        raise LifecycleError(f"{folder}/{_STATE} cannot be read: {error}") from error
    process = document["process"]
    return Bundled(
        id=document["id"],
        bundle=document["bundle"],
        folder=folder,
        process=ProcessIdentity(**process) if process is not None else None,
        command=document["command"],
        annotations=document["annotations"],
        cgroups=tuple(document["cgroups"]),
        hooks=document["hooks"],
        defaults=document["defaults"],
    )


def write(container: Bundled) -> None:
    """Record a container, all of it or nothing."""
    document = {
        "id": container.id,
        "bundle": container.bundle,
        "process": container.process.to_document() if container.process is not None else None,
        "command": container.command,
        "annotations": container.annotations,
        "cgroups": container.cgroups,
        "hooks": container.hooks,
        "defaults": container.defaults,
    }
    path = os.path.join(container.folder, _STATE)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(document, file)
    os.rename(f"{path}.new", path)


def names(root: str) -> list[str]:
    """The IDs of all containers there are."""
    try:
        return sorted(name for name in os.listdir(root) if _NAME.fullmatch(name))
    except FileNotFoundError:
        return []


def forget(container: Bundled) -> None:
    """Remove a container's folder."""
    for name in (_START, f"{_STATE}.new", _STATE, _LOCK):
        try:
            os.unlink(os.path.join(container.folder, name))
        except FileNotFoundError:
            continue
    os.rmdir(container.folder)


def listen(container: Bundled) -> socket.socket:
    """The socket at which the container waits to be started."""
    folder = os.open(container.folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # A path of any length, where an address has room for 107 bytes.
        listening.bind(f"/proc/self/fd/{folder}/{_START}")
        listening.listen(1)
        return listening
    finally:
        os.close(folder)


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    try:
        fd = os.open(os.path.join(folder, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise LifecycleError(f"container {os.path.basename(folder)} does not exist") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
