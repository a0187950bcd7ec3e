"""What a file's bytes are, without reading it twice.

Files of the context are known by SHA-256, remembered by their stamp (device, inode, size, times)
from build to build. As git's index does, a stamp is not trusted if the file could have changed
within the clock's grain of being read ("racy clean").

Files in the store are known by where they are: a layer's tree or tar never changes.
"""

from __future__ import annotations

import hashlib
import os
import time
from array import array

from builder.errors import ContextError
from builder.sources.context import Context, FileStamp
from builder.sources.trees import join
from runtime.image.layer.entry import Entry, FileSource, Kind

_GRAIN_NS = 50_000_000
"""How far behind a file's times may be: kernels take them from a clock that ticks (4-10 ms)."""
_DIGEST_SIZE = 32
_READ_SIZE = 1 << 20

Known = dict[bytes, tuple[FileStamp, bytes]]


class ContextFingerprints:
    """The digests of a context's files; `known` is what an earlier build remembered."""

    def __init__(self, context: Context, known: Known) -> None:
        self._context = context
        self._known = known
        self._seen: Known = {}
        self._started = time.time_ns() - _GRAIN_NS
        self.read = 0
        """How many files had to be read."""

    def digest(self, entry: Entry) -> bytes:
        """The SHA-256 of a regular file of the context; `ContextError` if it changes meanwhile."""
        assert isinstance(entry.content, FileSource)
        path = entry.content.path
        stamp = self._context.stamps[path]
        assert stamp is not None
        known = self._known.get(path)
        if known is not None and known[0] == stamp:
            self._seen[path] = known
            return known[1]
        digest = self._read(path, stamp)
        # The time at which reading began decides: a later change gives a later ctime.
        if max(stamp.mtime_ns, stamp.ctime_ns) < self._started:
            self._seen[path] = (stamp, digest)
        return digest

    def _read(self, path: bytes, stamp: FileStamp) -> bytes:
        self.read += 1
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            sha = hashlib.sha256()
            size = 0
            while data := os.read(fd, _READ_SIZE):
                sha.update(data)
                size += len(data)
        finally:
            os.close(fd)
        if size != stamp.size:
            raise ContextError(
                f"{os.fsdecode(path)} changed while it was read",
                hint="build again when nothing writes to the context",
            )
        return sha.digest()

    def changed(self) -> bool:
        """Whether there is anything to remember that was not known."""
        return self.read > 0 and bool(self._seen)

    def to_bytes(self) -> bytes:
        """What to remember: what was seen now, and what was known of other files."""
        return pack_known({**self._known, **self._seen})


def pack_known(known: Known) -> bytes:
    """Fingerprints as bytes: a count, the numbers, the digests, the names."""
    numbers = array("q")
    for stamp, _ in known.values():
        numbers.extend((stamp.device, stamp.inode, stamp.size, stamp.mtime_ns, stamp.ctime_ns))
    digests = b"".join(digest for _, digest in known.values())
    return array("q", [len(known)]).tobytes() + numbers.tobytes() + digests + b"\0".join(known)


def unpack_known(data: bytes) -> Known:
    """Read what `pack_known` wrote; anything else is as if nothing were known."""
    if len(data) < 8:
        return {}
    count = array("q", data[:8])[0]
    numbers_end = 8 + count * 5 * 8
    digests_end = numbers_end + count * _DIGEST_SIZE
    names = data[digests_end:].split(b"\0")
    if count <= 0 or len(data) < digests_end or len(names) != count:
        return {}
    numbers = array("q", data[8:numbers_end])
    return {
        name: (
            FileStamp(*numbers[5 * n : 5 * n + 5]),
            data[numbers_end + n * _DIGEST_SIZE : numbers_end + (n + 1) * _DIGEST_SIZE],
        )
        for n, name in enumerate(names)
    }


def source_digest(source: FileSource, size: int) -> bytes:
    """The SHA-256 of a file in the store."""
    fd = source.open()
    try:
        sha = hashlib.sha256()
        while size > 0 and (data := os.read(fd, min(size, _READ_SIZE))):
            sha.update(data)
            size -= len(data)
        return sha.digest()
    finally:
        os.close(fd)


def context_key(context: Context) -> str:
    """The name under which a context's fingerprints are remembered."""
    return hashlib.sha256(context.root).hexdigest()


def in_context(context: Context, entry: Entry) -> bool:
    """Whether an entry's content is a file of the context."""
    return (
        entry.kind is Kind.REGULAR
        and isinstance(entry.content, FileSource)
        and entry.content.path.startswith(join(context.root, b""))
        and entry.content.path in context.stamps
    )
