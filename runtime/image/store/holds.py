"""What this process uses, so that no other one removes it.

Every layer, blob and image has a byte of the store's lock file. Who uses one shares its byte from
before it looks whether the thing is there until it closes the store; who removes one has the byte
alone while it looks for references and takes the thing away. So what was found stays, and what is
being removed is not found, while all else can be removed at any time, whoever has the store open.

Nobody may wait for a byte inside a transaction: who has the byte alone may wait for that one.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from runtime.image.digest import DiffID, Digest
from runtime.image.store.locks import LockFile
from runtime.image.store.paths import use_lock

Name = Digest | DiffID


class Holds:
    """What one open store holds, for all threads of the process."""

    def __init__(self, file: LockFile) -> None:
        self._file = file
        self._held: set[Name] = set()
        self._guard = threading.Lock()

    def hold(self, *names: Name) -> None:
        """Keep others from removing these from now on; waits while somebody is just at it."""
        for name in names:
            if name not in self._held:
                self._file.share(use_lock(name))
                with self._guard:
                    self._held.add(name)

    @contextmanager
    def taking(self, names: Iterable[Name]) -> Iterator[Collection[Name]]:
        """Have those of the names alone that no other process holds; what we held is held after.

        What this process itself uses is no obstacle: its other threads must not use the store.
        """
        taken: list[Name] = []
        try:
            for name in names:
                if self._file.try_take(use_lock(name)):
                    taken.append(name)
            yield taken
        finally:
            for name in taken:
                if name in self._held:
                    self._file.share(use_lock(name))
                else:
                    self._file.let_go(use_lock(name))
