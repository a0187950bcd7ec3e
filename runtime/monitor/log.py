"""A container's log, as its monitor writes it.

The format is that of the Kubernetes CRI (and podman's `k8s-file`): a line each for a line of
output, with its time and stream, and `F`; or `P` for a piece of a line that has no end yet.

    2026-01-02T03:04:05.000000006Z stdout F hello

Bytes are kept as they are. A line longer than 16 KiB comes in pieces, as docker's do.
"""

from __future__ import annotations

import os
import time

from runtime.monitor.times import rfc3339_nano

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST = 16 << 10
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class LogWriter:
    """Appends to a log; a full one becomes `PATH.1`, that one `PATH.2`, and so on.

    Without `max_size` (bytes) it grows as long as the disk lets it. There are at most
    `max_files` files. What cannot be written is counted, and said in the log when it can.
    """

    def __init__(self, path: str, max_size: int | None, max_files: int) -> None:
        self._path = path
        self._max_size = max_size
        self._max_files = max(1, max_files)
        self._unfinished: dict[bytes, bytes] = {}
        self._lost = 0
        self._fd = os.open(path, _FLAGS, 0o600)
        self._size = os.fstat(self._fd).st_size

    def write(self, stream: bytes, data: bytes) -> None:
        """Take output of a stream (`stdout` or `stderr`): whole lines are written at once."""
        head = b"%s %s " % (rfc3339_nano(time.time_ns()).encode(), stream)
        data = self._unfinished.pop(stream, b"") + data
        lines, newline, rest = data.rpartition(b"\n")
        records = b""
        if newline:
            if len(lines) <= _LONGEST:
                records = head + b"F " + lines.replace(b"\n", b"\n" + head + b"F ") + b"\n"
            else:
                records = b"".join(_pieces(head, line, b"F ") for line in lines.split(b"\n"))
        while len(rest) >= _LONGEST:
            records += head + b"P " + rest[:_LONGEST] + b"\n"
            rest = rest[_LONGEST:]
        if rest:
            self._unfinished[stream] = rest
        self._append(records)

    def finish(self) -> None:
        """Write what has no end of line, when there will be no more."""
        now = rfc3339_nano(time.time_ns()).encode()
        for stream, rest in self._unfinished.items():
            self._append(b"%s %s P %s\n" % (now, stream, rest))
        self._unfinished.clear()

    def close(self) -> None:
        self.finish()
        os.close(self._fd)

    def _append(self, records: bytes) -> None:
        if not records:
            return
        try:
            if self._lost:
                self._put(self._confession())
                self._lost = 0
            if self._max_size is not None:
                for record in _cut(records, self._max_size):
                    if self._size and self._size + len(record) > self._max_size:
                        self._rotate()
                    self._put(record)
            else:
                self._put(records)
        except OSError:
            # A full disk must end neither the container nor the monitor.
            self._lost += len(records)

    def _confession(self) -> bytes:
        now = rfc3339_nano(time.time_ns()).encode()
        return b"%s stderr F lamina: %d bytes of the log could not be written\n" % (now, self._lost)

    def _put(self, data: bytes) -> None:
        while data:
            count = os.write(self._fd, data)
            self._size += count
            data = data[count:]

    def _rotate(self) -> None:
        for number in range(self._max_files - 1, 0, -1):
            older = f"{self._path}.{number}"
            newer = f"{self._path}.{number - 1}" if number > 1 else self._path
            try:
                os.rename(newer, older)
            except FileNotFoundError:
                continue
        if self._max_files == 1:
            os.unlink(self._path)
        fd = os.open(self._path, _FLAGS, 0o600)
        os.close(self._fd)
        self._fd = fd
        self._size = 0


def _pieces(head: bytes, line: bytes, end: bytes) -> bytes:
    records = b""
    while len(line) > _LONGEST:
        records += head + b"P " + line[:_LONGEST] + b"\n"
        line = line[_LONGEST:]
    return records + head + end + line + b"\n"


def _cut(records: bytes, size: int) -> Iterator[bytes]:
    """Parts of whole records, each of about a quarter of the size or less."""
    size = max(size // 4, 1)
    start = 0
    while len(records) - start > size:
        end = records.rfind(b"\n", start, start + size) + 1 or records.find(b"\n", start) + 1
        yield records[start:end]
        start = end
    if start < len(records):
        yield records[start:]
