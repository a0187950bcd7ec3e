"""How often and how patiently a registry is asked again."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

_PATIENCE_SECONDS: Final = 120.0
"""A server that asks to be left alone for longer ends the transfer."""
_UNCONNECTED_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """`attempts` in all without progress; pauses begin at `first_seconds` and double."""

    attempts: int = 5
    first_seconds: float = 0.5
    most_seconds: float = 30.0

    def pause(
        self, failures: int, retry_after: float | None, *, connected: bool = True
    ) -> float | None:
        """How long to wait after so many failures in a row; `None`: give up.

        What a server asks for is granted. Else half of the pause is random, so that many clients
        do not come back at once. Where there is no connection at all, fewer attempts are made.
        """
        attempts = self.attempts if connected else min(self.attempts, _UNCONNECTED_ATTEMPTS)
        if failures >= attempts:
            return None
        if retry_after is not None:
            return None if retry_after > _PATIENCE_SECONDS else retry_after
        most = min(self.most_seconds, self.first_seconds * float(1 << (failures - 1)))
        return most / 2 + random.uniform(0, most / 2)


def retry_after(value: str | None, now: float) -> float | None:
    """The seconds of a Retry-After header, which has a number or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None
