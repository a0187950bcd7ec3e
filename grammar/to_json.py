"""Nodes as plain dictionaries, for `json.dumps` and for whatever reads them elsewhere."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from grammar.nodes import Dockerfile, Instruction, Span, Stage

Json = str | int | None | list["Json"] | dict[str, "Json"]


def to_json(node: Dockerfile | Stage | Instruction) -> dict[str, Json]:
    """A node and everything in it.

    An object holds the node's fields under their names, and its class in lower case under
    `type`; a tuple is an array. Fields that have nothing to say, as by default, are left out.
    """
    return _object(node)


def _object(value: Any) -> dict[str, Json]:
    if isinstance(value, Span):
        return {"first": value.first, "last": value.last, "column": value.column}
    plain: dict[str, Json] = {"type": type(value).__name__.lower()}
    for field in fields(value):
        content = getattr(value, field.name)
        if content is not None and (content != () or field.default != ()):
            plain[field.name.rstrip("_")] = _value(content)
    return plain


def _value(value: Any) -> Json:
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, tuple):
        return [_value(item) for item in value]
    return _object(value)
