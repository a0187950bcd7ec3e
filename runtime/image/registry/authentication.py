"""Proving who we are: Basic, and bearer tokens from the server that a registry names.

Credentials go to the registry they are for and to its token server; never over plain HTTP, unless
the registry itself is reached so. Tokens are kept for each set of scopes until they run out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from runtime.image import json_bytes
from runtime.image.errors import ArchiveError
from runtime.image.json_bytes import Json
from runtime.image.registry.addresses import split_address
from runtime.image.registry.answers import refusal
from runtime.image.registry.challenge import Challenge
from runtime.image.registry.credentials import Login
from runtime.image.registry.endpoints import is_loopback
from runtime.image.registry.errors import InvalidAnswer, RegistryRefused, Unauthorized
from runtime.image.registry.transport import Transport, read_bounded

if TYPE_CHECKING:
    import httpx

_TOKEN_LIMIT: Final = 1 << 20
_SHORTEST_LIFE: Final = 60
_MARGIN: Final = 10
"""Seconds: a token that is about to run out is not used any more."""
CLIENT_ID: Final = "lamina"


@dataclass(frozen=True, slots=True)
class _Token:
    header: str
    expires: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a token server gave: a token, for how many seconds, and one to get others with."""

    token: str
    seconds: int
    identity_token: str = ""


class Authenticator:
    """Who we are to one registry. `url` is its base; safe to share between threads."""

    def __init__(
        self,
        name: str,
        url: str,
        transport: Transport,
        login: Callable[[], Login | None],
        *,
        insecure: bool,
    ) -> None:
        self._name = name
        self._url = url
        self._transport = transport
        self._login = login
        self._insecure = insecure
        self._lock = threading.Lock()
        self._basic: str | None = None
        self._bearer: Challenge | None = None
        self._tokens: dict[frozenset[str], _Token] = {}

    def header(self, scopes: frozenset[str]) -> str | None:
        """What is known to be wanted with a request for these scopes."""
        with self._lock:
            if self._basic is not None:
                return self._basic
            if self._bearer is None:
                return None
            return self._token(self._bearer, scopes)

    def challenged(
        self, challenges: Iterable[Challenge], scopes: frozenset[str], refused: str | None
    ) -> None:
        """Learn from a 401 to a request that had the header `refused`: `header` gives another.

        `Unauthorized` where there is none.
        """
        known = {challenge.scheme: challenge for challenge in challenges}
        with self._lock:
            if (bearer := known.get("bearer")) is not None:
                self._bearer = bearer
                token = self._tokens.get(scopes)
                if token is not None and token.header == refused:
                    del self._tokens[scopes]
                self._token(bearer, scopes)
                return
            if "basic" not in known:
                asked = ", ".join(known) or "nothing that is known"
                raise InvalidAnswer(self._name, f"it asks to authenticate with {asked}")
            login = self._login()
            if login is None or login.basic() == refused:
                raise self._unauthorized(login)
            self._basic = login.basic()

    def _token(self, bearer: Challenge, scopes: frozenset[str]) -> str:
        token = self._tokens.get(scopes)
        if token is None or token.expires < time.monotonic():
            login = self._login()
            if login is not None and login.registry_token:
                return f"Bearer {login.registry_token}"
            asked = scopes or frozenset(filter(None, (bearer.parameters.get("scope"),)))
            grant = self.fetch(bearer, asked, login)
            life = max(grant.seconds, _SHORTEST_LIFE) - _MARGIN
            token = _Token(f"Bearer {grant.token}", time.monotonic() + life)
            self._tokens[scopes] = token
        return token.header

    def fetch(
        self,
        bearer: Challenge,
        scopes: Iterable[str],
        login: Login | None,
        *,
        identity: bool = False,
    ) -> Grant:
        """Ask the token server; with `identity` for an identity token, too.

        `Unauthorized` if it does not accept the login.
        """
        realm = self._realm(bearer)
        query: list[tuple[str, str]] = []
        if service := bearer.parameters.get("service"):
            query.append(("service", service))
        headers = {"Accept": "application/json"}
        if login is not None and login.identity_token:
            form = [
                ("grant_type", "refresh_token"),
                *query,
                ("client_id", CLIENT_ID),
                ("refresh_token", login.identity_token),
                ("scope", " ".join(sorted(scopes))),
            ]
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            return self._ask("POST", realm, headers, urlencode(form).encode(), login)
        query += [("scope", scope) for scope in sorted(scopes)]
        if identity:
            query += [("offline_token", "true"), ("client_id", CLIENT_ID)]
        if login is not None:
            query.append(("account", login.username))
            headers["Authorization"] = login.basic()
        return self._ask("GET", _with_query(realm, query), headers, None, login)

    def _ask(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        content: bytes | None,
        login: Login | None,
    ) -> Grant:
        where = split_address(url, self._name).netloc
        # One without settings of its own is trusted as its registry is.
        settings_of = self._transport.settings_name(where, self._name)
        with self._transport.exchange(
            method, url, settings_of=settings_of, headers=headers, content=content
        ) as response:
            if response.status_code in (401, 403) and login is not None:
                raise self._unauthorized(login)
            if response.status_code != 200:
                raise self._refused(response, where)
            body = read_bounded(response, _TOKEN_LIMIT, where, "the answer with a token")
        try:
            return _grant(json_bytes.parse(body, "the answer"))
        except ArchiveError as error:
            raise InvalidAnswer(where, error.message) from error

    def _refused(self, response: httpx.Response, where: str) -> Exception:
        if response.is_redirect:
            return InvalidAnswer(where, "a token server that sends us elsewhere is not followed")
        return refusal(response, where)

    def _realm(self, bearer: Challenge) -> str:
        """The token server's address, if it is one that credentials may go to."""
        realm = bearer.parameters.get("realm", "")
        parts = split_address(realm, self._name)
        own = split_address(self._url, self._name)
        both_loopback = is_loopback(own.netloc) and is_loopback(parts.netloc)
        plain_allowed = own.scheme == "http" or self._insecure or both_loopback
        if parts.scheme == "https" or plain_allowed:
            return realm
        raise InvalidAnswer(self._name, f"its token server {realm} is not encrypted")

    def _unauthorized(self, login: Login | None) -> RegistryRefused:
        if login is None:
            return Unauthorized(
                self._name, 401, ["authentication required"], hint=f"lamina login {self._name}"
            )
        who = f" of {login.username}" if login.username else ""
        return Unauthorized(
            self._name,
            401,
            [f"the credentials{who} are not accepted"],
            hint=f"lamina login {self._name}",
        )


def _with_query(url: str, query: list[tuple[str, str]]) -> str:
    bare = url.partition("#")[0]
    return f"{bare}{'&' if '?' in bare else '?'}{urlencode(query)}" if query else bare


def _grant(value: Json) -> Grant:
    document = "the answer with a token"
    members = json_bytes.as_object(value, document)
    token = json_bytes.string(members, "token", document)
    token = token or json_bytes.string(members, "access_token", document)
    if not token or not token.isascii() or not token.isprintable():
        raise ArchiveError(f"{document} has none")
    return Grant(
        token=token,
        seconds=json_bytes.integer(members, "expires_in", document),
        identity_token=json_bytes.string(members, "refresh_token", document),
    )
