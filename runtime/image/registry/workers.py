"""Several transfers at once, in threads that can be left behind.

A thread may wait where nothing can wake it (for a name to be resolved, say). So they are daemons:
who waits for them is not kept longer than `_GRACE_SECONDS` once things have been cancelled. What
they come back to then is a check that ends them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from runtime.image.registry.cancellation import Cancellation

_GRACE_SECONDS: Final = 3.0


def run_all(tasks: Sequence[Callable[[], None]], at_once: int, cancellation: Cancellation) -> None:
    """Do all tasks, in their order as far as possible; the first error ends the others."""
    if len(tasks) == 1:
        tasks[0]()
        return
    waiting = list(reversed(tasks))
    lock = threading.Lock()
    errors: list[BaseException] = []

    def work() -> None:
        while True:
            with lock:
                if errors or not waiting:
                    return
                task = waiting.pop()
            try:
                task()
            except BaseException as error:
                with lock:
                    errors.append(error)
                cancellation.cancel()

    threads = [background(work) for _ in range(min(at_once, len(tasks)))]
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        cancellation.cancel()
        end = time.monotonic() + _GRACE_SECONDS
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        raise
    if errors:
        raise errors[0]


def background(work: Callable[[], None]) -> threading.Thread:
    """A thread at work, which the process does not wait for when it ends."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
