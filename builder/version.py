"""Which version this is."""

from __future__ import annotations


def installed_version() -> str:
    """The version of the distribution; `unknown` where it runs without being installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("lamina")
    except PackageNotFoundError:
        return "unknown"
