"""Files from servers, each kept in the store as a layer of one file.

A file that was downloaded before is asked for with what the server said of it (ETag,
Last-Modified); one whose checksum is given and known is not asked for at all. The layer is kept
by a record as every step's is, so it cannot go while a build uses it; if it is gone, the file is
downloaded again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from builder.cache.keys import Key, make_key
from builder.cache.layering import commit_entries
from builder.errors import RemoteError
from builder.plan.remote_names import RemoteFile
from builder.sources.certificates import trusting
from runtime.image.digest import DiffID
from runtime.image.layer.entry import Entry, FileSource, Kind
from runtime.image.new_file import write_all
from runtime.image.store.store import Store

if TYPE_CHECKING:
    import httpx

CONTENT: Final = b"content"
"""The file's path in its layer; what it is called elsewhere is the URL's business."""

_MEMO: Final = "http"
_MOST: Final = 32 << 30
_READ_SECONDS: Final = 60
_CONNECT_SECONDS: Final = 15
_ATTEMPTS: Final = 3
_MOST_REDIRECTS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What servers may ask for: secrets by name, certificates (PEM), an agent's socket."""

    secrets: Mapping[str, bytes] = field(default_factory=dict)
    authorities: bytes | None = None
    agent: str | None = None

    def authorization(self, url: str) -> str | None:
        """The Authorization header for a server, from the secrets that BuildKit knows it by."""
        parts = urlsplit(url)
        for host in (parts.netloc.rpartition("@")[2], parts.hostname or ""):
            if value := self.secrets.get(f"HTTP_AUTH_HEADER_{host}"):
                return value.decode("latin-1").strip()
            if value := self.secrets.get(f"HTTP_AUTH_TOKEN_{host}"):
                return "Bearer " + value.decode("latin-1").strip()
        return None


@dataclass(frozen=True, slots=True)
class _Known:
    """What a server said of a file when it was last downloaded."""

    digest: str
    etag: str | None
    modified: str | None


class Downloads:
    """Downloads into one store."""

    def __init__(self, store: Store, credentials: Credentials, *, most: int = _MOST) -> None:
        self._store = store
        self._credentials = credentials
        self._most = most

    def layer(self, file: RemoteFile) -> DiffID:
        """A layer that has the file as `CONTENT`; `RemoteError` if it cannot be had.

        It has the checksum that it must have.
        """
        if file.checksum is not None and (found := self._stored(file.checksum)) is not None:
            return found
        known = self._known(file.url)
        stored = None if known is None else self._stored(known.digest)
        with self._store.workspace() as workspace:
            path = os.path.join(workspace, "download")
            told = self._get(file, path, known if stored is not None else None)
            if told is None:
                assert known is not None
                assert stored is not None
                _check(file, known.digest)
                return stored
            _check(file, told.digest)
            diff_id = self._keep(path, told.digest)
        value = json.dumps([told.digest, told.etag, told.modified]).encode()
        self._store.put_memo(_MEMO, file.url, value)
        return diff_id

    # ---- what is known

    def _known(self, url: str) -> _Known | None:
        memo = self._store.get_memo(_MEMO, url)
        return None if memo is None else _Known(*json.loads(memo))

    def _stored(self, digest: str) -> DiffID | None:
        record = self._store.record(_key(digest).digest)
        return None if record is None else record.diff_id

    def _keep(self, path: str, digest: str) -> DiffID:
        size = os.stat(path).st_size
        entry = Entry(
            path=CONTENT,
            kind=Kind.REGULAR,
            mode=0o600,
            size=size,
            content=FileSource(os.fsencode(path)),
        )
        diff_id = commit_entries(self._store, [entry])
        key = _key(digest)
        self._store.put_record(key.digest, key.kind, key.components, diff_id)
        return diff_id

    # ---- asking a server

    def _get(self, file: RemoteFile, path: str, known: _Known | None) -> _Known | None:
        """Download to `path`; `None` if the server says that what is known is still so."""
        import httpx

        headers = {"Accept-Encoding": "identity", "User-Agent": "lamina"}
        if known is not None and known.etag:
            headers["If-None-Match"] = known.etag
        if known is not None and known.modified:
            headers["If-Modified-Since"] = known.modified
        if authorization := self._credentials.authorization(file.url):
            headers["Authorization"] = authorization
        attempt = 1
        while True:
            try:
                with (
                    httpx.Client(
                        verify=trusting(self._credentials.authorities),
                        timeout=httpx.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS),
                        follow_redirects=True,
                        max_redirects=_MOST_REDIRECTS,
                    ) as client,
                    client.stream("GET", file.url, headers=headers) as response,
                ):
                    return self._read(file, response, path, known)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if attempt == _ATTEMPTS:
                    raise RemoteError(f"cannot reach {file.shown()}: {error}") from error
                time.sleep(0.2 * attempt)
                attempt += 1
            except (ImportError, ValueError) as error:
                raise RemoteError(
                    f"cannot download {file.shown()}: the proxy of the environment cannot be used:"
                    f" {error}",
                    hint="http:// and https:// proxies can, and no_proxy leaves servers out",
                ) from error
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                what = str(error) or type(error).__name__
                raise RemoteError(f"cannot download {file.shown()}: {what}") from error

    def _read(
        self, file: RemoteFile, response: httpx.Response, path: str, known: _Known | None
    ) -> _Known | None:
        if response.status_code == 304 and known is not None:
            return None
        if response.status_code != 200:
            raise RemoteError(
                f"cannot download {file.shown()}: invalid response status"
                f" {response.status_code} {response.reason_phrase}".rstrip()
            )
        sha = hashlib.sha256()
        size = 0
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            for chunk in response.iter_raw(1 << 20):
                size += len(chunk)
                if size > self._most:
                    raise RemoteError(f"{file.shown()} is longer than {self._most} bytes")
                sha.update(chunk)
                write_all(fd, chunk)
        finally:
            os.close(fd)
        return _Known(
            "sha256:" + sha.hexdigest(),
            response.headers.get("ETag"),
            response.headers.get("Last-Modified"),
        )


def _key(digest: str) -> Key:
    return make_key("download", {"digest": digest})


def _check(file: RemoteFile, digest: str) -> None:
    if file.checksum is not None and file.checksum != digest:
        raise RemoteError(
            f"digest mismatch for {file.shown()}: expected {file.checksum}, got {digest}",
            hint="the file has changed, or --checksum is another file's",
        )
