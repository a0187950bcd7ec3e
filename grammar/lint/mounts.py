"""The options of a `RUN --mount`, as far as the linter looks at them."""

from __future__ import annotations

import csv
from collections.abc import Iterator


def mount_values(text: str) -> Iterator[str]:
    """The values of a `--mount` that may hold variables: all but that of `from`."""
    for key, value in _options(text):
        if key != "from":
            yield value


def mount_source(text: str) -> str | None:
    """What a `--mount` is from; `None` where it does not say."""
    return dict(_options(text)).get("from")


def _options(text: str) -> Iterator[tuple[str, str]]:
    try:
        fields = next(csv.reader([text], strict=True), [])
    except csv.Error:
        return
    for option in fields:
        key, _, value = option.partition("=")
        yield key.lower(), value
