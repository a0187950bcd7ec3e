"""A container in the foreground by a remembered start, without asking image, layers or options.

What it does, in its order and with the same records and events, is what
`runtime.containers.foreground` does; a start that would need anything else is not remembered.
"""

from __future__ import annotations

import os
import time

from runtime.containers.wanted import start_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from runtime.containers.starts import Start
    from runtime.containers.wanted import Wanted
    from runtime.image.store.locks import LockFile
    from runtime.sandbox.server import SandboxServer

_TOUCH_AFTER_SECONDS: Final = 60


def run(root: str, wanted: Wanted) -> int | None:
    """Run a container to its end in the foreground; its exit status.

    `None` if there is no start to do it by: nothing has been done then. A `ContainerError` if
    it cannot be started.
    """
    root = os.path.abspath(root)
    containers = f"{root}/containers"
    if not os.path.exists(start_path(containers, wanted.key)):
        return None
    sandbox = None
    if os.geteuid() == 0:
        # It takes longest, and root stays who it is if nothing comes of it.
        sandbox = _started()
    try:
        with Held(root, wanted) as start:
            if start is None:
                return None
            sandbox = sandbox or _started()
            _check_owners(root)
            return _run(root, containers, start, wanted, sandbox)
    finally:
        if sandbox is not None:
            sandbox.close()


class Held:
    """The start that is asked for, if there is one that holds; then its layers stay, too."""

    def __init__(self, root: str, wanted: Wanted) -> None:
        self._root = root
        self._wanted = wanted
        self._lock: LockFile | None = None

    def __enter__(self) -> Start | None:
        from runtime.containers.starts import database_stamp, read_start

        start = read_start(f"{self._root}/containers", self._wanted.key)
        if start is None or not start.holds(self._root) or not start.argv(self._wanted.command):
            return None
        from runtime.image.store.locks import LockFile

        self._lock = LockFile(f"{self._root}/lock")
        for position in start.locks:
            self._lock.share(position)
        if start.database is None or start.database != database_stamp(self._root):
            from runtime.containers.confirming import confirm

            if not confirm(self._root, start):
                return None
        return start if all(map(os.path.lexists, start.trees)) else None

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()


def _started() -> SandboxServer:
    from runtime.sandbox.privilege import acquire
    from runtime.sandbox.server import SandboxServer

    acquire()
    return SandboxServer()


def _check_owners(root: str) -> None:
    """`StoreError` if the store was made by somebody with another number of IDs."""
    from runtime.owner_record import has_one_id

    with open(f"{root}/version", "rb") as file:
        recorded = b'"recorded"' in file.read(1024)
    if recorded != has_one_id():
        from runtime.image.layer.owners import owners_here
        from runtime.image.store.store import open_store

        with open_store(root, owners_here()):
            pass


def _run(root: str, containers: str, start: Start, wanted: Wanted, sandbox: SandboxServer) -> int:
    from runtime.containers.quick_made import run_made, sweep

    status = run_made(root, start, wanted, sandbox)
    sandbox.close()
    _note_use(root, start_path(containers, start.key), start)
    sweep(root, containers)
    return status


def _note_use(root: str, path: str, start: Start) -> None:
    """Have the image marked as used, if that was not done just now."""
    try:
        age = time.time() - os.stat(path).st_mtime
    except FileNotFoundError:
        return  # It was one start too many; the next run remembers it again.
    if abs(age) > _TOUCH_AFTER_SECONDS:
        from runtime.containers.confirming import confirm

        confirm(root, start, touch=True)
