"""JSON as bytes: one canonical form out, checked values in.

Everything that is hashed (configs, manifests, step keys) is written by `canonical`; everything
that comes from elsewhere is read by `parse` and taken apart by the functions below, which raise
`ArchiveError` naming the document and the member instead of a `KeyError` far away.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NoReturn

from runtime.image.errors import ArchiveError

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]


def canonical(value: Json) -> bytes:
    """The one byte form of a value: sorted keys, no spaces, UTF-8.

    For ASCII keys and integers this equals RFC 8785. Raises `ValueError` for what JSON cannot
    say: NaN, infinities, lone surrogates.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def parse(data: bytes, document: str) -> Json:
    """Read a JSON document from elsewhere.

    What is returned can be written again by `canonical`: NaN, lone surrogates and nesting too
    deep to walk are refused here.
    """
    try:
        value: Json = json.loads(data, parse_constant=_refuse_constant)
        if b"\\u" in data or b"e" in data or b"E" in data:
            # Surrogate escapes and numbers like 1e999 show only when written.
            canonical(value)
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"{document} is not usable JSON: {error}") from error
    return value


def as_object(value: Json, document: str) -> Mapping[str, Json]:
    """The value, which has to be an object; null counts as an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ArchiveError(f"{document} is not a JSON object")
    return value


def as_list(value: Json, document: str) -> Sequence[Json]:
    """The value, which has to be a list; null counts as an empty one."""
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ArchiveError(f"{document} is not a JSON list")
    return value


def as_strings(value: Json, document: str) -> tuple[str, ...]:
    """The value, which has to be a list of strings."""
    strings = []
    for item in as_list(value, document):
        if not isinstance(item, str):
            raise ArchiveError(f"{document} holds something else than strings")
        strings.append(item)
    return tuple(strings)


def string(members: Mapping[str, Json], name: str, document: str) -> str:
    """A member that is a string; missing and null count as the empty one."""
    value = members.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ArchiveError(f"{document}: {name} is not a string")
    return value


def integer(members: Mapping[str, Json], name: str, document: str) -> int:
    """A member that is an integer; missing and null count as zero."""
    value = members.get(name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArchiveError(f"{document}: {name} is not an integer")
    return value


def boolean(members: Mapping[str, Json], name: str, document: str) -> bool:
    """A member that is true or false; missing and null count as false."""
    value = members.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise ArchiveError(f"{document}: {name} is neither true nor false")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
