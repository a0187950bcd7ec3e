"""What all transfers of one command share: connections, tokens, patience."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, TypeVar

from runtime.image.registry.authentication import Authenticator
from runtime.image.registry.cancellation import Cancellation
from runtime.image.registry.configuration import Registries
from runtime.image.registry.credentials import Keeper, Login, NoKeeper, login_for
from runtime.image.registry.endpoints import Endpoint
from runtime.image.registry.errors import RegistryError, RegistryUnreachable
from runtime.image.registry.retries import RetryPolicy
from runtime.image.registry.transfer_events import Report, Retrying
from runtime.image.registry.transport import Transport
from runtime.image.registry.trust import Trust

_T = TypeVar("_T")
_PATIENT: Final = RetryPolicy()
_NO_KEEPER: Final = NoKeeper()
_TRUSTING: Final = Trust()
_PLAIN_TO_TLS: Final = 400
"""What servers that speak TLS answer to plain HTTP."""


def _unreported(_event: object) -> None:
    """Nobody listens."""


class Session:
    """Use it as a context manager; safe to share between threads.

    Whatever is under way when it is left by an exception is cancelled.
    """

    def __init__(
        self,
        registries: Registries,
        keeper: Keeper = _NO_KEEPER,
        *,
        report: Report = _unreported,
        policy: RetryPolicy = _PATIENT,
        trust: Trust = _TRUSTING,
    ) -> None:
        self.registries = registries
        self.trust = trust
        self.report = report
        self.cancellation = Cancellation()
        self.transport = Transport(registries, self.cancellation)
        self._keeper = keeper
        self._policy = policy
        self._lock = threading.Lock()
        self._bases: dict[tuple[str, ...], str] = {}
        self._authenticators: dict[tuple[str, str], Authenticator] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is not None:
            self.cancellation.cancel()
        self.transport.close()

    def retried(self, action: Callable[[], _T]) -> _T:
        """Do something until it works, as long as failing is worth another attempt."""
        failures = 0
        while True:
            try:
                return action()
            except RegistryUnreachable as error:
                failures += 1
                self.wait_after(error, failures)

    def wait_after(self, error: RegistryUnreachable, failures: int) -> None:
        """Pause after so many failures in a row; the error itself, once that is no use."""
        pause = self._policy.pause(failures, error.retry_after, connected=error.connected)
        if pause is None:
            raise error
        self.report(Retrying(why=error.message, seconds=pause))
        self.cancellation.pause(pause)

    def base(self, endpoint: Endpoint) -> str:
        """The address of a registry's API, with the scheme that it speaks: `https://host/v2/`."""
        key = (endpoint.address, *endpoint.schemes)
        with self._lock:
            if key not in self._bases:
                self._bases[key] = self._found(endpoint)
            return self._bases[key]

    def authenticator(self, endpoint: Endpoint) -> Authenticator:
        """Who we are to a registry, as far as this repository goes."""
        base = self.base(endpoint)
        with self._lock:
            key = (endpoint.name, endpoint.path)
            if key not in self._authenticators:
                self._authenticators[key] = Authenticator(
                    endpoint.name,
                    base,
                    self.transport,
                    lambda: self.login(endpoint),
                    insecure=self.registries.settings(endpoint.name).insecure,
                )
            return self._authenticators[key]

    def login(self, endpoint: Endpoint) -> Login | None:
        """The credentials for a repository, if there are any."""
        return login_for(endpoint.name, endpoint.path, self.registries, self._keeper)

    def _found(self, endpoint: Endpoint) -> str:
        """The first scheme that is answered; only asked where there is a choice."""
        for scheme in endpoint.schemes[:-1]:
            base = _base(scheme, endpoint)
            try:
                with self.transport.exchange(
                    "GET", base, settings_of=endpoint.name, headers={}
                ) as response:
                    if response.status_code != _PLAIN_TO_TLS:
                        return base
            except RegistryError:
                self.cancellation.check()
        return _base(endpoint.schemes[-1], endpoint)


def _base(scheme: str, endpoint: Endpoint) -> str:
    return f"{scheme}://{endpoint.address}/v2/"
