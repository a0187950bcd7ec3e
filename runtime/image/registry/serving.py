"""A registry for reading: the pull half of the distribution specification, over HTTP/1.1.

Everybody who can connect may read every image that has a name. Whoever wants to write, or asks
for what is not there, gets the specification's errors (distribution-spec, "Error Codes").
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from runtime.image.digest import parse as parse_digest
from runtime.image.errors import ImageError, InvalidDigest, InvalidReference
from runtime.image.manifest import MEDIA_TYPE_INDEX, Index
from runtime.image.reference import Reference
from runtime.image.registry.catalog import BlobFile, Catalog
from runtime.image.store.remotes import StoredManifest

Log = Callable[[str], None]

_ROUTE = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|tags|referrers)/(?P<what>[^/]+)")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)
_IDLE_SECONDS: Final = 60
_AT_ONCE: Final = 64
_MOST_LISTED: Final = 10_000
_JSON: Final = "application/json"
_WRITING: Final = "this registry is for reading only"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: int
    body: bytes | BlobFile = b""
    media_type: str = _JSON
    headers: Mapping[str, str] = field(default_factory=dict)


class _Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        document = {"errors": [{"code": code, "message": message}]}
        self.answer = _Answer(status=status, body=json.dumps(document).encode())


class RegistryServer(ThreadingHTTPServer):
    """Serves a catalog at an address, from `serve_forever` to `shutdown`.

    `log` is told every request in a line. At most 64 connections are answered at once; others
    wait. `OSError` if the address cannot be had.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, catalog: Catalog, log: Log) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.catalog = catalog
        self.log = log
        self._free = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__((host, port), _Handler)

    @property
    def address(self) -> str:
        """Host and port as a reference begins with them."""
        host, port = self.server_address[:2]
        text = host.decode() if isinstance(host, bytes | bytearray) else str(host)
        return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"

    def process_request(self, request: Any, client_address: Any) -> None:
        self._free.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error; anything else ends its connection with a word."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            self.log(f"{client_address[0]} failed: {type(error).__name__}: {error}")


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS
    server: RegistryServer

    def version_string(self) -> str:
        return "lamina"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _refuse_writing(self) -> None:
        self.close_connection = True  # The request's body is not read.
        self._send(_Refused(405, "UNSUPPORTED", _WRITING).answer)

    do_POST = do_PUT = do_PATCH = do_DELETE = _refuse_writing

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Said when the answer has been sent, with its size."""

    def log_message(self, format: str, *args: Any) -> None:
        shown = (format % args).encode("ascii", "backslashreplace").decode()
        self.server.log(f"{self.client_address[0]} {shown}")

    def _answer(self) -> None:
        try:
            answer = self._found()
        except _Refused as error:
            answer = error.answer
        except ImageError as error:
            answer = _Refused(500, "UNKNOWN", error.message).answer
        self._send(answer)

    def _found(self) -> _Answer:
        parts = urlsplit(self.path)
        if parts.path in ("/v2", "/v2/"):
            return _Answer(status=200, body=b"{}")
        if parts.path == "/v2/_catalog":
            names = self.server.catalog.repositories()
            return _listing("repositories", names, {}, parts.path, parts.query)
        route = _ROUTE.fullmatch(parts.path)
        if route is None:
            raise _Refused(404, "UNSUPPORTED", "there is nothing here")
        repository = _repository(route["name"])
        match route["kind"]:
            case "manifests":
                return self._manifest(repository, route["what"])
            case "blobs":
                return self._blob(repository, route["what"])
            case "tags" if route["what"] == "list":
                tags = self.server.catalog.tags(repository)
                if not tags:
                    raise _Refused(404, "NAME_UNKNOWN", "there is no such repository")
                return _listing("tags", tags, {"name": route["name"]}, parts.path, parts.query)
            case "referrers":
                _digest(route["what"])
                return _Answer(
                    status=200, body=Index(manifests=()).to_bytes(), media_type=MEDIA_TYPE_INDEX
                )
            case _:
                raise _Refused(404, "UNSUPPORTED", "there is nothing here")

    def _manifest(self, repository: Reference, what: str) -> _Answer:
        manifest: StoredManifest | None
        if ":" in what:
            manifest = self.server.catalog.manifest(repository, _digest(what))
        else:
            try:
                name = Reference.parse(f"{repository.repository}:{what}")
            except InvalidReference as error:
                raise _Refused(400, "TAG_INVALID", error.message) from error
            manifest = self.server.catalog.tagged(name)
        if manifest is None:
            raise _Refused(404, "MANIFEST_UNKNOWN", "there is no such manifest")
        digest = manifest.digest
        return _Answer(
            status=200,
            body=manifest.document,
            media_type=manifest.media_type,
            headers={"Docker-Content-Digest": digest, "ETag": f'"{digest}"'},
        )

    def _blob(self, repository: Reference, what: str) -> _Answer:
        digest = _digest(what)
        body = self.server.catalog.blob(repository, digest)
        if body is None:
            raise _Refused(404, "BLOB_UNKNOWN", "there is no such blob")
        headers = {
            "Docker-Content-Digest": digest,
            "ETag": f'"{digest}"',
            "Accept-Ranges": "bytes",
        }
        return _Answer(
            status=200, body=body, media_type="application/octet-stream", headers=headers
        )

    # ---- sending

    def _send(self, answer: _Answer) -> None:
        body = answer.body
        if isinstance(body, BlobFile):
            try:
                self._send_file(answer, body)
            finally:
                os.close(body.fd)
            return
        self._head(answer, answer.status, len(body), {})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_file(self, answer: _Answer, body: BlobFile) -> None:
        try:
            span = _span(self.headers.get("Range"), body.size)
        except ValueError:
            self._head(answer, 416, 0, {"Content-Range": f"bytes */{body.size}"})
            return
        if span is None:
            start, end = 0, body.size
            self._head(answer, answer.status, body.size, {})
        else:
            start, end = span
            place = {"Content-Range": f"bytes {start}-{end - 1}/{body.size}"}
            self._head(answer, 206, end - start, place)
        if self.command != "HEAD" and end > start:
            self.wfile.flush()
            with open(body.fd, "rb", closefd=False) as file:
                sent = self.connection.sendfile(file, start, end - start)
            if sent != end - start:
                self.close_connection = True  # It is shorter than it was: the client will see.

    def _head(self, answer: _Answer, status: int, size: int, more: Mapping[str, str]) -> None:
        self.send_response(status)
        self.send_header("Docker-Distribution-API-Version", "registry/2.0")
        self.send_header("Content-Type", answer.media_type)
        self.send_header("Content-Length", str(size))
        for name, value in (*answer.headers.items(), *more.items()):
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.log_message('"%s" %s %s', self.requestline, status, size)


def _repository(name: str) -> Reference:
    try:
        parsed = Reference.parse(name)
    except InvalidReference as error:
        raise _Refused(400, "NAME_INVALID", error.message) from error
    if parsed.digest is not None or name.endswith(f":{parsed.tag}"):
        raise _Refused(400, "NAME_INVALID", "a repository has neither a tag nor a digest")
    return parsed


def _digest(text: str) -> Any:
    try:
        return parse_digest(text)
    except InvalidDigest as error:
        raise _Refused(400, "DIGEST_INVALID", error.message) from error


def _listing(
    key: str, names: tuple[str, ...], more: Mapping[str, str], path: str, query: str
) -> _Answer:
    """Names from after `last`, `n` at the most (distribution-spec, "Listing Tags")."""
    asked = parse_qs(query)
    last = asked.get("last", [""])[0]
    count = asked.get("n", [str(_MOST_LISTED)])[0]
    if not count.isascii() or not count.isdigit():
        raise _Refused(400, "PAGINATION_NUMBER_INVALID", "n is not a number")
    rest = [name for name in names if name > last]
    page = rest[: min(int(count), _MOST_LISTED)]
    headers = {}
    if page and len(page) < len(rest):
        headers["Link"] = f'<{path}?n={len(page)}&last={page[-1]}>; rel="next"'
    return _Answer(status=200, body=json.dumps({**more, key: page}).encode(), headers=headers)


def _span(header: str | None, size: int) -> tuple[int, int] | None:
    """What of a blob is asked for: first and end; `None` for all, or for what is not understood.

    `ValueError` if there is nothing of that (RFC 9110, 14.2).
    """
    match = _RANGE.fullmatch(header or "")
    if match is None or match[0] == "bytes=-" or len(match[0]) > 64:
        return None
    first, last = match[1], match[2]
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
    if last and first and int(last) < int(first):
        return None
    if start >= end:
        raise ValueError(header)
    return start, end
