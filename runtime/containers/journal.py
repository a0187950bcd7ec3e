"""Reading the journal of events, and waiting for more of them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any, Final

from runtime.monitor.events import JOURNAL

_BLOCK: Final = 1 << 16
_STEP: Final = 0.05
Event = dict[str, Any]


def read_events(folder: str, *, since_ns: int | None, until_ns: int | None) -> Iterator[Event]:
    """Events of a folder of containers, as they come; times in nanoseconds since 1970.

    Without `since_ns` those that happen from now on, without `until_ns` for ever.
    """
    path = os.path.join(folder, JOURNAL)
    fds = [fd for name in (f"{path}.1", path) if (fd := _open(name)) is not None]
    if since_ns is None:
        for fd in fds:
            os.lseek(fd, 0, os.SEEK_END)
    reader = _Reader(path, fds)
    try:
        while True:
            over = until_ns is not None and time.time_ns() >= until_ns
            for line in reader.lines():
                event = _parsed(line)
                if event is None or (since_ns is not None and event["timeNano"] < since_ns):
                    continue
                if until_ns is not None and event["timeNano"] > until_ns:
                    return
                yield event
            if over:
                return
            time.sleep(_STEP)
    finally:
        reader.close()


class _Reader:
    """The lines of files, the oldest first, of which the last may be replaced by a newer one."""

    def __init__(self, path: str, fds: list[int]) -> None:
        self._path = path
        self._fds = fds
        self._rest = b""

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)

    def lines(self) -> Iterator[bytes]:
        """All whole lines that have come since the last time."""
        while True:
            # Looked for first: what is replaced is not written any more.
            newer = self._newer()
            while self._fds:
                if data := os.read(self._fds[0], _BLOCK):
                    *lines, self._rest = (self._rest + data).split(b"\n")
                    yield from lines
                elif len(self._fds) > 1 or newer is not None:
                    os.close(self._fds.pop(0))
                    self._rest = b""
                else:
                    break
            if newer is None:
                return
            self._fds.append(newer)

    def _newer(self) -> int | None:
        """The journal, opened, if it is not the last file we have."""
        fd = _open(self._path)
        if fd is None or not self._fds:
            return fd
        if os.path.samestat(os.fstat(fd), os.fstat(self._fds[-1])):
            os.close(fd)
            return None
        return fd


def _open(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def _parsed(line: bytes) -> Event | None:
    """An event; `None` for a line that is damaged."""
    try:
        event = json.loads(line)
        event["Actor"]["Attributes"].items()
        int(event["timeNano"])
        str(event["Type"]) + str(event["Action"]) + str(event["Actor"]["ID"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return dict(event)
