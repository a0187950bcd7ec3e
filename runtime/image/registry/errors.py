"""What can go wrong with registries.

    RegistryError(ImageError)
      RegistryUnreachable      no usable answer; worth another attempt
      RegistryRefused          an answer, and it is no
        NotFound               no such repository, tag, manifest or blob
        Unauthorized           it wants other credentials, or none will do
      InvalidAnswer            an answer that does not follow the protocol, or holds other bytes
      UntrustedServer          its certificate cannot be checked
      UnsupportedImage         an image of a form that is not supported
      NoSuchPlatform           no image for the platform that is wanted
      CredentialsError         a file or program with credentials cannot be used
      RegistryBlocked          registries.toml forbids to ask it
      ConfigurationError       registries.toml or policy.toml says something that makes no sense
      SigningError             nothing can be signed or verified: the key, or what is needed for it
      NotTrusted               policy.toml does not let it be pulled
      TransferCancelled        another transfer failed, or the user stopped it

`where` is a host, or `host/repository`. What servers say is shown without control characters.
"""

from __future__ import annotations

from collections.abc import Iterable

from runtime.image.errors import ImageError


class RegistryError(ImageError):
    """An image cannot be fetched from a registry, or sent to it."""


class RegistryUnreachable(RegistryError):
    """No usable answer, though there may be one later.

    `retry_after` is how many seconds the server asks to be left alone. `connected` is false where
    not even a connection could be had.
    """

    def __init__(
        self,
        where: str,
        why: str,
        *,
        retry_after: float | None = None,
        connected: bool = True,
        hint: str | None = None,
    ) -> None:
        super().__init__(f"{where}: {shown(why)}", hint=hint)
        self.why = shown(why)
        self.retry_after = retry_after
        self.connected = connected


class RegistryRefused(RegistryError):
    """The registry answered with an error: an HTTP status, and what it said."""

    def __init__(
        self, where: str, status: int, said: Iterable[str] = (), *, hint: str | None = None
    ) -> None:
        told = "; ".join(shown(text) for text in said)
        super().__init__(f"{where}: {told or 'the registry refused'} (HTTP {status})", hint=hint)
        self.status = status


class NotFound(RegistryRefused):
    """The registry has no such repository, tag, manifest or blob."""


class Unauthorized(RegistryRefused):
    """The registry wants credentials, or does not accept those it was given."""


class InvalidAnswer(RegistryError):
    """An answer that is not what the protocol says, or whose bytes are not what was asked for."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {shown(why)}")


class UntrustedServer(RegistryError):
    """A server whose certificate cannot be checked."""

    def __init__(self, host: str, why: str) -> None:
        super().__init__(
            f"{host}: its certificate cannot be trusted: {shown(why)}",
            hint=f'name its authority in registries.toml: [registries."{host}"] ca = "FILE"',
        )


class UnsupportedImage(RegistryError):
    """An image in a form that is not supported."""

    def __init__(self, name: str, why: str, *, hint: str | None = None) -> None:
        super().__init__(f"{name}: {shown(why)}", hint=hint)


class NoSuchPlatform(RegistryError):
    """The image exists, but not for the platform that is wanted."""

    def __init__(self, name: str, wanted: str, there: Iterable[str]) -> None:
        platforms = [shown(text) for text in there]
        super().__init__(
            f"{name}: no image for {wanted}; there is {', '.join(platforms) or 'none at all'}",
            hint=f"--platform {platforms[0]}" if platforms else None,
        )


class RegistryBlocked(RegistryError):
    """A registry that is not to be asked for anything."""

    def __init__(self, host: str) -> None:
        super().__init__(f"{host}: registries.toml says that it is blocked")


class CredentialsError(RegistryError):
    """A file with credentials, or a program that keeps them, cannot be used."""

    def __init__(self, where: str, why: str, *, hint: str | None = None) -> None:
        super().__init__(f"{where}: {shown(why)}", hint=hint)


class ConfigurationError(RegistryError):
    """A configuration file that cannot be understood."""

    def __init__(self, path: str, why: str, *, hint: str | None = None) -> None:
        super().__init__(f"{path}: {why}", hint=hint)


class SigningError(RegistryError):
    """Nothing can be signed or verified with this key, or at all."""


class NotTrusted(RegistryError):
    """An image is not what policy.toml asks for."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} is not trusted: {why}")


class TransferCancelled(RegistryError):
    """The transfer was stopped; what there is of it is continued by the next one."""

    def __init__(self) -> None:
        super().__init__("the transfer was cancelled")


ONE_SERVERS_FAULT = (RegistryRefused, RegistryUnreachable, UntrustedServer, InvalidAnswer)
"""What another server with the same image may do better."""


def shown(text: str) -> str:
    """Somebody else's text on one line: nothing in it acts on a terminal, nor fills it."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"


_LONGEST = 500
