"""Reading a container's log, which its monitor writes (`runtime.monitor.log`)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Self

from runtime.monitor import files

_BLOCK: Final = 1 << 16
_STEP: Final = 0.05


@dataclass(frozen=True, slots=True)
class Record:
    """A piece of output: when (RFC 3339 with nanoseconds), from which stream, and the bytes,
    with the end of the line if it has one."""

    time: str
    stream: str
    data: bytes


def read_log(
    folder: str,
    *,
    tail: int | None = None,
    since: str = "",
    until: str = "",
    follow: Callable[[], bool] | None = None,
) -> Iterator[Record]:
    """The records of a log, or the last `tail` of them, from and up to such times.

    With `follow` what comes is waited for, as long as that says that there may be more.
    """
    with _Reader(folder, tail) as reader:
        while True:
            # Asked before the last look: what was written until then is found by it.
            more = follow is not None and follow()
            found = False
            for line in reader.lines():
                found = True
                record = _parsed(line)
                if record is None or record.time < since:
                    continue
                if until and record.time > until:
                    return
                yield record
            if not more:
                return
            if until and until < _now():
                return
            if not found:
                time.sleep(_STEP)


def log_paths(folder: str) -> list[str]:
    """The files of a log, the oldest first."""
    path = os.path.join(folder, files.LOG)
    older: list[str] = []
    while os.path.exists(f"{path}.{len(older) + 1}"):
        older.append(f"{path}.{len(older) + 1}")
    return [*reversed(older), path]


class _Reader:
    """The lines of a log, whose files are replaced while they are read."""

    def __init__(self, folder: str, tail: int | None) -> None:
        self._folder = folder
        self._rest = b""
        self._fds = [fd for path in log_paths(folder) if (fd := _open(path)) is not None]
        if tail is not None:
            self._skip(tail)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._fds:
            os.close(fd)

    def lines(self) -> Iterator[bytes]:
        """All whole lines that have come since the last time."""
        while self._fds or self._look_for_more():
            data = os.read(self._fds[0], _BLOCK)
            if data:
                *lines, self._rest = (self._rest + data).split(b"\n")
                yield from lines
            elif len(self._fds) > 1:
                os.close(self._fds.pop(0))
                self._rest = b""
            elif not self._look_for_more():
                return

    def _look_for_more(self) -> bool:
        """Open the files that are newer than the last one we have, if there are any."""
        known = os.fstat(self._fds[-1]) if self._fds else None
        newer: list[int] = []
        for path in log_paths(self._folder):
            fd = _open(path)
            if fd is None:
                continue
            newer.append(fd)
            if known is not None and os.path.samestat(os.fstat(fd), known):
                for old in newer:
                    os.close(old)
                newer.clear()
        self._fds += newer
        # One more look at the old one: it may have grown before it was replaced.
        return bool(newer)

    def _skip(self, tail: int) -> None:
        """Go to the last `tail` lines."""
        for number in range(len(self._fds) - 1, -1, -1):
            fd = self._fds[number]
            start, found = _start_of_last(fd, tail)
            os.lseek(fd, start, os.SEEK_SET)
            tail -= found
            if tail <= 0:
                for older in self._fds[:number]:
                    os.close(older)
                del self._fds[:number]
                return


def _start_of_last(fd: int, count: int) -> tuple[int, int]:
    """Where the last `count` lines begin, and how many there are."""
    position = os.lseek(fd, 0, os.SEEK_END)
    if count <= 0:
        return position, 0
    found = -1  # the end of the last line is no beginning
    while position > 0:
        size = min(_BLOCK, position)
        position -= size
        block = os.pread(fd, size, position)
        end = len(block)
        while (end := block.rfind(b"\n", 0, end)) >= 0:
            found += 1
            if found == count:
                return position + end + 1, found
    return 0, found + 1


def _open(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def _parsed(line: bytes) -> Record | None:
    """A line of the log; `None` if it is damaged."""
    fields = line.split(b" ", 3)
    if len(fields) != 4 or fields[2] not in (b"F", b"P"):
        return None
    end = b"\n" if fields[2] == b"F" else b""
    try:
        return Record(fields[0].decode("ascii"), fields[1].decode("ascii"), fields[3] + end)
    except UnicodeDecodeError:
        return None


def _now() -> str:
    from runtime.monitor.times import rfc3339_nano

    return rfc3339_nano(time.time_ns())
