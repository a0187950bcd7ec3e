"""Blobs: files named after their SHA-256, and the rows that say what they are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO, Final

from runtime.image.digest import DiffID, Digest, sha256
from runtime.image.errors import BlobCorrupt, BlobMissing, StoreError
from runtime.image.store.database import Database
from runtime.image.store.holds import Holds
from runtime.image.store.paths import Paths

_CHUNK: Final = 1 << 20


class Blobs:
    """The blobs of a store. `new_name` gives paths for files in the making."""

    def __init__(
        self, paths: Paths, database: Database, holds: Holds, new_name: Callable[[], str]
    ) -> None:
        self._paths = paths
        self._database = database
        self._holds = holds
        self._new_name = new_name

    def path(self, digest: Digest) -> str:
        """Where a blob lies, or would lie."""
        return self._paths.blob(digest)

    def put(self, data: bytes, media_type: str) -> Digest:
        """Store some bytes. On return they are there under their digest, whoever put them."""
        digest = sha256(data)
        path = self._new_name()
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file:
                file.write(data)
            self.publish(path, digest, len(data), media_type=media_type)
        except BaseException:
            unlink_if_there(path)
            raise
        return digest

    def publish(
        self,
        path: str,
        digest: Digest,
        size: int,
        *,
        media_type: str,
        diff_id: DiffID | None = None,
        compressor: str = "",
    ) -> None:
        """Move a finished file in. The caller has computed the digest; the file is gone after."""
        self._holds.hold(digest, *([] if diff_id is None else [diff_id]))
        target = self.path(digest)
        if _size(target) == size and self._has_row(digest):
            os.unlink(path)
        else:
            os.chmod(path, 0o444)
            os.rename(path, target)
        self._database.execute(
            "INSERT INTO blobs (digest, size, diff_id, compressor, media_type)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET"
            " diff_id = coalesce(diff_id, excluded.diff_id)",
            (digest, size, diff_id, compressor, media_type),
        )

    def has(self, digest: Digest, size: int) -> bool:
        """Whether a blob is there in its full length, which a row says.

        After a power failure it may be shorter: file systems grow a file once its data are down.
        """
        return _size(self.path(digest)) == size

    def read(self, digest: Digest, limit: int) -> bytes:
        """A blob's bytes, which are what the digest says.

        `BlobMissing`, `BlobCorrupt`, and `StoreError` for one longer than `limit`.
        """
        with self._open(digest) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise StoreError(f"blob {digest} is longer than the {limit} bytes it may have")
        actual = sha256(data)
        if actual != digest:
            raise BlobCorrupt(digest, actual)
        return data

    def copy(self, digest: Digest, size: int, write: Callable[[bytes], object]) -> None:
        """Give a blob's bytes to `write`, piece by piece.

        `BlobCorrupt` at the end, if they were not what the digest says: what was written is then
        to be thrown away.
        """
        hasher = hashlib.sha256()
        with self._open(digest) as file:
            left = size
            while left:
                piece = file.read(min(left, _CHUNK))
                if not piece:
                    break
                hasher.update(piece)
                write(piece)
                left -= len(piece)
        actual = "sha256:" + hasher.hexdigest()
        if actual != digest:
            raise BlobCorrupt(digest, actual)

    def _has_row(self, digest: Digest) -> bool:
        return self._database.row("SELECT 1 FROM blobs WHERE digest = ?", (digest,)) is not None

    def _open(self, digest: Digest) -> BinaryIO:
        self._holds.hold(digest)
        try:
            return open(self.path(digest), "rb")
        except FileNotFoundError:
            raise BlobMissing(digest) from None


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return -1


def unlink_if_there(path: str) -> None:
    """Remove a file; nothing there is fine."""
    with suppress(FileNotFoundError):
        os.unlink(path)
