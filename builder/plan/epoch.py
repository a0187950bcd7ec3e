"""The time of what a build makes (DESIGN §6, dockerfile.md 1.8).

Layers and steps have the epoch: SOURCE_DATE_EPOCH, or else the time of the base image. An image
was created at its epoch, or when the commit was made that the context is of, where that is later;
an epoch that is given is never passed.
"""

from __future__ import annotations

from typing import Final

from builder.errors import PlanError
from grammar.nodes import Span
from runtime.image.model import ImageConfig, unix_seconds

EPOCH_ARGUMENT: Final = "SOURCE_DATE_EPOCH"
SCRATCH_EPOCH: Final = 315532800
"""1980-01-01: the earliest time that zip files and FAT can hold."""
_LATEST: Final = 253402300799
"""The last second that RFC 3339 can write."""


def given_epoch(text: str, committed: int | None, span: Span | None) -> int | None:
    """The time that SOURCE_DATE_EPOCH says: seconds since 1970, or `context` for its commit's.

    `None` where it says none. `PlanError` for what is no time.
    """
    if not text:
        return None
    if text == "context":
        return committed
    if not text.isascii() or not text.isdigit() or int(text) > _LATEST:
        raise PlanError(
            f"invalid SOURCE_DATE_EPOCH: {text}",
            span=span,
            hint="a number of seconds since 1970, or context for the time of its commit",
        )
    return int(text)


def created_time(config: ImageConfig) -> int:
    """The `created` of an image in whole seconds since 1970; the scratch epoch where unset."""
    return max(0, unix_seconds(config.created)) if config.created else SCRATCH_EPOCH
