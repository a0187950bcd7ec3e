"""What steps leave to be undone, undone in the background."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Self


class Leftovers:
    """Closes exit stacks in a thread; at its end all are closed, and failures are raised."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="leftovers")
        self._waiting: list[Future[None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown()
        for future in self._waiting:
            failure = future.exception()
            if failure is not None and kind is None:
                raise failure

    def undo(self, stack: ExitStack) -> None:
        """Close a stack soon."""
        self._waiting.append(self._pool.submit(stack.close))
