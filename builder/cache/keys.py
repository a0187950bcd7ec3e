"""Names for results: a step is known by everything that decides what it makes (DESIGN §4).

A key is the SHA-256 of canonical JSON of named components. The components are kept with the
result, so that a miss can be explained by what differs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from builder.cache.listing import Listing, make_listing
from builder.plan.steps import RunStep
from runtime.image.digest import ChainID
from runtime.image.layer.entry import Entry

FORMAT = "2"
"""Raised whenever the same step would give another layer; older records are then never found."""
COPIED = "entries"
"""The kind of the keys of what is known by its entries: a copy."""


@dataclass(frozen=True, slots=True)
class Key:
    """A cache key and what it was made of; `listing` is what the component `entries` stands for."""

    digest: str
    kind: str
    components: Mapping[str, str]
    listing: Listing | None = field(default=None, compare=False)


def make_key(kind: str, components: Mapping[str, str], listing: Listing | None = None) -> Key:
    """A key of named components."""
    text = _canonical({"format": FORMAT, "kind": kind, **components})
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    return Key(digest, kind, components, listing)


def run_key(
    step: RunStep, *, parent: ChainID, epoch: int, mounts: Iterable[str], platform: str, noise: bool
) -> Key:
    """A RUN sees its parent's file system, its command, environment, user, and mounts.

    `mounts` are the identities of what is mounted: the content of bind sources. Secrets,
    proxies and limits are left out on purpose.
    """
    return make_key(
        "run",
        {
            "parent": parent,
            "command": _canonical(step.argv),
            "environment": _canonical(step.env),
            "workdir": step.workdir,
            "user": step.user,
            "network": step.network,
            "security": step.security,
            "mounts": _canonical(list(mounts)),
            "scripts": _canonical([_plain(script) for script in step.scripts]),
            "epoch": str(epoch),
            "platform": platform,
            "noise": "dropped" if noise else "kept",
        },
    )


def entries_key(entries: Iterable[Entry], identify: Callable[[Entry], str]) -> Key:
    """What a COPY makes is decided by the entries of its layer, and by nothing else.

    `identify` names the content of a regular file. What the copy saw of its destination is in
    the entries already: their places, and the attributes of the folders above them.
    """
    listing = make_listing(entries, identify, FORMAT.encode())
    return make_key(COPIED, {"entries": listing.name}, listing)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> Any:
    """A frozen dataclass as JSON has it, its type's name with it."""
    if is_dataclass(value) and not isinstance(value, type):
        members = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        return {"type": type(value).__name__, **members}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def identity(value: Any) -> str:
    """Any plan value as canonical JSON, for a key's component."""
    return _canonical(_plain(value))


def component_digests(components: Mapping[str, str]) -> dict[str, str]:
    """Digests of a key's components, to compare and not to tell; each variable has its own."""
    found: dict[str, str] = {}
    for name, value in components.items():
        if name == "environment":
            pairs: list[list[str]] = json.loads(value)
            found.update((f"{name} {each}", _short_digest(each, text)) for each, text in pairs)
        else:
            found[name] = _short_digest(name, value)
    return found


def _short_digest(name: str, value: str) -> str:
    data = f"{name}\0{value}".encode("utf-8", "surrogateescape")
    return hashlib.sha256(data).hexdigest()[:16]
