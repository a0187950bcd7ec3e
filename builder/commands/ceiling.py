"""The ceiling of the store: what a build makes room for before it starts and after it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from builder.events import Emit, Noticed

if TYPE_CHECKING:  # Most builds have no ceiling.
    from runtime.image.store.candidates import Limit
    from runtime.image.store.store import Store

_FILE = "lamina.toml"
_NONE = "none"
_IMAGE_SECONDS = 3600.0
"""How long an image without a name is safe from a ceiling: somebody may have its ID."""


def ceiling(options: dict[str, Any]) -> Limit | None:
    """The ceiling, if there is one: the flags, or else the environment, or else the files.

    `OptionError` and `SettingsError`. In flags and environment `none` is no ceiling, whatever the
    files say.
    """
    size = options["store_max_size"] or os.environ.get("LAMINA_STORE_MAX_SIZE")
    inodes = options["store_max_inodes"] or os.environ.get("LAMINA_STORE_MAX_INODES")
    files = [path for path in settings_files() if os.path.exists(path)]
    if not size and not inodes and not files:
        return None
    from builder.settings import read_settings
    from runtime.image.store.candidates import Limit

    settings = read_settings(files)
    limit = Limit(
        bytes=_size(size) if size else settings.store_max_size,
        inodes=_number(inodes) if inodes else settings.store_max_inodes,
    )
    return None if limit == Limit() else limit


def settings_files() -> tuple[str, ...]:
    """Where lamina.toml may be: the machine's, then the user's own."""
    own = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return f"/etc/lamina/{_FILE}", os.path.join(own, "lamina", _FILE)


@contextmanager
def below_ceiling(store: Store, limit: Limit | None, emit: Emit) -> Iterator[None]:
    """Make room before a build, and after it, whether or not it succeeded."""
    if limit is None:
        yield
        return
    _make_room(store, limit, emit)
    try:
        yield
    except Exception:
        _make_room(store, limit, emit)
        raise
    _make_room(store, limit, emit)


def _make_room(store: Store, limit: Limit, emit: Emit) -> None:
    from builder.commands.prune import images_of_containers
    from builder.commands.tables import size_text
    from runtime.image.store.measure import Amount
    from runtime.image.store.prune import PruneRequest, prune
    from runtime.image.store.usage import survey

    if limit.excess(survey(store.parts).amount) == Amount():
        return
    request = PruneRequest(
        limit=limit,
        image_seconds=_IMAGE_SECONDS,
        images_in_use=lambda: images_of_containers(store),
    )
    pruned = prune(store.parts, request)
    if pruned.removed:
        number = len(pruned.removed)
        things = f"{number} thing{'' if number == 1 else 's'}"
        size = size_text(max(0, pruned.amount.bytes))
        emit(Noticed(message=f"the store was over its ceiling: {things} removed, {size}"))
    if limit.excess(pruned.left) != Amount():
        message = (
            f"the store is over its ceiling with {size_text(pruned.left.bytes)} in"
            f" {pruned.left.inodes} inodes: what is left is in use or has a name"
            " (`lamina df -v`, `lamina prune --all`)"
        )
        emit(Noticed(message=message))


def _size(text: str) -> int | None:
    from builder.commands.values import size_in_bytes

    return None if text == _NONE else size_in_bytes(text, "the store's max-size")


def _number(text: str) -> int | None:
    from builder.errors import OptionError

    if text == _NONE:
        return None
    if not text.isascii() or not text.isdigit():
        raise OptionError(f"the store's max-inodes: invalid number {text!r}")
    return int(text)
