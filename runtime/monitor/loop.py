"""Waiting for descriptors and times, in one thread."""

from __future__ import annotations

import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ = select.POLLIN
WRITE = select.POLLOUT


class Loop:
    """Calls what is to be called when a descriptor is ready, or a time has come."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._watched: dict[int, tuple[int, Callable[[int], object]]] = {}
        self._timers: dict[int, tuple[float, Callable[[], None]]] = {}
        self._next = 0

    def watch(self, fd: int, events: int, ready: Callable[[int], object]) -> None:
        """Call `ready` with what a descriptor is ready for; `events` 0 means only its end."""
        known = self._watched.get(fd)
        if known is None or known[0] != events:
            self._poll.register(fd, events)
        self._watched[fd] = events, ready

    def forget(self, fd: int) -> None:
        """No longer watch a descriptor; to be said before it is closed."""
        if self._watched.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def after(self, seconds: float, due: Callable[[], None]) -> int:
        """Call `due` once, not before so many seconds are over; gives a number for `cancel`."""
        self._next += 1
        self._timers[self._next] = time.monotonic() + seconds, due
        return self._next

    def cancel(self, timer: int | None) -> None:
        """Let it be, if it is still to come."""
        if timer is not None:
            self._timers.pop(timer, None)

    def step(self) -> None:
        """Wait for something, and do all there is to do about it."""
        now = time.monotonic()
        first = min((due for due, _ in self._timers.values()), default=None)
        wait = None if first is None else max(0.0, first - now) * 1000 + 1
        ready = [(fd, events, self._watched.get(fd)) for fd, events in self._poll.poll(wait)]
        for fd, events, watched in ready:
            # What is done for one may be the end of another, and its number be given again.
            if watched is not None and self._watched.get(fd) is watched:
                watched[1](events)
        now = time.monotonic()
        for number in [n for n, (due, _) in self._timers.items() if due <= now]:
            timer = self._timers.pop(number, None)
            if timer is not None:
                timer[1]()
