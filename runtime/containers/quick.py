"""A container in the foreground by a remembered start, without asking image, layers or options.

What it does, in its order and with the same records and events, is what
`runtime.containers.foreground` does; a start that would need anything else is not remembered.
"""

from __future__ import annotations

import os
import time

from runtime.containers.starts import database_stamp, read_start, start_path
from runtime.image.store.locks import LockFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from runtime.containers.starts import Pairs, Start

_TOUCH_AFTER_SECONDS: Final = 60


class Wanted:
    """A container that is asked for: `key` says how, but for its name, words and variables."""

    __slots__ = ("command", "env", "key", "name")

    def __init__(self, key: str, name: str | None, command: tuple[str, ...], env: Pairs) -> None:
        self.key = key
        self.name = name
        self.command = command
        self.env = env


def run(root: str, wanted: Wanted) -> int | None:
    """Run a container to its end in the foreground; its exit status.

    `None` if there is no start to do it by: nothing has been done then. A `ContainerError` if
    it cannot be started.
    """
    root = os.path.abspath(root)
    containers = f"{root}/containers"
    start = read_start(containers, wanted.key)
    if start is None or not start.holds(root) or not start.argv(wanted.command):
        return None
    lock = LockFile(f"{root}/lock")
    try:
        for position in start.locks:
            lock.share(position)
        if start.database is None or start.database != database_stamp(root):
            from runtime.containers.confirming import confirm

            if not confirm(root, start):
                return None
        if not all(map(os.path.lexists, start.trees)):
            return None
        return _run(root, containers, start, wanted)
    finally:
        lock.close()


def _run(root: str, containers: str, start: Start, wanted: Wanted) -> int:
    from runtime.sandbox.privilege import acquire
    from runtime.sandbox.server import SandboxServer

    acquire()
    with SandboxServer() as sandbox:
        # While the server comes up.
        from runtime.containers.quick_made import run_made, sweep

        status = run_made(root, start, wanted, sandbox)
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
