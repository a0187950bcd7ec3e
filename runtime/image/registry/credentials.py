"""Who we are to registries: user names with passwords, and tokens."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Protocol

from runtime.image.registry.configuration import ANONYMOUS, Registries


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Credentials for one registry. Their secrets are in no representation of them.

    An `identity_token` is exchanged for access tokens, a `registry_token` is one.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    def basic(self) -> str:
        """The header's value for HTTP's Basic scheme (RFC 7617)."""
        pair = f"{self.username}:{self.password}".encode("utf-8", "surrogateescape")
        return "Basic " + base64.b64encode(pair).decode()


class Keeper(Protocol):
    """Where credentials are kept."""

    def find(self, entry: str) -> Login | None:
        """Those for `host[:port][/path]`, by its longest part that has some."""


class NoKeeper:
    """Keeps none: everything is asked for anonymously."""

    def find(self, entry: str) -> Login | None:
        """None."""
        return None


def login_for(name: str, path: str, registries: Registries, keeper: Keeper) -> Login | None:
    """The credentials for a repository, as the registry's settings have it."""
    entry = registries.settings(name).credentials
    if entry == ANONYMOUS:
        return None
    return keeper.find(f"{name}/{path}" if entry is None else entry)
