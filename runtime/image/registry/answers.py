"""What a registry says when it refuses (distribution-spec, "Error Codes")."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from runtime.image import json_bytes
from runtime.image.errors import ArchiveError
from runtime.image.registry.errors import (
    NotFound,
    RegistryError,
    RegistryRefused,
    RegistryUnreachable,
    Unauthorized,
)
from runtime.image.registry.retries import retry_after
from runtime.image.registry.transport import read_bounded

if TYPE_CHECKING:
    import httpx

_TEMPORARY: Final = frozenset((408, 429, 500, 502, 503, 504))
_LIMIT: Final = 64 << 10
_MOST_MESSAGES: Final = 5


def refusal(response: httpx.Response, where: str, *, hint: str | None = None) -> RegistryError:
    """The error that an answer means; its body is read. `RegistryUnreachable`: try it again."""
    status = response.status_code
    said = _said(response, where)
    if status in _TEMPORARY:
        return RegistryUnreachable(
            where,
            f"{'; '.join(said) or response.reason_phrase} (HTTP {status})",
            retry_after=retry_after(response.headers.get("Retry-After"), time.time()),
        )
    if status in (401, 403):
        return Unauthorized(where, status, said or ["access denied"], hint=hint)
    if status == 404:
        return NotFound(where, status, said or ["not found"], hint=hint)
    return RegistryRefused(where, status, said or [response.reason_phrase], hint=hint)


def _said(response: httpx.Response, where: str) -> list[str]:
    """The messages in the body, where there are any."""
    if response.request.method == "HEAD":
        return []
    try:
        document = json_bytes.parse(read_bounded(response, _LIMIT, where, "the error"), "error")
        errors = json_bytes.as_list(json_bytes.as_object(document, "error").get("errors"), "error")
        found = []
        for item in errors[:_MOST_MESSAGES]:
            members = json_bytes.as_object(item, "error")
            code = json_bytes.string(members, "code", "error")
            message = json_bytes.string(members, "message", "error")
            found.append(": ".join(filter(None, (code, message))))
        return [text for text in found if text]
    except (ArchiveError, RegistryError):
        return []
