"""Blobs into the store's partial files: continued where they were cut off, checked at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from runtime.image.manifest import Descriptor
from runtime.image.registry.client import RepositoryClient
from runtime.image.registry.errors import (
    ONE_SERVERS_FAULT,
    InvalidAnswer,
    RegistryUnreachable,
)
from runtime.image.registry.transfer_events import (
    BlobArrived,
    BlobProgressed,
    BlobStarted,
    TransferNoticed,
)
from runtime.image.store.partial import PartialBlob

if TYPE_CHECKING:
    import httpx

_PROGRESS: Final = 1 << 20
"""Bytes: who has given so many since the last failure is asked again with new patience."""
_REPORT_EVERY: Final = 1 << 18


class WrongContent(InvalidAnswer):
    """All bytes are there, and they are not what their digest says."""


def download(clients: Sequence[RepositoryClient], blob: Descriptor, partial: PartialBlob) -> None:
    """Bring what is missing of a blob; the clients are asked in turn.

    Afterwards the partial file is the blob. `WrongContent` if it has the length, but not the
    digest; what is in the file then is of no use.
    """
    if partial.size > blob.size:
        raise WrongContent(clients[0].where, f"the blob {blob.digest} is longer than it may be")
    report = clients[0].session.report
    report(BlobStarted(digest=blob.digest, size=blob.size, done=partial.size))
    for client in clients[:-1]:
        try:
            _complete(client, blob, partial)
            break
        except ONE_SERVERS_FAULT as error:
            report(TransferNoticed(message=f"mirror passed over: {error.message}"))
    else:
        _complete(clients[-1], blob, partial)
    if partial.digest != blob.digest:
        raise WrongContent(clients[-1].where, f"the blob {blob.digest} came as {partial.digest}")
    report(BlobArrived(digest=blob.digest))


def _complete(client: RepositoryClient, blob: Descriptor, partial: PartialBlob) -> None:
    failures = 0
    while partial.size < blob.size:
        before = partial.size
        try:
            with client.open_blob(blob.digest, partial.size) as response:
                _receive(client, response, blob, partial)
            if partial.size < blob.size:
                missing = blob.size - partial.size
                raise RegistryUnreachable(client.where, f"{missing} bytes of a blob did not come")
        except RegistryUnreachable as error:
            failures = 1 if partial.size - before >= _PROGRESS else failures + 1
            client.session.wait_after(error, failures)


def _receive(
    client: RepositoryClient, response: httpx.Response, blob: Descriptor, partial: PartialBlob
) -> None:
    cancellation, report = client.session.cancellation, client.session.report
    # A server that does not know ranges sends what we have once more.
    known = partial.size if response.status_code == 200 else 0
    reported = partial.size
    for chunk in response.iter_raw():
        cancellation.check()
        if known:
            known, chunk = max(0, known - len(chunk)), chunk[known:]
        if partial.size + len(chunk) > blob.size:
            raise InvalidAnswer(
                client.where, f"the blob {blob.digest} is longer than its {blob.size} bytes"
            )
        partial.append(chunk)
        if partial.size - reported >= _REPORT_EVERY or partial.size == blob.size:
            reported = partial.size
            report(BlobProgressed(digest=blob.digest, done=reported))
