"""Requests over HTTP, to any host as its settings say; what can go wrong with them, as our errors.

One request is one exchange: no redirect is followed here, nothing is asked again, and no
credentials are added (none from netrc, none from an address). Proxies are the environment's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from runtime.image.registry.addresses import split_address
from runtime.image.registry.cancellation import Cancellation
from runtime.image.registry.configuration import HostSettings, Registries
from runtime.image.registry.errors import (
    ConfigurationError,
    InvalidAnswer,
    RegistryError,
    RegistryUnreachable,
    UntrustedServer,
)

if TYPE_CHECKING:
    import ssl

    import httpx

_CONNECT_SECONDS: Final = 15.0
_IDLE_SECONDS: Final = 60.0
_DOCUMENT_SECONDS: Final = 120.0
"""For the whole of a small body: one that trickles in must not hold us for ever."""
_CONNECTIONS: Final = 32
_IDENTITY: Final = ("", "identity")
_CONNECTED: Final = ("connection.connect_tcp.complete", "connection.start_tls.complete")


class Transport:
    """Connections to registries, kept and shared between threads until `close`."""

    def __init__(self, registries: Registries, cancellation: Cancellation) -> None:
        self._registries = registries
        self._cancellation = cancellation
        self._clients: dict[tuple[str, str], httpx.Client] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            clients = tuple(self._clients.values())
            self._clients.clear()
        for client in clients:
            client.close()

    def settings_name(self, host: str, otherwise: str) -> str:
        """The host itself, if it has settings of its own; else the other one."""
        return host if host in self._registries.hosts else otherwise

    @contextmanager
    def exchange(
        self,
        method: str,
        url: str,
        *,
        settings_of: str,
        headers: Mapping[str, str],
        content: bytes | Iterable[bytes] | None = None,
    ) -> Iterator[httpx.Response]:
        """Send a request and give its answer, whatever status that has, its body still to be read.

        The settings are those of the host named. A body that is no `bytes` needs its length in
        the headers. `RegistryUnreachable`, `UntrustedServer`, `InvalidAnswer`, also for what goes
        wrong while the caller reads the body.
        """
        import httpx

        self._cancellation.check()
        parts = split_address(url, settings_of)
        where = parts.netloc
        client = self._client(settings_of, parts.scheme)
        try:
            request = client.build_request(
                method,
                url,
                headers={"Accept-Encoding": "identity", "User-Agent": "lamina", **headers},
                content=content,
                extensions={"trace": self._trace},
            )
            response = client.send(request, stream=True, auth=None, follow_redirects=False)
            try:
                if response.headers.get("Content-Encoding", "").strip() not in _IDENTITY:
                    raise InvalidAnswer(where, "it sends something compressed, unasked")
                yield response
            finally:
                response.close()
        except httpx.TransportError as error:
            self._cancellation.check()
            raise _as_ours(where, error) from error
        except (httpx.InvalidURL, httpx.StreamError) as error:
            raise InvalidAnswer(where, str(error) or type(error).__name__) from error

    def _client(self, name: str, scheme: str) -> httpx.Client:
        import httpx

        with self._lock:
            client = self._clients.get((name, scheme))
            if client is None:
                settings = self._registries.settings(name)
                client = self._clients[name, scheme] = httpx.Client(
                    verify=_tls(name, settings) if scheme == "https" else _no_tls(),
                    timeout=httpx.Timeout(_IDLE_SECONDS, connect=_CONNECT_SECONDS, pool=None),
                    limits=httpx.Limits(max_connections=_CONNECTIONS),
                    follow_redirects=False,
                    trust_env=True,
                )
            return client

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event in _CONNECTED:
            self._cancellation.watch(info["return_value"].get_extra_info("socket"))


def read_bounded(response: httpx.Response, limit: int, where: str, what: str) -> bytes:
    """A whole body; `InvalidAnswer` for one longer than `limit` bytes, or one that only trickles.

    To be called inside `Transport.exchange`, which knows what reading may raise.
    """
    end = time.monotonic() + _DOCUMENT_SECONDS
    parts: list[bytes] = []
    size = 0
    for chunk in response.iter_raw():
        size += len(chunk)
        if size > limit:
            raise InvalidAnswer(where, f"{what} is longer than {limit} bytes")
        if time.monotonic() > end:
            raise RegistryUnreachable(where, f"{what} took longer than {_DOCUMENT_SECONDS:.0f} s")
        parts.append(chunk)
    return b"".join(parts)


def _tls(name: str, settings: HostSettings) -> ssl.SSLContext:
    import ssl

    context = ssl.create_default_context()
    try:
        if settings.ca is not None:
            context.load_verify_locations(settings.ca)
        if settings.client_cert is not None:
            context.load_cert_chain(
                settings.client_cert, settings.client_key, password=_no_password
            )
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        what = settings.ca if settings.client_cert is None else settings.client_cert
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise ConfigurationError(
            f'registries.toml, [registries."{name}"]',
            f"the certificates in {what} cannot be used: {reason}",
        ) from error
    if settings.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _no_tls() -> ssl.SSLContext:
    """For clients that never speak TLS: reading the system's certificates takes a while."""
    import ssl

    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _no_password() -> str:
    raise ValueError("a key that has a passphrase is not supported")


def _as_ours(where: str, error: httpx.TransportError) -> RegistryError:
    import ssl

    import httpx

    cause = _root_cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return UntrustedServer(where, cause.verify_message)
    if isinstance(error, httpx.UnsupportedProtocol):
        return InvalidAnswer(where, str(error))
    connected = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError)
    if isinstance(error, httpx.TimeoutException):
        why = "no answer in time" if connected else "no connection in time"
    elif isinstance(cause, OSError) and cause.strerror and not isinstance(cause, ssl.SSLError):
        why = cause.strerror
    else:
        why = str(error) or type(error).__name__
    return RegistryUnreachable(where, why, connected=connected)


def _root_cause(error: BaseException) -> BaseException:
    """What lies at the bottom of an error of httpx: the operating system's or OpenSSL's word."""
    seen = 0
    while (below := error.__cause__ or error.__context__) is not None and seen < 10:
        error, seen = below, seen + 1
    return error
