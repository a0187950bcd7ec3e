"""One repository at one registry: its manifests and blobs (OCI distribution-spec 1.1).

Authorization is sent to the registry itself and to nobody it redirects to.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from runtime.image.digest import Digest, sha256
from runtime.image.digest import parse as parse_digest
from runtime.image.errors import InvalidDigest
from runtime.image.registry.addresses import joined, origin, split_address
from runtime.image.registry.answers import refusal
from runtime.image.registry.challenge import parse_challenges
from runtime.image.registry.endpoints import Endpoint
from runtime.image.registry.errors import InvalidAnswer, NotFound
from runtime.image.registry.media_types import ACCEPT
from runtime.image.registry.session import Session
from runtime.image.registry.transport import read_bounded

if TYPE_CHECKING:
    import httpx

MANIFEST_LIMIT: Final = 4 << 20
"""Bytes; what registries accept at the most (distribution-spec, "Pushing Manifests")."""
_MOST_CHALLENGES: Final = 2
_MOST_REDIRECTS: Final = 10
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_KEEPING_METHOD: Final = frozenset((307, 308))

Content = Callable[[], Iterable[bytes]]
"""A request's body, which may have to be sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A manifest or an index as it came, and what it was said to be."""

    media_type: str
    data: bytes
    digest: Digest


class RepositoryClient:
    """Asks one registry about one repository; safe to share between threads."""

    def __init__(self, session: Session, endpoint: Endpoint) -> None:
        self.session = session
        self.endpoint = endpoint
        self.where = endpoint.repository

    # ---- manifests

    def manifest(self, name: str) -> Document:
        """The manifest or index of a tag or digest, in the bytes it came in; `NotFound`."""
        return self.session.retried(lambda: self._manifest(name))

    def _manifest(self, name: str) -> Document:
        path = self._path("manifests", name)
        with self.request("GET", path, headers={"Accept": ACCEPT}) as response:
            data = read_bounded(response, MANIFEST_LIMIT, self.where, f"the manifest {name}")
            media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        digest = sha256(data)
        if ":" in name and digest != name:
            raise InvalidAnswer(self.where, f"the manifest {name} has the digest {digest}")
        return Document(media_type=media_type.lower(), data=data, digest=digest)

    def manifest_digest(self, name: str) -> Digest | None:
        """What a tag points to; `None` if the registry does not tell. `NotFound`."""
        return self.session.retried(lambda: self._manifest_digest(name))

    def _manifest_digest(self, name: str) -> Digest | None:
        path = self._path("manifests", name)
        with self.request("HEAD", path, headers={"Accept": ACCEPT}) as response:
            try:
                return parse_digest(response.headers.get("Docker-Content-Digest", ""))
            except InvalidDigest:
                return None

    def put_manifest(self, name: str, document: Document) -> None:
        """Give a manifest or an index a tag (or, by its digest, no tag)."""
        self.session.retried(lambda: self._put_manifest(name, document))

    def _put_manifest(self, name: str, document: Document) -> None:
        with self.request(
            "PUT",
            self._path("manifests", name),
            push=True,
            headers={
                "Content-Type": document.media_type,
                "Content-Length": str(len(document.data)),
            },
            content=lambda: (document.data,),
            expected=(201, 200, 202),
        ) as response:
            told = response.headers.get("Docker-Content-Digest")
        if told is not None and told != document.digest:
            raise InvalidAnswer(self.where, f"it took the manifest {document.digest} for {told}")

    # ---- blobs

    def blob(self, digest: Digest, size: int, limit: int) -> bytes:
        """A small blob, which is what its digest and size say; `NotFound`, `InvalidAnswer`."""
        if size > limit:
            raise InvalidAnswer(self.where, f"the blob {digest} is longer than {limit} bytes")
        return self.session.retried(lambda: self._blob(digest, size))

    def _blob(self, digest: Digest, size: int) -> bytes:
        with self.open_blob(digest, 0) as response:
            data = read_bounded(response, size, self.where, f"the blob {digest}")
        if len(data) != size or sha256(data) != digest:
            raise InvalidAnswer(self.where, f"the blob {digest} has the digest {sha256(data)}")
        return data

    @contextmanager
    def open_blob(self, digest: Digest, start: int) -> Iterator[httpx.Response]:
        """A blob's bytes from `start` on: status 206 if that was heeded, else 200."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        path = self._path("blobs", digest)
        with self.request("GET", path, headers=headers, expected=(200, 206)) as response:
            if response.status_code == 206 and not _begins_at(response, start):
                raise InvalidAnswer(self.where, "it sends another part than was asked for")
            yield response

    def has_blob(self, digest: Digest) -> bool:
        """Whether the repository has a blob."""
        return self.session.retried(lambda: self._has_blob(digest))

    def _has_blob(self, digest: Digest) -> bool:
        try:
            with self.request("HEAD", self._path("blobs", digest), push=True):
                return True
        except NotFound:
            return False

    # ---- requests

    def _path(self, kind: str, name: str) -> str:
        return f"{self.endpoint.path}/{kind}/{quote(name, safe=':')}"

    def resolve(self, address: str) -> str:
        """An address as the registry gave it, or a path of its API, as a whole one."""
        return joined(self.session.base(self.endpoint), address, self.where)

    @contextmanager
    def request(
        self,
        method: str,
        address: str,
        *,
        push: bool = False,
        mount_from: str | None = None,
        headers: Mapping[str, str] | None = None,
        content: Content | None = None,
        expected: Collection[int] = (200,),
    ) -> Iterator[httpx.Response]:
        """Send a request once it is known who we are; the answer, if it has an expected status.

        Otherwise the error that it means; `RegistryUnreachable` is worth another attempt.
        """
        base = self.session.base(self.endpoint)
        url = joined(base, address, self.where)
        authenticator = self.session.authenticator(self.endpoint)
        scopes = self._scopes(push=push, mount_from=mount_from)
        challenges = redirects = 0
        while True:
            own = origin(url, self.where) == origin(base, self.where)
            authorization = authenticator.header(scopes) if own else None
            sent = dict(headers or {})
            if authorization is not None:
                sent["Authorization"] = authorization
            with self.session.transport.exchange(
                method,
                url,
                settings_of=self.endpoint.name if own else split_address(url, self.where).netloc,
                headers=sent,
                content=None if content is None else content(),
            ) as response:
                status = response.status_code
                if status in expected:
                    yield response
                    return
                if status == 401 and own and challenges < _MOST_CHALLENGES:
                    asked = parse_challenges(response.headers.get_list("WWW-Authenticate"))
                    if not asked:
                        raise self._refused(response)
                    authenticator.challenged(asked, scopes, authorization)
                    challenges += 1
                    continue
                if not _is_redirect(method, status) or redirects == _MOST_REDIRECTS:
                    raise self._refused(response)
                url = self._redirected(url, response)
                redirects += 1

    def _scopes(self, *, push: bool, mount_from: str | None) -> frozenset[str]:
        actions = "pull,push" if push else "pull"
        scopes = {f"repository:{self.endpoint.path}:{actions}"}
        if mount_from is not None:
            scopes.add(f"repository:{mount_from}:pull")
        return frozenset(scopes)

    def _refused(self, response: httpx.Response) -> Exception:
        return refusal(response, self.where, hint=f"lamina login {self.endpoint.name}")

    def _redirected(self, url: str, response: httpx.Response) -> str:
        """Where an answer sends us; never from an encrypted connection to a plain one."""
        target = joined(url, response.headers.get("Location", ""), self.where)
        if url.startswith("https:") and not target.startswith("https:"):
            raise InvalidAnswer(self.where, f"it sends us to {target}, which is not encrypted")
        return target


def _is_redirect(method: str, status: int) -> bool:
    return status in (_REDIRECTS if method in ("GET", "HEAD") else _KEEPING_METHOD)


def _begins_at(response: httpx.Response, start: int) -> bool:
    told: str = response.headers.get("Content-Range", "")
    return told.startswith(f"bytes {start}-")
