"""Private directories for work in progress, which nothing outlives.

A workspace is a directory under the store's `work`, held by an flock on itself. What is finished
is renamed out of it. If its process is killed, the kernel frees the lock, and the next process
that opens the store removes the directory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from runtime.image.store.directory_lock import try_lock_directory
from runtime.image.store.remove import remove_tree


class Workspace:
    """One directory of ours alone, until `close` or the end of the process."""

    def __init__(self, work: str) -> None:
        while True:
            path = os.path.join(work, f"{os.getpid()}-{os.urandom(6).hex()}")
            os.mkdir(path, 0o700)
            fd = try_lock_directory(path)
            if fd is not None:
                break
            # A sweep took it for litter before we could lock it.
        self.path = path
        self._fd = fd
        self._files = 0

    def new_name(self) -> str:
        """A path in it that does not exist yet. Safe to call from several threads."""
        self._files += 1
        return os.path.join(self.path, f"{self._files}-{os.urandom(4).hex()}")

    def close(self, *, leave: bool = False) -> None:
        """Remove it, or with `leave` just what is in it, for the next sweep to find.

        What cannot be removed now is left to the next sweep, too.
        """
        try:
            with suppress(OSError):
                for name in os.listdir(self.path) if leave else ():
                    remove_tree(os.path.join(self.path, name))
                if not leave:
                    remove_tree(self.path)
        finally:
            os.close(self._fd)


@contextmanager
def workspace(work: str) -> Iterator[Workspace]:
    """A new workspace, removed afterwards."""
    space = Workspace(work)
    try:
        yield space
    finally:
        space.close()


def sweep(work: str, found_one: Callable[[], object]) -> bool:
    """Remove the workspaces of processes that are gone; whether there were any.

    `found_one` is called before the first is removed. What is not ours to remove, or has something
    mounted in it, stays for a later sweep.
    """
    found = False
    for name in os.listdir(work):
        path = os.path.join(work, name)
        try:
            fd = try_lock_directory(path)
            if fd is None:
                continue
            try:
                if not found:
                    with suppress(OSError):  # On a full disk there is only room once it is gone.
                        found_one()
                found = True
                remove_tree(path)
            finally:
                os.close(fd)
        except OSError:
            continue
    return found
