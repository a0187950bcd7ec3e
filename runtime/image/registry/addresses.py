"""Addresses that servers give us: taken apart without trusting them."""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

from runtime.image.registry.errors import InvalidAnswer

_PORTS: Final = {"http": 80, "https": 443}

Origin = tuple[str, str, int | None]
"""Scheme, host and port: what credentials belong to."""


def split_address(url: str, where: str) -> SplitResult:
    """The parts of an HTTP address; `InvalidAnswer` for what is none, or carries credentials."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _PORTS and parts.hostname and parts.port != 0
        if usable and "@" not in parts.netloc:
            return parts
    except ValueError:
        pass
    raise InvalidAnswer(where, f"it names an address that is none: {url}")


def joined(base: str, url: str, where: str) -> str:
    """An address that may be relative to another one."""
    try:
        return urljoin(base, url)
    except ValueError:
        raise InvalidAnswer(where, f"it names an address that is none: {url}") from None


def origin(url: str, where: str) -> Origin:
    """Whom an address belongs to."""
    parts = split_address(url, where)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _PORTS[parts.scheme]
