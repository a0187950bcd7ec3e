"""Blobs to a registry: looked for first, taken from a neighbour if it may be, sent if it must.

One request sends a blob. After a failure the registry is asked how far it got, and gets the rest
(distribution-spec, "Pushing a blob in chunks"). One that has thrown away what it got, as some do,
gets everything again; one that refuses large requests gets smaller ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import quote

from runtime.image.manifest import Descriptor
from runtime.image.registry.client import RepositoryClient
from runtime.image.registry.errors import (
    InvalidAnswer,
    RegistryRefused,
    RegistryUnreachable,
    Unauthorized,
)
from runtime.image.registry.transfer_events import BlobArrived, BlobProgressed, BlobStarted

if TYPE_CHECKING:
    import httpx

_PIECES: Final = (64 << 20, 16 << 20, 4 << 20, 1 << 20)
"""Sizes of requests, tried in turn where larger ones are refused."""
_TOO_LARGE: Final = 413
_LOST: Final = frozenset((400, 404, 410, 416))
"""What registries answer for an upload that they know nothing of, or not as much as we think."""
_MOST_RESTARTS: Final = 2
_PROGRESS: Final = 1 << 20
_RANGE: Final = re.compile(r"(?:bytes=)?0-(\d+)", re.ASCII)
_EMPTY: Final = "0-0"
_OCTETS: Final = {"Content-Type": "application/octet-stream"}

Content = Callable[[int, int], Iterator[bytes]]
"""The blob's bytes from one position to another."""


@dataclass(slots=True)
class Upload:
    """An upload that has begun: where it goes on, and how far it is."""

    location: str
    offset: int = 0


@dataclass(slots=True)
class Remembered:
    """Where an upload was left by a process before this one, and how to note where this one is."""

    location: str = ""
    note: Callable[[str], None] = field(default=lambda _location: None)


def upload(
    client: RepositoryClient,
    blob: Descriptor,
    content: Content,
    *,
    neighbours: Sequence[str] = (),
    remembered: Remembered,
) -> Literal["exists", "mounted", "sent"]:
    """See to it that the registry has a blob.

    `neighbours` are paths of repositories at the same registry that may have it. The registry
    checks the digest; it does not keep what is something else.
    """
    if client.has_blob(blob.digest):
        return "exists"
    for neighbour in neighbours:
        if mount(client, blob, neighbour):
            return "mounted"
    _Sender(client, blob, content, remembered).send()
    return "sent"


def mount(client: RepositoryClient, blob: Descriptor, neighbour: str) -> bool:
    """Take a blob over from another repository of the registry, if that lets us."""
    return client.session.retried(lambda: _mount(client, blob, neighbour))


def _mount(client: RepositoryClient, blob: Descriptor, neighbour: str) -> bool:
    path = f"{_uploads(client)}?mount={quote(blob.digest)}&from={quote(neighbour, safe='')}"
    try:
        with client.request(
            "POST",
            path,
            push=True,
            mount_from=neighbour,
            headers={"Content-Length": "0"},
            expected=(201, 202),
        ) as response:
            mounted: bool = response.status_code == 201
            location = response.headers.get("Location", "")
        if not mounted and location:
            _give_up(client, location)
    except (Unauthorized, RegistryRefused):
        return False
    return mounted


def _give_up(client: RepositoryClient, location: str) -> None:
    """End an upload that was not asked for: what the registry makes of it is its business."""
    try:
        with client.request("DELETE", location, push=True, expected=(204, 202, 200)):
            pass
    except (RegistryRefused, RegistryUnreachable):
        return


class _Sender:
    """One blob on its way, however many requests that takes."""

    def __init__(
        self,
        client: RepositoryClient,
        blob: Descriptor,
        content: Content,
        remembered: Remembered,
    ) -> None:
        self._client = client
        self._blob = blob
        self._content = content
        self._remembered = remembered
        self._piece: int | None = None
        self._restarts = 0
        self._sent = 0

    def send(self) -> None:
        session = self._client.session
        failures, tried = 0, False
        upload = self._resumed()
        session.report(
            BlobStarted(
                digest=self._blob.digest,
                size=self._blob.size,
                done=0 if upload is None else upload.offset,
            )
        )
        while True:
            before = self._sent
            try:
                if upload is None:
                    if tried and self._client.has_blob(self._blob.digest):
                        break  # It was only the answer that did not come.
                    upload = self._begin()
                tried = True
                self._advance(upload)
                break
            except RegistryUnreachable as error:
                failures = 1 if self._sent - before >= _PROGRESS else failures + 1
                session.wait_after(error, failures)
                upload = None if upload is None else self._status(upload.location)
            except RegistryRefused as error:
                self._settle(error)
                upload = None
        self._remembered.note("")
        session.report(BlobArrived(digest=self._blob.digest))

    def _settle(self, error: RegistryRefused) -> None:
        """Decide what is done about a refusal; the error itself if nothing is."""
        if error.status == _TOO_LARGE:
            smaller = [size for size in _PIECES if size < (self._piece or self._blob.size)]
            if not smaller:
                raise error
            self._piece = smaller[0]
        elif error.status in _LOST and self._restarts < _MOST_RESTARTS:
            self._restarts += 1
        else:
            raise error

    # ---- requests

    def _begin(self) -> Upload:
        with self._client.request(
            "POST",
            _uploads(self._client),
            push=True,
            headers={"Content-Length": "0"},
            expected=(202,),
        ) as response:
            upload = Upload(self._location(response))
        self._remembered.note(upload.location)
        return upload

    def _advance(self, upload: Upload) -> None:
        """Send what is missing, and say that it is all."""
        size = self._blob.size
        if upload.offset == 0 and (self._piece is None or self._piece >= size):
            self._finish(upload, 0)
            return
        while upload.offset < size:
            end = size if self._piece is None else min(size, upload.offset + self._piece)
            headers = {
                **_OCTETS,
                "Content-Length": str(end - upload.offset),
                "Content-Range": f"{upload.offset}-{end - 1}",
            }
            with self._client.request(
                "PATCH",
                upload.location,
                push=True,
                headers=headers,
                content=lambda end=end: self._pieces(upload.offset, end),  # type: ignore[misc]
                expected=(202, 204, 201),
            ) as response:
                upload.location = self._location(response)
                if _received(response, end) != end:
                    raise InvalidAnswer(self._client.where, "it lost a part of an upload")
            upload.offset = end
            self._remembered.note(upload.location)
        self._finish(upload, size)

    def _finish(self, upload: Upload, start: int) -> None:
        separator = "&" if "?" in upload.location else "?"
        with self._client.request(
            "PUT",
            f"{upload.location}{separator}digest={quote(self._blob.digest)}",
            push=True,
            headers={**_OCTETS, "Content-Length": str(self._blob.size - start)},
            content=lambda: self._pieces(start, self._blob.size),
            expected=(201, 204),
        ):
            pass

    def _status(self, location: str) -> Upload | None:
        """How far an upload is, if the registry still knows it."""
        try:
            with self._client.request("GET", location, push=True, expected=(204, 200)) as response:
                offset = _received(response, 0)
                if not 0 <= offset <= self._blob.size:
                    return None
                return Upload(self._location(response, location), offset)
        except (RegistryRefused, RegistryUnreachable):
            return None

    def _resumed(self) -> Upload | None:
        return self._status(self._remembered.location) if self._remembered.location else None

    def _location(self, response: httpx.Response, otherwise: str = "") -> str:
        location = response.headers.get("Location") or otherwise
        if not location:
            raise InvalidAnswer(self._client.where, "it does not say where an upload goes")
        return self._client.resolve(location)

    def _pieces(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes, reported as they go."""
        session, position = self._client.session, start
        for piece in self._content(start, end):
            session.cancellation.check()
            yield piece
            position += len(piece)
            self._sent += len(piece)
            session.report(BlobProgressed(digest=self._blob.digest, done=position))


def _uploads(client: RepositoryClient) -> str:
    return f"{client.endpoint.path}/blobs/uploads/"


def _received(response: httpx.Response, otherwise: int) -> int:
    """How many bytes an upload has, by its Range header."""
    told: str = response.headers.get("Range", "").strip()
    if not told:
        return otherwise
    found = _RANGE.fullmatch(told)
    if found is None:
        return -1
    return 0 if told == _EMPTY else int(found[1]) + 1
