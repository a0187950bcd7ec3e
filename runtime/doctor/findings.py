"""What a probe finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["works", "limited", "missing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing lamina uses: whether it works here, what was seen, and what would mend it.

    `needed`: nothing can be built or run without it.
    """

    name: str
    state: State
    detail: str
    remedy: str | None = None
    needed: bool = False
